//! HTTP's own rules at the gateway: requests that are no call, bodies that are too large, HEAD, and cookies.

use bytes::Bytes;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    harness::{Mesh, PASSWORD, Store},
    web::{self, Http, Received},
};

const PAGE: &str = "https://app.example.org";
const JSON: (&str, &str) = ("content-type", "application/json");
const PROTO: (&str, &str) = ("content-type", "application/proto");
const HTML: (&str, &str) = ("accept", "text/html,*/*;q=0.8");
const MISSING: &str = "/trellis.users.v1.UsersService/Missing";
const JWKS: &str = "/trellis.auth.v1.AuthService/GetJwks";
const GET_QUERY: &str = "/trellis.users.v1.UsersService/Missing?encoding=json&message=%7B%7D";
/// Requests of one address for which `unknown` has room.
const MOST: usize = 40;

/// The method, the path, the headers, the status of HTTP, and the code in a JSON body.
type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)], u16, &'static str);

const CASES: [Case; 13] = [
    ("GET", "/v1/nothing", &[], 404, "5"),
    ("HEAD", "/v1/nothing", &[], 404, ""),
    ("POST", "/v1/nothing", &[JSON], 404, "5"),
    ("PUT", "/v1/nothing", &[], 404, "5"),
    ("GET", "/v1/nothing", &[HTML], 404, ""),
    ("POST", MISSING, &[JSON], 501, "\"unimplemented\""),
    ("POST", "/v1/nothing", &[JSON, ("connect-protocol-version", "1")], 501, "\"unimplemented\""),
    ("POST", "/v1/nothing", &[PROTO], 501, "\"unimplemented\""),
    ("GET", GET_QUERY, &[], 501, "\"unimplemented\""),
    ("DELETE", "/v1/users", &[], 405, "12"),
    ("OPTIONS", "/v1/users", &[], 204, ""),
    ("POST", JWKS, &[("content-type", "text/xml")], 415, "3"),
    ("GET", JWKS, &[], 405, "12"),
];

/// One rule for the whole table: each refusal is readable by an allowed page, logged, counted and limited.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_no_call_are_refused_alike() {
    let most = MOST.to_string();
    let settings = [
        ("LOG__FORMAT", "json"),
        ("GATEWAY__CORS_ORIGINS", PAGE),
        ("GATEWAY__DEFAULT_RATE_REQUESTS", &*most),
        ("GATEWAY__DEFAULT_RATE_PERIOD", "1h"),
    ];
    let mut mesh = Mesh::start(Store::Sqlite, &settings).await;
    let port = mesh.ports.gateway;
    let send = async |(method, path, headers, ..): &Case| -> Received {
        // A preflight request has an origin.
        let origin: &[(&str, &str)] = if *method == "OPTIONS" { &[] } else { &[("origin", PAGE)] };
        let request = web::request(method, port, path, &[headers, origin].concat(), Bytes::new());
        web::send(port, Http::One, request).await.unwrap()
    };
    for case in &CASES {
        let (method, path, _, status, code) = case;
        let response = send(case).await;
        assert_eq!(response.status, *status, "{case:?}");
        if *method != "OPTIONS" {
            assert_eq!(response.header("access-control-allow-origin"), PAGE, "{case:?}");
        }
        if *method == "HEAD" {
            assert!(response.body.is_empty(), "{case:?}");
        } else if code.is_empty() {
            assert_ne!(response.header("content-type"), "application/json", "{method} {path}");
        } else {
            let body: Value = serde_json::from_slice(&response.body).unwrap();
            assert_eq!(body["code"].to_string(), *code, "{case:?}");
        }
    }
    let metrics = web::get(mesh.ports.admin, "/metrics").await.unwrap();
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    for code in ["NOT_FOUND", "UNIMPLEMENTED", "OK", "INVALID_ARGUMENT"] {
        let label = format!("rpc_method=\"unknown\",rpc_response_status_code=\"{code}\"");
        assert!(metrics.contains(&format!("gateway_call_duration_seconds_count{{{label}}}")), "{code}: {metrics}");
    }
    for _ in 0..2 * MOST {
        send(&CASES[0]).await;
    }
    for case in &CASES {
        let limited = send(case).await;
        assert_eq!((limited.status, limited.header("retry-after").is_empty()), (429, false), "{case:?}");
    }
    // Calls are limited separately, by their own methods.
    assert_eq!(web::get(port, "/v1/auth/jwks").await.unwrap().status, 200);
    assert_eq!(mesh.terminate().code(), Some(0));
    let log = mesh.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let unknown = lines.filter(|line| line["target"] == "access" && line["fields"]["rpc.method"] == "unknown");
    assert_eq!(unknown.count(), 2 * CASES.len() + 2 * MOST);
}

