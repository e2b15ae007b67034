//! Requests that nothing serves: the upstream's descriptors cannot be read yet, or the configuration turns the path off.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{
    Config, Gateway, Listener, OwnServices, Shutdown,
    config::{ExternalConfig, Graphql, Open},
};

/// The response to a request over HTTP/1.1.
async fn send(address: &str, method: &str, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: a\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

/// Serves a gateway without services of the mesh at a free port, until the task is aborted.
async fn serve(config: &Config) -> (String, JoinHandle<()>) {
    let gateway = Gateway::embedded(config, OwnServices::new(proto::DESCRIPTORS), &Shutdown::new()).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let serving = Arc::new(gateway).serve(vec![Listener { socket, tls: false }], Shutdown::new());
    (address, tokio::spawn(async { serving.await.unwrap() }))
}

#[tokio::test]
async fn paths_of_graphql_state_that_it_is_off() {
    let on = "gateway.graphql.enabled = true";
    let graphql = Graphql { enabled: false, ..Graphql::default() };
    let (address, serving) = serve(&Config { graphql, ..Config::default() }).await;
    let socket = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-protocol: graphql-transport-ws\r\n";
    for (method, path, headers) in [
        ("POST", "/graphql", "content-type: application/json\r\n"),
        ("GET", "/graphql?query={__typename}", ""),
        ("GET", "/graphql", socket),
        ("GET", "/graphiql", "accept: text/html\r\n"),
    ] {
        let response = send(&address, method, path, headers).await;
        assert!(response.starts_with("HTTP/1.1 404 ") && response.contains(on), "{method} {path}: {response}");
    }
    serving.abort();
    let graphql = Graphql { explorer: false, ..Graphql::default() };
    let (address, serving) = serve(&Config { graphql, ..Config::default() }).await;
    let response = send(&address, "GET", "/graphiql", "").await;
    assert!(response.contains("gateway.graphql.explorer = true"), "{response}");
    let other = send(&address, "GET", "/graphiqlx", "").await;
    assert!(other.starts_with("HTTP/1.1 404 ") && !other.contains("GraphQL"), "{other}");
    serving.abort();
}

#[tokio::test]
async fn request_without_descriptors_yet_is_unavailable() {
    // No process listens there.
    let upstream = ExternalConfig {
        to: "http://127.0.0.1:1".into(),
        access: Open::Public,
        descriptors: "reflection".to_owned(),
        ..ExternalConfig::default()
    };
    let config = Config { external: [("acme.v1".to_owned(), upstream)].into(), ..Config::default() };
    let (address, serving) = serve(&config).await;
    let json = "content-type: application/json\r\n";
    let socket = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                  sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (method, path, headers) in [
        ("POST", "/acme.v1.Shop/Buy", json),
        ("POST", "/acme.v1.Shop/Buy", "content-type: application/proto\r\n"),
        ("POST", "/acme.v1.Shop/Buy", "content-type: application/connect+json\r\n"),
        ("POST", "/acme.v1.Shop/Buy", "content-type: text/plain\r\n"),
        ("POST", "/acme.v1.Shop/Buy", "content-type: application/json\r\naccept: text/event-stream\r\n"),
        ("GET", "/acme.v1.Shop/Buy", ""),
        ("GET", "/acme.v1.Shop/Buy?encoding=json&message={}", ""),
        ("GET", "/acme.v1.Shop/Buy", "accept: text/event-stream\r\n"),
        ("GET", "/acme.v1.Shop/Buy", socket),
        ("OPTIONS", "/acme.v1.Shop/Buy", ""),
        ("GET", "/openapi/acme.v1.json", ""),
    ] {
        let response = send(&address, method, path, headers).await;
        let is_stream = headers.contains("connect+json");
        // A stream of Connect states its failure in the body.
        assert!(is_stream || response.starts_with("HTTP/1.1 503 "), "{method} {path} {headers}: {response}");
        assert!(is_stream || response.contains("\r\nretry-after: 1\r\n"), "{method} {path} {headers}: {response}");
        assert!(response.contains("read the descriptors of the service yet"), "{method} {path} {headers}: {response}");
    }
    // Which upstream has this path is not known.
    let unknown = send(&address, "GET", "/v1/carts/7", "").await;
    assert!(unknown.starts_with("HTTP/1.1 404 ") && unknown.contains("descriptors of all services"), "{unknown}");
    let other = send(&address, "GET", "/openapi/acme.v2.json", "").await;
    assert!(other.starts_with("HTTP/1.1 404 "), "{other}");
    serving.abort();
}
