//! The same services over every protocol of the gateway.

use std::{fs, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::{Response, body::Incoming};
use prost::Message as _;
use proto::users::v1::{GetUserRequest, GetUserResponse};
use serde_json::{Value, json};
use tonic::Code;

use super::{
    harness::{Mesh, Person, Ports, Store, new_id},
    web::{self, Http, Received, read_until},
};

const GET_USER: &str = "/trellis.users.v1.UsersService/GetUser";
const SUBSCRIBE: &str = "/trellis.messaging.v1.MessagingService/Subscribe";
const WAIT: Duration = Duration::from_secs(20);

/// Names and values.
type Headers<'a> = &'a [(&'a str, &'a str)];

/// A client of JSON over HTTP.
struct Api {
    port: u16,
    bearer: String,
}

impl Api {
    fn of(mesh: &Mesh, person: &Person) -> Self {
        Self { port: mesh.ports.gateway, bearer: format!("Bearer {}", person.tokens.access_token) }
    }

    async fn send(&self, method: &str, path: &str, headers: Headers<'_>, body: &Value) -> Received {
        let headers = [&[("authorization", self.bearer.as_str())], headers].concat();
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        web::send(self.port, Http::One, web::request(method, self.port, path, &headers, body)).await.unwrap()
    }

    /// A call that must succeed.
    async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let response = self.send(method, path, &[("content-type", "application/json")], &body).await;
        let text = String::from_utf8_lossy(&response.body).into_owned();
        assert_eq!((response.status, response.header("content-type")), (200, "application/json"), "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// A call that must fail: its HTTP status, and the `google.rpc.Status`.
    async fn refused(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let response = self.send(method, path, &[("content-type", "application/json")], &body).await;
        assert_eq!(response.header("content-type"), "application/json", "{path}");
        (response.status, serde_json::from_slice(&response.body).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_chat_with_json_over_http() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let (ada, bob) = (mesh.sign_up("ada").await, mesh.sign_up("bob").await);
    let (api, bobs) = (Api::of(&mesh, &ada), Api::of(&mesh, &bob));
    let user = api.call("GET", &format!("/v1/users/{}", bob.id()), Value::Null).await;
    assert_eq!((&user["user"]["handle"], &user["user"]["userId"]), (&json!("bob"), &json!(bob.id())));
    let found = api.call("GET", "/v1/users?query=bo&page_size=5", Value::Null).await;
    assert_eq!(found["users"][0]["handle"], "bob");
    let both = format!("/v1/users:batchGet?user_ids={}&userIds={}", ada.id(), bob.id());
    assert_eq!(api.call("GET", &both, Value::Null).await["users"].as_array().unwrap().len(), 2);
    let new = json!({ "requestId": new_id(), "memberIds": [bob.id()] });
    let conversation = api.call("POST", "/v1/conversations", new).await;
    let id = conversation["conversation"]["conversationId"].as_str().unwrap().to_owned();
    let messages = format!("/v1/conversations/{id}/messages");
    let sent = api.call("POST", &messages, json!({ "clientMessageId": new_id(), "text": "grüß dich 🌿" })).await;
    assert!(sent["entry"]["seq"].is_string(), "64-bit integers are strings: {sent}");
    let listed = bobs.call("GET", &messages, Value::Null).await;
    assert_eq!(listed["entries"][0]["message"]["text"], "grüß dich 🌿");
    let renamed = json!({ "displayName": "Ada L." });
    let renamed = api.call("PATCH", &format!("/v1/users/{}?update_mask=displayName", ada.id()), renamed).await;
    assert_eq!(renamed["user"]["displayName"], "Ada L.");
}

/// `ETag` and `If-Match` are the etag of the contract, and `Idempotency-Key` is its request id.
#[tokio::test(flavor = "multi_thread")]
async fn headers_of_http_state_fields() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let (ada, bob) = (mesh.sign_up("ada").await, mesh.sign_up("bob").await);
    let api = Api::of(&mesh, &ada);
    let path = format!("/v1/users/{}", ada.id());
    let user = api.send("GET", &path, &[], &Value::Null).await;
    let tag = user.header("etag").to_owned();
    let etag = serde_json::from_slice::<Value>(&user.body).unwrap()["user"]["etag"].as_str().unwrap().to_owned();
    assert!(tag.starts_with(&format!("\"{etag}.")), "{tag}");
    let again = api.send("GET", &path, &[("if-none-match", &tag)], &Value::Null).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let change = |name: &str| json!({ "displayName": name });
    let matching = |tag: &'static str| [("content-type", "application/json"), ("if-match", tag)];
    let patch = format!("{path}?update_mask=displayName");
    let tag: &'static str = tag.leak();
    let changed = api.send("PATCH", &patch, &matching(tag), &change("Ada L.")).await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), tag);
    let late = api.send("PATCH", &patch, &matching(tag), &change("Ada B.")).await;
    assert_eq!(late.status, 412, "{:?}", late.body);
    let any = api.send("PATCH", &patch, &matching("*"), &change("Ada B.")).await;
    assert_eq!(any.status, 200, "{:?}", any.body);
    let key = format!("\"{}\"", new_id());
    let create = || async {
        let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
        let created = api.send("POST", "/v1/conversations", &headers, &json!({ "memberIds": [bob.id()] })).await;
        serde_json::from_slice::<Value>(&created.body).unwrap()["conversation"]["conversationId"].clone()
    };
    let (first, second) = (create().await, create().await);
    assert!(first.is_string() && first == second, "{first} {second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn error_of_json_over_http_names_the_field() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let ada = mesh.sign_up("ada").await;
    let api = Api::of(&mesh, &ada);
    let (status, error) = api.refused("GET", &format!("/v1/users/{}", new_id()), Value::Null).await;
    assert_eq!((status, &error["code"]), (404, &json!(Code::NotFound as i32)), "{error}");
    assert_eq!(error["details"][0]["@type"], "type.googleapis.com/google.rpc.ErrorInfo", "{error}");
    for (method, path, body, what) in [
        ("POST", "/v1/conversations", json!({ "memberIds": "bob" }), "memberIds"),
        ("POST", "/v1/conversations", json!({ "members": [] }), "members"),
        ("GET", "/v1/users?pagesize=1", Value::Null, "pagesize"),
        ("GET", "/v1/users?page_size=many", Value::Null, "page_size"),
        ("GET", "/v1/users/no-id", Value::Null, "user_id"),
    ] {
        let (status, error) = api.refused(method, path, body).await;
        assert_eq!((status, &error["code"]), (400, &json!(Code::InvalidArgument as i32)), "{path}: {error}");
        assert!(error.to_string().contains(what), "{path}: {error}");
    }
    let wanted = [("accept", "application/problem+json")];
    let problem = api.send("GET", "/v1/users/no-id", &wanted, &Value::Null).await;
    assert_eq!(problem.header("content-type"), "application/problem+json");
    let problem: Value = serde_json::from_slice(&problem.body).unwrap();
    assert_eq!((&problem["status"], &problem["code"]), (&json!(400), &json!("INVALID_ARGUMENT")));
    let anonymous = Api { port: api.port, bearer: "Bearer made-up".to_owned() };
    let refused = anonymous.send("GET", "/v1/users", &[], &Value::Null).await;
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Bearer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn http_methods_of_a_path_are_listed() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let ada = mesh.sign_up("ada").await;
    let api = Api::of(&mesh, &ada);
    let path = format!("/v1/users/{}", ada.id());
    let refused = api.send("DELETE", &path, &[], &Value::Null).await;
    assert_eq!((refused.status, refused.header("allow")), (405, "GET, HEAD, OPTIONS, PATCH"));
    let options = api.send("OPTIONS", &path, &[], &Value::Null).await;
    assert_eq!((options.status, options.header("allow")), (204, "GET, HEAD, OPTIONS, PATCH"));
    let get = api.send("GET", &path, &[], &Value::Null).await;
    let head = api.send("HEAD", &path, &[], &Value::Null).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), get.body.len().to_string());
    let xml = api.send("POST", "/v1/conversations", &[("content-type", "text/xml")], &json!({})).await;
    assert_eq!(xml.status, 415);
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_responses_are_those_of_grpc() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let (ada, bob) = (mesh.sign_up("ada").await, mesh.sign_up("bob").await);
    let port = mesh.ports.gateway;
    let bearer = format!("Bearer {}", ada.tokens.access_token);
    let get = GetUserRequest { user_id: bob.id().to_owned() };
    let expected = ada.users().get_user(ada.request(get.clone())).await.unwrap().into_inner();
    for http in [Http::One, Http::Two] {
        let call = |content_type, body: Bytes| {
            let headers = [("authorization", bearer.as_str()), ("content-type", content_type)];
            web::send(port, http, web::request("POST", port, GET_USER, &headers, body))
        };
        let proto = call("application/proto", get.encode_to_vec().into()).await.unwrap();
        assert_eq!((proto.status, proto.header("content-type")), (200, "application/proto"));
        assert_eq!(GetUserResponse::decode(proto.body).unwrap(), expected);
        let json = call("application/json", json!({ "userId": bob.id() }).to_string().into()).await.unwrap();
        assert_eq!((json.status, json.header("content-type")), (200, "application/json"));
        let json: Value = serde_json::from_slice(&json.body).unwrap();
        assert_eq!(json["user"]["handle"], "bob");
        let missing = call("application/json", json!({ "userId": new_id() }).to_string().into()).await.unwrap();
        let error: Value = serde_json::from_slice(&missing.body).unwrap();
        assert_eq!((missing.status, &error["code"]), (404, &json!("not_found")), "{error}");
    }
    for (encoding, message) in [
        ("json", format!("%7B%22userId%22:%22{}%22%7D", bob.id())),
        ("proto", format!("{}&base64=1", URL_SAFE_NO_PAD.encode(get.encode_to_vec()))),
    ] {
        let query = format!("{GET_USER}?connect=v1&encoding={encoding}&message={message}");
        let get = |known: &str| {
            let headers = [("authorization", bearer.as_str()), ("if-none-match", known)];
            web::send(port, Http::One, web::request("GET", port, &query, &headers, Bytes::new()))
        };
        let first = get("").await.unwrap();
        assert_eq!((first.status, first.header("cache-control")), (200, "private, no-cache"), "{encoding}");
        let again = get(first.header("etag")).await.unwrap();
        assert_eq!((again.status, again.body.len()), (304, 0), "{encoding}");
    }
}

