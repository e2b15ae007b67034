//! The services of the mesh over GraphQL.

use std::fs;

use bytes::{Bytes, BytesMut};
use hyper::{Response, body::Incoming};
use proto::messaging::v1::{CreateConversationRequest, SendMessageRequest};
use serde_json::{Value, json};

use super::{
    harness::{Mesh, Person, Ports, Store, new_id},
    web::{self, Http, Received},
};

const JSON: (&str, &str) = ("content-type", "application/json");

/// Names and values.
type Headers<'a> = &'a [(&'a str, &'a str)];

/// A GraphQL client.
struct Client {
    port: u16,
    bearer: String,
}

impl Client {
    fn of(mesh: &Mesh, person: &Person) -> Self {
        Self { port: mesh.ports.gateway, bearer: format!("Bearer {}", person.tokens.access_token) }
    }

    async fn post(&self, headers: Headers<'_>, body: &Value) -> Received {
        let headers = [&[("authorization", self.bearer.as_str()), JSON], headers].concat();
        let body = Bytes::from(body.to_string());
        web::send(self.port, Http::One, web::request("POST", self.port, "/graphql", &headers, body)).await.unwrap()
    }

    /// The response to an operation.
    async fn execute(&self, query: &str, variables: Value) -> Value {
        let response = self.post(&[], &json!({ "query": query, "variables": variables })).await;
        let text = String::from_utf8_lossy(&response.body).into_owned();
        assert_eq!(response.status, 200, "{query}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The data of an operation that must succeed.
    async fn data(&self, query: &str, variables: Value) -> Value {
        let mut response = self.execute(query, variables).await;
        assert!(response["errors"].is_null(), "{query}: {response}");
        response["data"].take()
    }

    /// Opens a subscription.
    async fn subscribe(&self, query: &str) -> Response<Incoming> {
        let headers = [("authorization", self.bearer.as_str()), JSON, ("accept", "text/event-stream")];
        let body = Bytes::from(json!({ "query": query }).to_string());
        let request = web::request("POST", self.port, "/graphql", &headers, body);
        let response = web::begin(self.port, Http::One, request).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), response.headers()["content-type"].to_str().unwrap()),
            (200, "text/event-stream")
        );
        response
    }
}

pub(crate) async fn start(settings: &[(&str, &str)]) -> Mesh {
    Mesh::start(Store::Sqlite, settings).await
}

async fn read_until(response: &mut Response<Incoming>, received: &mut BytesMut, text: &str) {
    web::read_until(response, received, |bytes| String::from_utf8_lossy(bytes).contains(text)).await;
}