/// HEAD has the head of GET, also without the optional version.
#[tokio::test(flavor = "multi_thread")]
async fn head_of_connect_get_has_no_body() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let port = mesh.ports.gateway;
    for (http, version) in [(Http::One, ""), (Http::Two, "&connect=v1")] {
        let path = format!("{JWKS}?encoding=json&message=%7B%7D{version}");
        let send = async |method: &str| {
            web::send(port, http, web::request(method, port, &path, &[], Bytes::new())).await.unwrap()
        };
        let (get, head) = (send("GET").await, send("HEAD").await);
        assert_eq!((get.status, get.header("content-type")), (200, "application/json"), "{get:?}");
        assert_eq!((head.status, head.body.len(), head.header("etag")), (200, 0, get.header("etag")));
        assert_eq!(head.header("content-length"), get.body.len().to_string());
    }
}

/// A client that waits for `100 Continue` gets the final response, and sends nothing.
#[tokio::test(flavor = "multi_thread")]
async fn too_large_body_is_refused_before_it_is_sent() {
    const LIMIT: usize = 524_288;
    let mesh = Mesh::start(Store::Sqlite, &[("LIMITS__MESSAGE_BYTES", "524288")]).await;
    let ada = mesh.sign_up("ada").await;
    let connect = "/trellis.messaging.v1.MessagingService/CreateConversation";
    for (path, content_type, length, status) in [
        ("/v1/conversations", "application/json", LIMIT + 1, "413"),
        ("/v1/conversations", "application/json", LIMIT, "100"),
        (connect, "application/json", LIMIT + 1, "429"),
        (connect, "application/proto", LIMIT + 1, "429"),
        (connect, "application/proto", LIMIT, "100"),
        // gRPC-Web states the code in a header.
        (connect, "application/grpc-web+proto", LIMIT + 6, "200"),
        (connect, "application/grpc-web+proto", LIMIT + 5, "100"),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", mesh.ports.gateway)).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\
             expect: 100-continue\r\nauthorization: Bearer {}\r\n\r\n",
            ada.tokens.access_token
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut line = [0; 12];
        stream.read_exact(&mut line).await.unwrap();
        assert_eq!(std::str::from_utf8(&line).unwrap(), format!("HTTP/1.1 {status}"), "{path} {content_type} {length}");
    }
}

/// A browser sends a cookie only to its path: over plain http there is one for each HTTP form that reads it.
#[tokio::test(flavor = "multi_thread")]
async fn http_forms_refresh_and_sign_out_with_the_cookie() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    mesh.sign_up("ada").await;
    let port = mesh.ports.gateway;
    let own = format!("http://localhost:{port}");
    let post = async |path: &str, cookie: &str| {
        let headers = [("origin", own.as_str()), ("content-type", "application/json"), ("cookie", cookie)];
        let body = r#"{"email":"ada@example.org","password":"PASSWORD","refreshDelivery":"REFRESH_DELIVERY_COOKIE"}"#;
        let body = if path.ends_with("signIn") { body.replace("PASSWORD", PASSWORD) } else { "{}".to_owned() };
        let response =
            web::send(port, Http::One, web::request("POST", port, path, &headers, body.into())).await.unwrap();
        let all = response.headers.get_all("set-cookie").iter();
        (response.status, all.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>())
    };
    let of = |set: &[String], path: &str| {
        let cookie = set.iter().find(|cookie| cookie.contains(&format!("Path={path};"))).expect("a cookie of the path");
        cookie.split(';').next().unwrap().to_owned()
    };
    let (status, set) = post("/v1/auth:signIn", "").await;
    assert_eq!((status, set.len()), (200, 3), "{set:?}");
    let (status, set) = post("/v1/auth:refresh", &of(&set, "/v1/auth:refresh")).await;
    assert_eq!((status, set.len()), (200, 3), "{set:?}");
    let (status, set) = post("/v1/auth:signOut", &of(&set, "/v1/auth:signOut")).await;
    assert!(status == 200 && set.iter().all(|cookie| cookie.contains("Max-Age=0")), "{set:?}");
}
