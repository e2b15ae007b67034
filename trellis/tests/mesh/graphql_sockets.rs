//! GraphQL over WebSockets: graphql-transport-ws.

use std::{collections::HashMap, fs, sync::atomic::Ordering};

use proto::messaging::v1::SendMessageRequest;
use serde_json::{Value, json};

use super::{
    files::{self, ENDLESS, PIECE},
    graphql::{calls, conversation, start},
    harness::{Mesh, Person, Ports, new_id},
    sockets::{CLOSE, Socket, TEXT, WAIT},
    wait::until,
};

const SUBPROTOCOL: &str = "graphql-transport-ws";
const USERS: &str = "{ listUsers { nodes { handle } } }";
const SUBSCRIBE: &str =
    "subscription { subscribe { caughtUp entry { entry { message { text } author { handle } } } } }";

/// A client with one socket.
struct Client(Socket);

impl Client {
    /// Opens a socket, and sends nothing.
    async fn open(mesh: &Mesh) -> Self {
        Self(Socket::open_subprotocol(mesh.ports.gateway, "/graphql", SUBPROTOCOL, "").await)
    }

    /// A socket that is ready for operations. No `person`: without credentials.
    async fn ready(mesh: &Mesh, person: Option<&Person>) -> Self {
        let mut client = Self::open(mesh).await;
        let payload = person.map(|person| json!({ "authorization": format!("Bearer {}", person.tokens.access_token) }));
        client.say(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(client.hear().await, json!({ "type": "connection_ack" }));
        client
    }

    async fn say(&mut self, message: Value) {
        self.0.say(message).await;
    }

    async fn subscribe(&mut self, id: &str, query: &str) {
        self.say(json!({ "type": "subscribe", "id": id, "payload": { "query": query } })).await;
    }

    /// The next message.
    async fn hear(&mut self) -> Value {
        let (kind, payload) = self.0.next().await.expect("a message");
        assert_eq!(kind, TEXT, "{payload:?}");
        serde_json::from_slice(&payload).unwrap()
    }

    /// The payload of the only message before the end of an operation that has no other beside it.
    async fn result(&mut self, id: &str) -> Value {
        let mut message = self.hear().await;
        assert_eq!((&message["type"], &message["id"]), (&json!("next"), &json!(id)), "{message}");
        assert_eq!(self.hear().await, json!({ "type": "complete", "id": id }));
        message["payload"].take()
    }

    async fn execute(&mut self, id: &str, query: &str) -> Value {
        self.subscribe(id, query).await;
        self.result(id).await
    }

    /// The code and the reason of the frame that closes the socket, which must be the next one.
    async fn closed(&mut self) -> (u16, String) {
        let (kind, payload) = self.0.next().await.expect("the close frame");
        assert_eq!(kind, CLOSE, "{}", String::from_utf8_lossy(&payload));
        (u16::from_be_bytes([payload[0], payload[1]]), String::from_utf8(payload[2..].to_vec()).unwrap())
    }
}

async fn send(person: &Person, conversation_id: &str, text: &str) {
    let message = SendMessageRequest {
        conversation_id: conversation_id.to_owned(),
        client_message_id: new_id(),
        text: text.to_owned(),
    };
    person.messaging().send_message(person.request(message)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_of_all_kinds_share_a_socket() {
    let mesh = start(&[]).await;
    let (ada, bob) = (mesh.sign_up("ada").await, mesh.sign_up("bob").await);
    let id = conversation(&bob, &ada).await;
    let mut client = Client::ready(&mesh, Some(&ada)).await;
    let counted = calls(&mesh, "graphql").await;
    client.subscribe("stream", SUBSCRIBE).await;
    let mut heard = client.hear().await;
    while heard["payload"]["data"]["subscribe"]["caughtUp"].is_null() {
        heard = client.hear().await;
    }
    // Beside the open stream: a query, a mutation, and a ping.
    let mutation = format!(
        "mutation {{ sendMessage(conversationId: \"{id}\", clientMessageId: \"{}\", text: \"grüß dich 🌿\") {{ entry {{ seq }} }} }}",
        new_id()
    );
    client.subscribe("query", USERS).await;
    client.subscribe("mutation", &mutation).await;
    client.say(json!({ "type": "ping", "payload": { "sent": 1 } })).await;
    let mut last: HashMap<String, Value> = HashMap::new();
    while !["stream", "query", "mutation", "pong"].iter().all(|name| last.contains_key(*name)) {
        let mut message = client.hear().await;
        match message["type"].as_str().unwrap() {
            "next" => drop(last.insert(message["id"].as_str().unwrap().to_owned(), message["payload"].take())),
            "pong" => drop(last.insert("pong".to_owned(), message["payload"].take())),
            "complete" => assert_ne!(message["id"], "stream"),
            other => panic!("{other}: {message}"),
        }
    }
    assert_eq!(last["query"]["data"]["listUsers"]["nodes"][0]["handle"], "ada");
    assert!(last["mutation"]["data"]["sendMessage"]["entry"]["seq"].is_string(), "{last:?}");
    let entry = json!({ "message": { "text": "grüß dich 🌿" }, "author": { "handle": "ada" } });
    assert_eq!(last["stream"]["data"]["subscribe"]["entry"]["entry"], entry);
    assert_eq!(last["pong"], json!({ "sent": 1 }));
    // A stream that the client completes is cancelled, and its id is free.
    client.say(json!({ "type": "complete", "id": "stream" })).await;
    until("the subscription has ended", async || calls(&mesh, "graphql").await == counted + 3).await;
    send(&bob, &id, "unheard").await;
    client.subscribe("stream", USERS).await;
    let mut message = client.hear().await;
    // Results that were sent before the gateway read `complete`.
    while message["id"] != "stream" || message["payload"]["data"]["listUsers"].is_null() {
        assert!(!message.to_string().contains("unheard"), "{message}");
        message = client.hear().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_operations_get_an_error_message() {
    let mesh = start(&[("GATEWAY__GRAPHQL__OPERATIONS_PER_SOCKET", "2")]).await;
    let ada = mesh.sign_up("ada").await;
    let mut client = Client::ready(&mesh, Some(&ada)).await;
    let refused = async |client: &mut Client, id: &str| -> Value {
        let mut message = client.hear().await;
        assert_eq!((&message["type"], &message["id"]), (&json!("error"), &json!(id)), "{message}");
        message["payload"][0]["extensions"]["code"].take()
    };
    for (query, code) in [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
    ] {
        client.subscribe("1", query).await;
        assert_eq!(refused(&mut client, "1").await, code, "{query}");
    }
    // Two subscriptions are as many as the socket may have.
    client.subscribe("1", SUBSCRIBE).await;
    client.subscribe("2", SUBSCRIBE).await;
    client.subscribe("3", USERS).await;
    let mut message = client.hear().await;
    while message["type"] == "next" {
        message = client.hear().await;
    }
    assert_eq!((&message["type"], &message["id"]), (&json!("error"), &json!("3")), "{message}");
    assert_eq!(message["payload"][0]["extensions"]["code"], "TOO_MANY_OPERATIONS");
    // The free place can be used.
    client.say(json!({ "type": "complete", "id": "2" })).await;
    client.subscribe("3", USERS).await;
    let mut message = client.hear().await;
    while message["id"] != "3" {
        message = client.hear().await;
    }
    assert_eq!(message["payload"]["data"]["listUsers"]["nodes"][0]["handle"], "ada");
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_closes_with_the_codes_of_the_protocol() {
    let mesh = start(&[("GATEWAY__GRAPHQL__INIT_TIMEOUT", "1s"), ("GATEWAY__IDLE_TIMEOUT", "2s")]).await;
    let ada = mesh.sign_up("ada").await;
    let init = json!({ "type": "connection_init" });
    let with = |payload: Value| json!({ "type": "connection_init", "payload": payload });
    let query = |payload: Value| json!({ "type": "subscribe", "id": "1", "payload": payload });
    for (messages, is_initialized, code) in [
        (vec![], false, 4408),
        (vec![json!({ "type": "start" })], false, 4400),
        (vec![with(json!({ "headers": { "cookie": "a=b" } }))], false, 4400),
        (vec![json!({ "type": "ping", "payload": { "a": "a".repeat(1024) } })], false, 4400),
        (vec![json!({ "type": "pong", "payload": { "a": "a".repeat(1024) } })], false, 4400),
        (vec![with(json!({ "a": "a".repeat(17 * 1024) }))], false, 4400),
        (vec![query(json!({ "query": USERS }))], false, 4401),
        (vec![init.clone(), init.clone()], true, 4429),
        (vec![init.clone(), query(json!({}))], true, 4400),
        (vec![init.clone(), query(json!({ "query": 1 }))], true, 4400),
        // Without operations. An upstream may accept a token that is not ours.
        (vec![init.clone()], true, 1000),
        (vec![with(json!({ "authorization": "Bearer made-up" }))], true, 1000),
    ] {
        let mut client = Client::open(&mesh).await;
        for message in &messages {
            client.say(message.clone()).await;
        }
        if is_initialized {
            assert_eq!(client.hear().await["type"], "connection_ack");
        }
        assert_eq!(client.closed().await.0, code, "{messages:?}");
    }
    let mut twice = Client::ready(&mesh, Some(&ada)).await;
    twice.subscribe("1", SUBSCRIBE).await;
    twice.hear().await;
    twice.subscribe("1", USERS).await;
    let (kind, payload) = loop {
        let frame = twice.0.next().await.unwrap();
        if frame.0 != TEXT {
            break frame;
        }
    };
    assert_eq!((kind, &payload[..2]), (CLOSE, &4409_u16.to_be_bytes()[..]));
    let mut other = Socket::open_subprotocol(mesh.ports.gateway, "/graphql", "graphql-ws", "").await;
    assert_eq!(other.closed().await, Some(4406));
    // The head of a frame is enough: it states more than an operation may have.
    let mut large = Client::open(&mesh).await;
    let bytes = (64_u64 * 1024 + 1024 * 1024 + 16 * 1024 + 1).to_be_bytes();
    large.0.send_part(&[&[0x80 | TEXT, 0x80 | 127][..], &bytes, &[0; 4]].concat()).await;
    assert_eq!(large.closed().await.0, 1009);
}

/// The socket ends before its streams do, so that the client opens them again over its next socket.
#[tokio::test(flavor = "multi_thread")]
async fn socket_ends_with_its_token() {
    let mesh = start(&[("AUTH__ACCESS_LIFETIME", "4s")]).await;
    let ada = mesh.sign_up("ada").await;
    let mut client = Client::ready(&mesh, Some(&ada)).await;
    client.subscribe("1", SUBSCRIBE).await;
    let end = loop {
        let (kind, payload) = client.0.next().await.unwrap();
        if kind == CLOSE {
            break payload;
        }
        let message: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(message["type"], "next", "no end of the subscription: {message}");
        assert!(message["payload"]["errors"].is_null(), "{message}");
    };
    assert_eq!(end[..2], 4403_u16.to_be_bytes());
    // The token has expired for the next socket, too.
    until("the token is refused", async || {
        let mut late = Client::open(&mesh).await;
        late.say(json!({ "type": "connection_init", "payload": { "authorization": format!("Bearer {}", ada.tokens.access_token) } })).await;
        late.0.next().await.is_some_and(|(kind, payload)| kind == CLOSE && payload[..2] == 4403_u16.to_be_bytes())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn graphql_sockets_drain_with_the_process() {
    let mut mesh = start(&[]).await;
    let ada = mesh.sign_up("ada").await;
    let mut idle = Client::ready(&mesh, None).await;
    let mut client = Client::ready(&mesh, Some(&ada)).await;
    client.subscribe("1", SUBSCRIBE).await;
    assert_eq!(client.hear().await["type"], "next");
    mesh.signal("TERM");
    assert_eq!(idle.closed().await.0, 1001);
    // The subscription has no last message: clients open it again.
    assert_eq!(client.closed().await.0, 1001);
    assert!(mesh.ended(WAIT).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_apply_to_operations_of_sockets() {
    let limit = "[gateway.rate_limits.overrides.few]\nmethods = [\"trellis.auth.v1.AuthService/GetJwks\"]\n\
                 limits = [{ requests = 3, period = \"1h\" }]\n";
    let mut mesh = Mesh::new(&[], Ports::free());
    let file = mesh.folder().join("trellis.toml");
    fs::write(&file, limit).unwrap();
    mesh.set("CONFIG", file.to_str().unwrap());
    mesh.set("GATEWAY__GRAPHQL__ENABLED", "true");
    mesh.set("GATEWAY__DEFAULT_RATE_REQUESTS", "10");
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    let ada = mesh.sign_up("ada").await;
    let code = |response: &Value| response["errors"][0]["extensions"]["code"].as_str().unwrap_or("OK").to_owned();
    let mut client = Client::ready(&mesh, Some(&ada)).await;
    assert_eq!(code(&client.execute("1", USERS).await), "OK");
    let mut anonymous = Client::ready(&mesh, None).await;
    assert_eq!(code(&anonymous.execute("1", USERS).await), "UNAUTHENTICATED");
    let mut late = Client::open(&mesh).await;
    late.say(json!({ "type": "connection_init", "payload": { "headers": { "grpc-timeout": "1n" } } })).await;
    assert_eq!(late.hear().await["type"], "connection_ack");
    assert_eq!(code(&late.execute("1", "{ getJwks { __typename } }").await), "DEADLINE_EXCEEDED");
    let four =
        "{ a: getJwks { __typename } b: getJwks { __typename } c: getJwks { __typename } d: getJwks { __typename } }";
    let response = client.execute("2", four).await;
    assert_eq!(code(&response), "RESOURCE_EXHAUSTED", "{response}");
    // Each operation counts as a request for GraphQL, whose limit refuses it as a whole.
    let mut refused = json!({ "type": "next" });
    for n in 0..10 {
        client.subscribe(&format!("more {n}"), "{ __typename }").await;
        refused = client.hear().await;
        if refused["type"] == "error" {
            break;
        }
        assert_eq!(client.hear().await["type"], "complete");
    }
    assert_eq!(refused["payload"][0]["extensions"]["code"], "RATE_LIMITED", "{refused}");
}

/// The operations of a client that does not read pause, and the stall timeout ends its connection.
#[tokio::test(flavor = "multi_thread")]
async fn unread_graphql_socket_slows_the_upstream() {
    let settings = [("GATEWAY__GRAPHQL__ENABLED", "true"), ("GATEWAY__STALL_TIMEOUT", "2s")];
    let (mesh, seen) = files::mesh(&settings).await;
    let mut client = Client::ready(&mesh, None).await;
    let query = format!("subscription {{ acmeV1ShopDownload(contentType: \"a/b\", pieces: {ENDLESS}) {{ data }} }}");
    client.subscribe("1", &query).await;
    // A result is longer than a frame of the gateway.
    let result = client.hear().await;
    let data = result["payload"]["data"]["acmeV1ShopDownload"]["data"].as_str().unwrap_or_else(|| panic!("{result}"));
    assert!(data.len() > PIECE, "{} bytes", data.len());
    client.subscribe("2", &query).await;
    let sent = seen.sent_at_rest().await;
    assert!(sent < 24 * 1024 * 1024 / PIECE, "{sent} pieces");
    // The gateway gives up, before anything more is read.
    seen.has_downloads(0).await;
    assert_eq!(client.0.closed().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_leaves_cancels_its_operations() {
    let (mesh, seen) = files::mesh(&[("GATEWAY__GRAPHQL__ENABLED", "true")]).await;
    let mut client = Client::ready(&mesh, None).await;
    let query = format!("subscription {{ acmeV1ShopDownload(pieces: {ENDLESS}) {{ contentType }} }}");
    client.subscribe("1", &query).await;
    client.subscribe("2", &query).await;
    client.hear().await;
    seen.has_downloads(2).await;
    client.say(json!({ "type": "complete", "id": "1" })).await;
    // Results of the other one are read until the gateway has read the message.
    while seen.downloads.load(Ordering::SeqCst) > 1 {
        client.hear().await;
    }
    drop(client);
    seen.has_downloads(0).await;
}