/// Opens a stream, and returns it once its first data has arrived.
async fn subscribe(
    mesh: &Mesh,
    person: &Person,
    path: &str,
    headers: Headers<'_>,
    body: &[u8],
) -> (Response<Incoming>, BytesMut) {
    let port = mesh.ports.gateway;
    let bearer = format!("Bearer {}", person.tokens.access_token);
    let headers = [&[("authorization", bearer.as_str())], headers].concat();
    let request = web::request("POST", port, path, &headers, Bytes::copy_from_slice(body));
    let mut response = web::begin(port, Http::One, request).await.unwrap();
    let mut received = BytesMut::new();
    read_until(&mut response, &mut received, |bytes| !bytes.is_empty()).await;
    (response, received)
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_arrive_live_in_each_form() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let (ada, bob) = (mesh.sign_up("ada").await, mesh.sign_up("bob").await);
    let api = Api::of(&mesh, &bob);
    let http = "/v1/conversations:subscribe";
    let json = ("content-type", "application/json");
    let forms: [(&str, Headers, &[u8], &str, &str); 3] = [
        (http, &[json], b"{}", "application/x-ndjson", "{\"result\":{"),
        (http, &[json, ("accept", "text/event-stream")], b"{}", "text/event-stream", "retry: 3000\nid: "),
        (
            SUBSCRIBE,
            &[("content-type", "application/connect+json")],
            b"\0\0\0\0\x02{}",
            "application/connect+json",
            "\0\0",
        ),
    ];
    for (path, headers, body, content_type, begin) in forms {
        let (mut response, mut received) = subscribe(&mesh, &ada, path, headers, body).await;
        assert_eq!(
            (response.status().as_u16(), response.headers()["content-type"].to_str().unwrap()),
            (200, content_type)
        );
        assert!(received.starts_with(begin.as_bytes()), "{content_type}: {received:?}");
        let title = new_id();
        let new = json!({ "requestId": new_id(), "memberIds": [ada.id()], "title": title });
        api.call("POST", "/v1/conversations", new).await;
        read_until(&mut response, &mut received, |bytes| String::from_utf8_lossy(bytes).contains(&title)).await;
    }
}

