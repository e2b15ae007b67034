//! External authorization: an authorization service with Envoy's API decides about calls.

use std::{convert::Infallible, fs, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use proto::auth::v1::GetJwksRequest;
use serde_json::Value;
use tokio::net::TcpListener;

use super::{
    external_upstream::{respond, serve, well},
    harness::{Mesh, Ports},
    web::{self, BINARY, Http, Received},
};

pub(crate) type Checks = Arc<Mutex<Vec<Vec<u8>>>>;

/// The response of the service, encoded by hand: field numbers of Envoy's API, independent of the gateway's own types.
fn decision(check: &[u8]) -> Vec<u8> {
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
    }
    let header = |name: &str, value: &str| field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
    let has = |text: &str| check.windows(text.len()).any(|window| window == text.as_bytes());
    if has("decide-allow") {
        let ok = [field(2, &header("x-tenant", "acme")), field(2, &header("x-other", "no")), field(5, b"x-secret")];
        return [field(1, b""), field(3, &ok.concat())].concat();
    }
    if has("decide-deny") {
        // HTTP status 401: the varint 0x91 0x03.
        let status = field(1, &[8, 0x91, 3]);
        let denied = [status, field(2, &header("www-authenticate", "Basic")), field(3, b"ask at the desk")].concat();
        return [field(1, &[8, 7]), field(2, &denied)].concat();
    }
    if has("decide-nothing") {
        return Vec::new();
    }
    field(1, b"")
}

/// Starts an authorization service, which records the requests.
pub(crate) async fn authorizer() -> (String, Checks) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let checks = Checks::default();
    let recorded = Arc::clone(&checks);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let checks = Arc::clone(&recorded);
            let service = service_fn(move |request: Request<Incoming>| {
                let checks = Arc::clone(&checks);
                async move {
                    assert_eq!(request.uri().path(), "/envoy.service.auth.v3.Authorization/Check");
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let check = body[5..].to_vec();
                    if check.windows(11).any(|window| window == b"decide-late") {
                        tokio::time::sleep(Duration::from_secs(30)).await;
                    }
                    let frames = vec![Ok::<_, Infallible>(Frame::data(web::frame(&decision(&check))))];
                    let frames = frames.into_iter().chain([well().map_err(|_| unreachable!())]);
                    checks.lock().push(check);
                    let response = Response::builder().header("content-type", "application/grpc");
                    Ok::<_, Infallible>(response.body(StreamBody::new(futures_util::stream::iter(frames))).unwrap())
                }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, checks)
}

async fn gateway(authorizer: &str, upstream: &str, rest: &str) -> Mesh {
    let mut mesh = Mesh::new(&["gateway"], Ports::free());
    let (file, set) = (mesh.folder().join("trellis.toml"), mesh.folder().join("shop.bin"));
    fs::write(&set, super::faulty_upstream::descriptors()).unwrap();
    let config = format!(
        "[gateway.external]\n\"acme.v1.Shop\" = {{ to = {upstream:?}, access = \"public\", descriptors = {set:?} }}\n\
         [gateway.authorization]\nto = {authorizer:?}\nexcept = [\"acme.v1.Shop/Write\"]\ntimeout = \"2s\"\n\
         sends = [\"x-decision\"]\nsets = [\"x-tenant\"]\n{rest}"
    );
    fs::write(&file, config).unwrap();
    mesh.set("CONFIG", file.to_str().unwrap());
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    mesh
}

async fn call(mesh: &Mesh, path: &str, decision: &str) -> Received {
    let headers = [("x-decision", decision), ("x-secret", "1"), ("x-tenant", "forged"), ("x-private", "hidden")];
    let call = web::call(mesh.ports.gateway, path, BINARY, &headers, &GetJwksRequest {});
    web::send(mesh.ports.gateway, Http::One, call).await.unwrap()
}

async fn connect(mesh: &Mesh, decision: &str) -> (Received, Value) {
    let headers = [("content-type", "application/json"), ("x-decision", decision)];
    let port = mesh.ports.gateway;
    let request = web::request("POST", port, "/acme.v1.Shop/Read", &headers, Bytes::from_static(b"{}"));
    let response = web::send(port, Http::One, request).await.unwrap();
    let json = serde_json::from_slice(&response.body).unwrap();
    (response, json)
}

const READ: &str = "/acme.v1.Shop/Read";

#[tokio::test(flavor = "multi_thread")]
async fn authorization_service_decides_about_calls() {
    let (address, checks) = authorizer().await;
    let (upstream, seen) = serve(|_| respond(vec![Ok(Frame::data(web::frame(b""))), well()])).await;
    let mesh = gateway(&address, &upstream, "").await;
    assert_eq!(call(&mesh, READ, "decide-allow").await.grpc_status(), "0");
    let sent = seen.lock().unwrap().pop().unwrap();
    assert_eq!(sent.get_all("x-tenant").iter().collect::<Vec<_>>(), ["acme"], "the client's copy is gone");
    assert!(
        !sent.contains_key("x-secret") && !sent.contains_key("x-other") && sent.contains_key("x-private"),
        "{sent:?}"
    );
    let check = String::from_utf8_lossy(&checks.lock().pop().unwrap()).into_owned();
    for part in [READ, "127.0.0.1", "x-decision", "decide-allow", "anonymous"] {
        assert!(check.contains(part), "{part}: {check:?}");
    }
    assert!(!check.contains("hidden") && !check.contains("forged"), "{check:?}");
    let denied = call(&mesh, READ, "decide-deny").await;
    assert_eq!((denied.grpc_status().as_str(), denied.reason().as_str()), ("16", "AUTHORIZATION_DENIED"));
    let (response, error) = connect(&mesh, "decide-deny").await;
    assert_eq!((response.status, response.header("www-authenticate")), (401, "Basic"));
    assert_eq!(error["message"], "ask at the desk");
    assert!(seen.lock().unwrap().is_empty(), "a refused call is not forwarded");
    // An excluded method is not checked, and a client still cannot state the header.
    let count = checks.lock().len();
    assert_eq!(call(&mesh, "/acme.v1.Shop/Write", "decide-deny").await.grpc_status(), "0");
    assert!(!seen.lock().unwrap().pop().unwrap().contains_key("x-tenant"));
    assert_eq!(call(&mesh, "/grpc.health.v1.Health/Check", "decide-deny").await.grpc_status(), "0");
    assert_eq!(checks.lock().len(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn call_without_a_decision_is_refused_by_default() {
    let (address, _) = authorizer().await;
    let (upstream, seen) = serve(|_| respond(vec![Ok(Frame::data(web::frame(b""))), well()])).await;
    let mesh = gateway(&address, &upstream, "").await;
    for decision in ["decide-late", "decide-nothing"] {
        assert_eq!(call(&mesh, READ, decision).await.grpc_status(), "14", "{decision}");
    }
    // Bound, so that no other test gets the port, and not listening.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let gone = format!("http://{}", held.local_addr().unwrap());
    let closed = gateway(&gone, &upstream, "").await;
    assert_eq!(call(&closed, READ, "").await.grpc_status(), "14");
    assert!(seen.lock().unwrap().is_empty());
    let open = gateway(&gone, &upstream, "fail_open = true\n").await;
    assert_eq!(call(&open, READ, "").await.grpc_status(), "0");
    assert!(!seen.lock().unwrap().pop().unwrap().contains_key("x-tenant"));
}