/// How many calls of a method the gateway has counted.
pub(crate) async fn calls(mesh: &Mesh, method: &str) -> u64 {
    let metrics = web::get(mesh.ports.admin, "/metrics").await.unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    let label = format!("rpc_method=\"{method}\"");
    let counts =
        metrics.lines().filter(|line| line.starts_with("gateway_call_duration_seconds_count") && line.contains(&label));
    counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

pub(crate) async fn conversation(owner: &Person, member: &Person) -> String {
    let request = CreateConversationRequest {
        request_id: new_id(),
        member_ids: vec![member.id().to_owned()],
        ..Default::default()
    };
    let created = owner.messaging().create_conversation(owner.request(request)).await.unwrap();
    created.into_inner().conversation.unwrap().conversation_id
}

#[tokio::test(flavor = "multi_thread")]
async fn people_chat_with_graphql() {
    let mesh = start(&[]).await;
    let (ada, bob) = (mesh.sign_up("ada").await, mesh.sign_up("bob").await);
    let (adas, bobs) = (Client::of(&mesh, &ada), Client::of(&mesh, &bob));
    let create = "mutation($id: String!, $members: [String!]!) { createConversation(requestId: $id, memberIds: $members) { \
                  conversation { conversationId memberCount owner { handle } } } }";
    let created = adas.data(create, json!({ "id": new_id(), "members": [bob.id()] })).await;
    let conversation = &created["createConversation"]["conversation"];
    assert_eq!((&conversation["memberCount"], &conversation["owner"]["handle"]), (&json!(2), &json!("ada")));
    let id = &conversation["conversationId"];
    let send = "mutation($in: String!, $id: String!) { sendMessage(conversationId: $in, clientMessageId: $id, \
                text: \"grüß dich 🌿\") { entry { seq author { displayName } } } }";
    let sent = adas.data(send, json!({ "in": id, "id": new_id() })).await;
    assert_eq!(sent["sendMessage"]["entry"], json!({ "seq": "2", "author": { "displayName": "ADA" } }));
    let list = "query($in: String!) { listMessages(conversationId: $in, first: 1) { \
                nodes { message { text } conversationCreated { title } author { handle } } pageInfo { hasNextPage endCursor } } }";
    let listed = bobs.data(list, json!({ "in": id })).await;
    let entry =
        json!({ "message": { "text": "grüß dich 🌿" }, "conversationCreated": null, "author": { "handle": "ada" } });
    assert_eq!(listed["listMessages"]["nodes"], json!([entry]));
    assert_eq!(listed["listMessages"]["pageInfo"]["hasNextPage"], true);
    // A query with GET, and several root fields.
    let query = format!(
        "/graphql?query=%7Ba:getUser(userId:%22{}%22)%7Buser%7Bhandle%7D%7DgetJwks%7Bkeys%7B__typename%7D%7D%7D",
        bob.id()
    );
    let headers = [("authorization", adas.bearer.as_str()), ("accept", "application/graphql-response+json")];
    let got =
        web::send(adas.port, Http::Two, web::request("GET", adas.port, &query, &headers, Bytes::new())).await.unwrap();
    let data: Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!(got.header("content-type"), "application/graphql-response+json; charset=utf-8");
    assert_eq!((got.status, &data["data"]["a"]["user"]["handle"]), (200, &json!("bob")), "{data}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hundred_messages_with_authors_are_two_calls() {
    const LIST: &str = "/trellis.messaging.v1.MessagingService/ListMessages";
    const USERS: &str = "/trellis.users.v1.UsersService/BatchGetUsers";
    let mesh = start(&[]).await;
    let (ada, bob) = (mesh.sign_up("ada").await, mesh.sign_up("bob").await);
    let id = conversation(&ada, &bob).await;
    for n in 0..100 {
        let author = if n % 2 == 0 { &ada } else { &bob };
        let message = SendMessageRequest {
            conversation_id: id.clone(),
            client_message_id: new_id(),
            text: format!("message {n}"),
        };
        author.messaging().send_message(author.request(message)).await.unwrap();
    }
    let client = Client::of(&mesh, &ada);
    let query = "query($in: String!) { listMessages(conversationId: $in, first: 100) { nodes { message { text } author { handle } } } }";
    let before = (calls(&mesh, LIST).await, calls(&mesh, USERS).await);
    let data = client.data(query, json!({ "in": id })).await;
    let nodes = data["listMessages"]["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 100);
    for node in nodes {
        let text = node["message"]["text"].as_str().unwrap();
        let number: u32 = text.strip_prefix("message ").unwrap().parse().unwrap();
        assert_eq!(node["author"]["handle"], if number.is_multiple_of(2) { "ada" } else { "bob" });
    }
    assert_eq!((calls(&mesh, LIST).await, calls(&mesh, USERS).await), (before.0 + 1, before.1 + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn subscription_delivers_messages_as_events() {
    let mesh = start(&[("GATEWAY__JSON__HEARTBEAT", "200ms")]).await;
    let (ada, bob) = (mesh.sign_up("ada").await, mesh.sign_up("bob").await);
    let query = "subscription { subscribe { caughtUp conversation { title owner { handle } } } }";
    let mut response = Client::of(&mesh, &ada).subscribe(query).await;
    let mut received = BytesMut::new();
    let caught_up = "event: next\ndata: {\"data\":{\"subscribe\":{\"caughtUp\":{},\"conversation\":null}}}\n\n";
    read_until(&mut response, &mut received, caught_up).await;
    let title = new_id();
    let create =
        CreateConversationRequest { request_id: new_id(), member_ids: vec![ada.id().to_owned()], title: title.clone() };
    bob.messaging().create_conversation(bob.request(create)).await.unwrap();
    read_until(&mut response, &mut received, &title).await;
    read_until(&mut response, &mut received, "\"owner\":{\"handle\":\"bob\"}").await;
    // Silence gets comments.
    read_until(&mut response, &mut received, "\n\n:\n\n:\n\n").await;
    // A refused operation is an event, too.
    let mut refused = Client::of(&mesh, &ada).subscribe("subscription { nothing }").await;
    let mut received = BytesMut::new();
    read_until(&mut refused, &mut received, "event: complete\ndata:\n\n").await;
    let received = String::from_utf8_lossy(&received);
    assert!(received.contains("event: next\ndata: {\"errors\":["), "{received}");
}

/// A stream that fails ends with an event that states the error.
#[tokio::test(flavor = "multi_thread")]
async fn failed_subscription_ends_with_its_error() {
    let mesh = start(&[]).await;
    let stranger = Client { port: mesh.ports.gateway, bearer: "Bearer made-up".to_owned() };
    let mut response = stranger.subscribe("subscription { subscribe { caughtUp } }").await;
    let mut received = BytesMut::new();
    read_until(&mut response, &mut received, "event: complete\ndata:\n\n").await;
    assert!(String::from_utf8_lossy(&received).contains("\"code\":\"UNAUTHENTICATED\""), "{received:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_state_code_reason_and_fields() {
    let mesh = start(&[]).await;
    let ada = mesh.sign_up("ada").await;
    let client = Client::of(&mesh, &ada);
    let query = "query($id: String!, $ids: [String!]!) { getUser(userId: $id) { user { handle } } batchGetUsers(userIds: $ids) { users { handle } } }";
    let response = client.execute(query, json!({ "id": new_id(), "ids": [ada.id()] })).await;
    let extensions = &response["errors"][0]["extensions"];
    assert_eq!(
        (&extensions["code"], &extensions["reason"]),
        (&json!("NOT_FOUND"), &json!("USER_NOT_FOUND")),
        "{response}"
    );
    assert_eq!(response["data"], json!({ "getUser": null, "batchGetUsers": { "users": [{ "handle": "ada" }] } }));
    let response = client.execute(query, json!({ "id": "no-id", "ids": [ada.id()] })).await;
    let extensions = &response["errors"][0]["extensions"];
    assert_eq!(
        (&extensions["code"], &extensions["fieldViolations"][0]["field"]),
        (&json!("INVALID_ARGUMENT"), &json!("user_id")),
        "{response}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_http_does_not_allow_are_refused() {
    let mesh = start(&[]).await;
    let ada = mesh.sign_up("ada").await;
    let client = Client::of(&mesh, &ada);
    let port = client.port;
    let send = async |method: &str, path: &str, headers: Headers<'_>, body: &str| {
        let body = Bytes::copy_from_slice(body.as_bytes());
        web::send(port, Http::One, web::request(method, port, path, headers, body)).await.unwrap()
    };
    let query = "{\"query\": \"{ getJwks { __typename } }\"}";
    let strict = ("accept", "application/graphql-response+json");
    for (method, path, headers, body, status) in [
        ("POST", "/graphql", &[JSON][..], query, 200),
        ("POST", "/graphql", &[("content-type", "text/plain")], query, 415),
        ("POST", "/graphql", &[], query, 415),
        ("POST", "/graphql", &[JSON, ("accept", "text/html")], query, 406),
        ("POST", "/graphql", &[JSON], "{", 400),
        ("POST", "/graphql", &[JSON], "[]", 400),
        ("POST", "/graphql", &[JSON], "{\"query\": \"{\"}", 200),
        ("POST", "/graphql", &[JSON, strict], "{\"query\": \"{\"}", 400),
        ("POST", "/graphql", &[JSON, strict], "{\"query\": \"{ nothing }\"}", 400),
        ("GET", "/graphql", &[], "", 400),
        ("GET", "/graphql?query=%7BgetJwks%7B__typename%7D%7D", &[], "", 200),
        ("GET", "/graphql?query=mutation%7BsignOut%7D", &[], "", 405),
        ("DELETE", "/graphql", &[], "", 405),
    ] {
        let response = send(method, path, headers, body).await;
        assert_eq!(response.status, status, "{method} {path} {body}: {response:?}");
    }
    // Over the plain form a subscription has no stream.
    let response = client.post(&[strict], &json!({ "query": "subscription { subscribe { caughtUp } }" })).await;
    assert_eq!(response.status, 400, "{response:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_beyond_a_limit_are_refused() {
    let settings = [
        ("GATEWAY__GRAPHQL__DEPTH", "4"),
        ("GATEWAY__GRAPHQL__COMPLEXITY", "50"),
        ("GATEWAY__GRAPHQL__ROOT_FIELDS", "2"),
        ("GATEWAY__GRAPHQL__ALIASES", "3"),
        ("GATEWAY__GRAPHQL__DIRECTIVES", "1"),
        ("GATEWAY__GRAPHQL__INTROSPECTION", "false"),
        ("GATEWAY__GRAPHQL__QUERY_BYTES", "1024"),
    ];
    let mesh = start(&settings).await;
    let ada = mesh.sign_up("ada").await;
    let client = Client::of(&mesh, &ada);
    client.data("{ listUsers { nodes { handle } } }", Value::Null).await;
    for (query, key) in [
        ("{ listConversations { nodes { lastMessage { author { handle } } } } }", "depth"),
        (
            "{ listConversations { nodes { owner { handle } a: owner { handle } b: owner { handle } c: owner { handle } } } }",
            "complexity",
        ),
        ("{ a: getJwks { __typename } b: getJwks { __typename } c: getJwks { __typename } }", "root_fields"),
        ("{ getJwks { a: keys { kid } b: keys { kid } c: keys { kid } d: keys { kid } } }", "aliases"),
        ("{ getJwks { __typename @skip(if: true) @include(if: true) } }", "directives"),
        ("{ __schema { types { name } } }", "introspection"),
    ] {
        let response = client.execute(query, Value::Null).await;
        let message = response["errors"][0]["message"].as_str().unwrap_or_default();
        assert!(message.contains(&format!("gateway.graphql.{key}")), "{query}: {response}");
    }
    let long =
        client.post(&[], &json!({ "query": format!("{{ getJwks {{ __typename }} }} #{}", "a".repeat(1_024)) })).await;
    assert_eq!(long.status, 413);
    let off = Mesh::start(Store::Sqlite, &[("GATEWAY__GRAPHQL__ENABLED", "false")]).await;
    assert_eq!(web::get(off.ports.gateway, "/graphql?query=%7BgetJwks%7B__typename%7D%7D").await.unwrap().status, 404);
}

/// Access, deadlines and rate limits are those of the method.
#[tokio::test(flavor = "multi_thread")]
async fn policies_apply_to_graphql() {
    let limit = "[gateway.rate_limits.overrides.few]\nmethods = [\"trellis.auth.v1.AuthService/GetJwks\"]\n\
                 limits = [{ requests = 3, period = \"1h\" }]\n";
    let mut mesh = Mesh::new(&[], Ports::free());
    let file = mesh.folder().join("trellis.toml");
    fs::write(&file, limit).unwrap();
    mesh.set("CONFIG", file.to_str().unwrap());
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    let ada = mesh.sign_up("ada").await;
    let client = Client::of(&mesh, &ada);
    let anonymous = Client { port: client.port, bearer: String::new() };
    let code = |response: &Value| response["errors"][0]["extensions"]["code"].as_str().unwrap_or("OK").to_owned();
    let users = "{ listUsers { nodes { handle } } }";
    assert_eq!(code(&client.execute(users, Value::Null).await), "OK");
    assert_eq!(code(&anonymous.execute(users, Value::Null).await), "UNAUTHENTICATED");
    let late = client.post(&[("grpc-timeout", "1n")], &json!({ "query": users })).await;
    assert_eq!(code(&serde_json::from_slice(&late.body).unwrap()), "DEADLINE_EXCEEDED");
    let internal = client.execute("mutation { createUser(userId: \"\") { user { handle } } }", Value::Null).await;
    assert_eq!(code(&internal), "GRAPHQL_VALIDATION_FAILED");
    // Each field is a call of its own, also within one operation.
    let four =
        "{ a: getJwks { __typename } b: getJwks { __typename } c: getJwks { __typename } d: getJwks { __typename } }";
    let response = client.execute(four, Value::Null).await;
    assert_eq!(response["errors"].as_array().map(Vec::len), Some(1), "{response}");
    let extensions = &response["errors"][0]["extensions"];
    assert_eq!((&extensions["code"], &extensions["reason"]), (&json!("RESOURCE_EXHAUSTED"), &json!("RATE_LIMITED")));
    assert!(extensions["retryDelay"].is_string(), "{response}");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_sent_by_their_ids() {
    const DOCUMENT: &str = "{ getJwks { __typename } }";
    let hash = "d9819649a2616da28fbe367c5838751842b3cd2a449a657f949c7945266dbce5";
    let mut mesh = Mesh::new(&[], Ports::free());
    let file = mesh.folder().join("persisted.json");
    fs::write(&file, json!({ "keys": "{ getJwks { keys { kid } } }" }).to_string()).unwrap();
    mesh.set("GATEWAY__GRAPHQL__PERSISTED", file.to_str().unwrap());
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    let ada = mesh.sign_up("ada").await;
    let client = Client::of(&mesh, &ada);
    let sent = async |body: Value| -> Value { serde_json::from_slice(&client.post(&[], &body).await.body).unwrap() };
    let keys = sent(json!({ "documentId": "keys" })).await;
    assert!(keys["data"]["getJwks"]["keys"][0]["kid"].is_string(), "{keys}");
    let extensions = json!({ "persistedQuery": { "version": 1, "sha256Hash": hash } });
    let unknown = sent(json!({ "extensions": extensions })).await;
    assert_eq!(unknown["errors"][0]["message"], "PersistedQueryNotFound");
    let known = sent(json!({ "query": DOCUMENT, "extensions": extensions })).await;
    assert_eq!(known["data"]["getJwks"]["__typename"], "GetJwksResponse", "{known}");
    assert_eq!(sent(json!({ "extensions": extensions })).await, known);
}