/// A stream that fails ends with its status, in each form.
#[tokio::test(flavor = "multi_thread")]
async fn failed_stream_ends_with_its_status() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let ada = mesh.sign_up("ada").await;
    let (http, json) = ("/v1/conversations:subscribe", ("content-type", "application/json"));
    let late = ("grpc-timeout", "300m");
    let forms: [(&str, Headers, &[u8], &str); 3] = [
        (http, &[json, late], b"{}", "\n{\"error\":{\"code\":4,"),
        (http, &[json, late, ("accept", "text/event-stream")], b"{}", "\n\nevent: end\ndata: {\"code\":4,"),
        (
            SUBSCRIBE,
            &[("content-type", "application/connect+json"), ("connect-timeout-ms", "300")],
            b"\0\0\0\0\x02{}",
            "{\"error\":{\"code\":\"deadline_exceeded\"",
        ),
    ];
    for (path, headers, body, end) in forms {
        let (mut response, mut received) = subscribe(&mesh, &ada, path, headers, body).await;
        read_until(&mut response, &mut received, |bytes| String::from_utf8_lossy(bytes).contains(end)).await;
        let rest = tokio::time::timeout(WAIT, response.collect()).await.expect("the response ends").unwrap();
        assert!(rest.to_bytes().is_empty(), "nothing follows the status");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openapi_documents_name_every_http_form() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let response = web::get(mesh.ports.gateway, "/openapi.json").await.unwrap();
    assert_eq!((response.status, response.header("content-type")), (200, "application/json"));
    let document: Value = serde_json::from_slice(&response.body).unwrap();
    let operation = &document["paths"]["/v1/users/{user_id}"]["get"];
    assert!(
        operation["summary"].is_string() || operation["description"].is_string(),
        "comments are there: {operation}"
    );
    let hidden = Mesh::start(Store::Sqlite, &[("GATEWAY__JSON__OPENAPI", "false")]).await;
    assert_eq!(web::get(hidden.ports.gateway, "/openapi.json").await.unwrap().status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_events_get_a_comment() {
    let mesh = Mesh::start(Store::Sqlite, &[("GATEWAY__JSON__HEARTBEAT", "200ms")]).await;
    let ada = mesh.sign_up("ada").await;
    let headers = [("content-type", "application/json"), ("accept", "text/event-stream")];
    let (mut response, mut received) = subscribe(&mesh, &ada, "/v1/conversations:subscribe", &headers, b"{}").await;
    read_until(&mut response, &mut received, |bytes| bytes.ends_with(b"\n\n:\n\n:\n\n")).await;
}

/// A protocol, as a test sends one unary call in it.
struct Form {
    name: &'static str,
    http: Http,
    content_type: &'static str,
    /// The header with a timeout of one nanosecond or millisecond.
    timeout: (&'static str, &'static str),
}

const FORMS: [Form; 7] = [
    Form { name: "gRPC", http: Http::Two, content_type: "application/grpc", timeout: ("grpc-timeout", "1n") },
    Form { name: "gRPC-Web", http: Http::One, content_type: web::BINARY, timeout: ("grpc-timeout", "1n") },
    Form { name: "gRPC-Web, text", http: Http::One, content_type: web::TEXT, timeout: ("grpc-timeout", "1n") },
    Form { name: "Connect", http: Http::One, content_type: "application/proto", timeout: ("connect-timeout-ms", "0") },
    Form {
        name: "Connect, JSON",
        http: Http::Two,
        content_type: "application/json",
        timeout: ("connect-timeout-ms", "0"),
    },
    Form { name: "JSON over HTTP", http: Http::One, content_type: "", timeout: ("grpc-timeout", "1n") },
    Form { name: GRAPHQL, http: Http::One, content_type: "application/json", timeout: ("grpc-timeout", "1n") },
];
const GRAPHQL: &str = "GraphQL";

impl Form {
    /// Calls `GetUser` or another method without fields, and returns its code as the client reads it.
    async fn code(&self, port: u16, method: &str, path: &str, headers: Headers<'_>) -> Code {
        let typed = [&[("content-type", self.content_type)], headers].concat();
        if self.name == GRAPHQL {
            return self.code_of_field(port, method, &typed).await;
        }
        let request = match self.content_type {
            "" => web::request("GET", port, path, headers, Bytes::new()),
            "application/proto" => web::request("POST", port, method, &typed, Bytes::new()),
            "application/json" => web::request("POST", port, method, &typed, Bytes::from_static(b"{}")),
            content_type => web::call(port, method, content_type, headers, &()),
        };
        let response = web::send(port, self.http, request).await.unwrap();
        if self.content_type.starts_with("application/grpc") {
            return Code::from_bytes(response.grpc_status().as_bytes());
        }
        match response.status {
            200 => Code::Ok,
            401 => Code::Unauthenticated,
            429 => Code::ResourceExhausted,
            501 => Code::Unimplemented,
            504 => Code::DeadlineExceeded,
            other => panic!("{}: {method}: {other}: {response:?}", self.name),
        }
    }
}

impl Form {
    /// Calls a method by its field of an operation.
    async fn code_of_field(&self, port: u16, method: &str, headers: Headers<'_>) -> Code {
        let name = method.rsplit_once('/').unwrap().1;
        let field = format!("{}{}", name[..1].to_ascii_lowercase(), &name[1..]);
        let kind = if name.starts_with("Create") { "mutation" } else { "query" };
        let body = json!({ "query": format!("{kind} {{ {field} {{ __typename }} }}") });
        let request = web::request("POST", port, "/graphql", headers, Bytes::from(body.to_string()));
        let response = web::send(port, self.http, request).await.unwrap();
        let response: Value = serde_json::from_slice(&response.body).unwrap();
        match response["errors"][0]["extensions"]["code"].as_str() {
            None => Code::Ok,
            Some("UNAUTHENTICATED") => Code::Unauthenticated,
            Some("RESOURCE_EXHAUSTED") => Code::ResourceExhausted,
            Some("DEADLINE_EXCEEDED") => Code::DeadlineExceeded,
            // The schema has no field for the method.
            Some("GRAPHQL_VALIDATION_FAILED") => Code::Unimplemented,
            Some(_) => panic!("{method}: {response}"),
        }
    }
}

/// Access, deadlines and rate limits apply to every protocol alike.
#[tokio::test(flavor = "multi_thread")]
async fn policies_apply_to_every_protocol() {
    const JWKS: &str = "/trellis.auth.v1.AuthService/GetJwks";
    const LIST_USERS: &str = "/trellis.users.v1.UsersService/ListUsers";
    let limit = "[gateway.rate_limits.overrides.few]\nmethods = [\"trellis.auth.v1.AuthService/GetJwks\"]\n\
                 limits = [{ requests = 7, period = \"1h\" }]\n";
    let mut mesh = Mesh::new(&[], Ports::free());
    let file = mesh.folder().join("trellis.toml");
    fs::write(&file, limit).unwrap();
    mesh.set("CONFIG", file.to_str().unwrap());
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    let ada = mesh.sign_up("ada").await;
    let (port, bearer) = (mesh.ports.gateway, format!("Bearer {}", ada.tokens.access_token));
    let token = [("authorization", bearer.as_str())];
    for form in &FORMS {
        let code = |method, path, headers| form.code(port, method, path, headers);
        assert_eq!(code(LIST_USERS, "/v1/users", &token).await, Code::Ok, "{}", form.name);
        assert_eq!(code(LIST_USERS, "/v1/users", &[]).await, Code::Unauthenticated, "{}", form.name);
        let late = [token[0], form.timeout];
        assert_eq!(code(LIST_USERS, "/v1/users", &late).await, Code::DeadlineExceeded, "{}", form.name);
        if !form.content_type.is_empty() {
            let internal = "/trellis.users.v1.UsersService/CreateUser";
            assert_eq!(code(internal, "", &token).await, Code::Unimplemented, "{}", form.name);
        }
    }
    // The limit counts the calls of all protocols together, and refuses further calls of each.
    for expected in [Code::Ok, Code::ResourceExhausted] {
        for form in &FORMS {
            assert_eq!(form.code(port, JWKS, "/v1/auth/jwks", &[]).await, expected, "{}", form.name);
        }
    }
}
