//! The service in each protocol. HTTP is written by hand, so that the example needs no clients.

use std::net::SocketAddr;

use gateway::config::Graphql;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use super::{greeter::greeter_service_client::GreeterServiceClient, *};

const GREET: &str = "/example.greeter.v1.GreeterService/Greet";
const JSON: &str = "content-type: application/json\r\n";

type Served = JoinHandle<Result<(), Box<dyn Error + Send + Sync>>>;

async fn start() -> (SocketAddr, Shutdown, Served) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, shutdown) = (socket.local_addr().unwrap(), Shutdown::new());
    let config = Config { graphql: Graphql { enabled: true, ..Graphql::default() }, ..Config::default() };
    let stopping = shutdown.clone();
    (address, shutdown, tokio::spawn(async move { serve(socket, &config, stopping).await }))
}

async fn client(address: SocketAddr) -> GreeterServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    GreeterServiceClient::new(endpoint.connect().await.unwrap())
}

/// The whole response to a request over HTTP/1.1.
async fn send(address: SocketAddr, target: &str, headers: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!(
        "{target} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n{headers}connection: close\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    String::from_utf8_lossy(&response).into_owned()
}

fn json_of(response: &str) -> Value {
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn documentation_shows_this_program() {
    let page = include_str!("../../../docs/gateway.md");
    assert!(page.contains(include_str!("main.rs")), "copy examples/embedded/src/main.rs to docs/gateway.md");
}

#[tokio::test]
async fn grpc_calls_reach_the_service() {
    let (address, ..) = start().await;
    let mut client = client(address).await;
    let greeting = client.greet(GreetRequest { name: "Ada".to_owned() }).await.unwrap().into_inner();
    assert_eq!(greeting.text, "Hello Ada");
    let mut stream = client.repeat(RepeatRequest { name: "Ada".to_owned(), times: 2 }).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().text, "Hello Ada 1");
    assert_eq!(stream.message().await.unwrap().unwrap().text, "Hello Ada 2");
    assert!(stream.message().await.unwrap().is_none());
    let refused = client.greet(GreetRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "name: must not be empty"));
}

#[tokio::test]
async fn http_calls_reach_the_service() {
    let (address, ..) = start().await;
    let hello = json!({ "text": "Hello Ada" });
    let ada = br#"{"name": "Ada"}"#;
    assert_eq!(json_of(&send(address, "GET /v1/greetings/Ada", "", b"").await), hello, "JSON over HTTP");
    assert_eq!(json_of(&send(address, &format!("POST {GREET}"), JSON, ada).await), hello, "Connect");
    let query = br#"{"query": "{ greet(name: \"Ada\") { text } }"}"#;
    let response = json_of(&send(address, "POST /graphql", JSON, query).await);
    assert_eq!(response, json!({ "data": { "greet": hello } }), "GraphQL");
    let web = "content-type: application/grpc-web+proto\r\n";
    let response = send(address, &format!("POST {GREET}"), web, b"\0\0\0\0\x05\x0a\x03Ada").await;
    assert!(response.contains("Hello Ada") && response.contains("grpc-status: 0"), "gRPC-Web: {response}");
    let target = "GET /v1/greetings/Ada:repeat?times=2";
    let response = send(address, target, "accept: text/event-stream\r\n", b"").await;
    for event in
        ["data: {\"text\":\"Hello Ada 1\"}", "data: {\"text\":\"Hello Ada 2\"}", "event: end\ndata: {\"code\":0"]
    {
        assert!(response.contains(event), "SSE: {response}");
    }
    let openapi = json_of(&send(address, "GET /openapi.json", "", b"").await);
    assert!(openapi["paths"]["/v1/greetings/{name}"]["get"].is_object(), "{openapi}");
    let malformed = send(address, &format!("POST {GREET}"), JSON, b"{").await;
    assert!(malformed.starts_with("HTTP/1.1 400 "), "the reason is the body: {malformed}");
    assert!(send(address, "GET /readyz", "", b"").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn socket_carries_a_stream_of_the_service() {
    let (address, ..) = start().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET /example.greeter.v1.GreeterService/Repeat HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: trellis.json.v1\r\n\r\n"
    );
    let message = br#"{"message": {"name": "Ada", "times": 1}}"#;
    // A text frame with a mask of zeros.
    let frame = [&[0x81, 0x80 | u8::try_from(message.len()).unwrap(), 0, 0, 0, 0], &message[..]].concat();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&frame).await.unwrap();
    let mut received = Vec::new();
    while !received.windows(8).any(|text| text == b"\"code\":0") {
        assert!(stream.read_buf(&mut received).await.unwrap() > 0, "{}", String::from_utf8_lossy(&received));
    }
    assert!(String::from_utf8_lossy(&received).contains(r#"{"result":{"text":"Hello Ada 1"}}"#));
}

#[tokio::test]
async fn shutdown_ends_the_server_after_its_calls() {
    let (address, shutdown, served) = start().await;
    let mut client = client(address).await;
    let mut stream = client.repeat(RepeatRequest { name: "Ada".to_owned(), times: 3 }).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    let stopping = tokio::spawn(async move { shutdown.run(&ShutdownConfig::default()).await });
    for _ in 0..2 {
        assert!(stream.message().await.unwrap().is_some(), "the stream finishes");
    }
    assert!(stream.message().await.unwrap().is_none());
    drop(client);
    served.await.unwrap().unwrap();
    stopping.abort();
}
