//! The limits of the public port, at n and at n + 1.

use bytes::Bytes;
use proto::{auth::v1::GetJwksRequest, messaging::v1::CreateConversationRequest};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpSocket, TcpStream},
};
use tonic::Code;

use super::{
    harness::{Mesh, Store, new_id},
    web::{self, BINARY, Http},
};

const JWKS: &str = "/trellis.auth.v1.AuthService/GetJwks";

#[tokio::test(flavor = "multi_thread")]
async fn message_may_be_four_mebibytes() {
    const MOST: usize = 4 * 1024 * 1024;
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let ada = mesh.sign_up("ada").await;
    let status = async |size: usize| {
        // The title is too long for the contract: a validation error shows that the limit admitted the message.
        let mut message = CreateConversationRequest { request_id: new_id(), ..Default::default() };
        message.title = "x".repeat(size - prost::Message::encoded_len(&message) - 5);
        assert_eq!(prost::Message::encoded_len(&message), size);
        ada.messaging().create_conversation(ada.request(message)).await.unwrap_err()
    };
    assert_eq!(status(MOST).await.code(), Code::InvalidArgument);
    let refused = status(MOST + 1).await;
    assert_eq!(
        (refused.code(), super::harness::reason(&refused).as_str()),
        (Code::ResourceExhausted, "MESSAGE_TOO_LARGE")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_may_be_sixteen_kibibytes() {
    const MOST: usize = 16 * 1024;
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let port = mesh.ports.gateway;
    let send = async |http, size: usize| {
        let padding = "x".repeat(size);
        let call = web::call(port, JWKS, BINARY, &[("x-padding", &padding)], &GetJwksRequest {});
        web::send(port, http, call).await.map(|response| response.status)
    };
    for http in [Http::One, Http::Two] {
        // The other headers take up some of the limit, and HTTP/2 adds 32 bytes for each header.
        assert_eq!(send(http, MOST - 1_024).await.unwrap(), 200, "{http:?}");
        let refused = send(http, MOST + 1).await;
        assert!(refused.as_ref().map_or(true, |status| *status == 431), "{http:?}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_beyond_the_limit_is_closed() {
    let mesh = Mesh::start(Store::Sqlite, &[("LIMITS__CONNECTIONS", "3")]).await;
    assert_three_at_most(mesh.ports.gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_beyond_the_limit_of_an_address_is_closed() {
    let mesh = Mesh::start(Store::Sqlite, &[("GATEWAY__CONNECTIONS_PER_ADDRESS", "3")]).await;
    let _held = assert_three_at_most(mesh.ports.gateway).await;
    let elsewhere = TcpSocket::new_v4().unwrap();
    elsewhere.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let mut elsewhere = elsewhere.connect(([127, 0, 0, 1], mesh.ports.gateway).into()).await.unwrap();
    assert!(!is_closed(&mut elsewhere).await);
}

/// Waits until three connections can be open at once, and checks that a fourth is closed.
async fn assert_three_at_most(port: u16) -> Vec<TcpStream> {
    let connect = async || TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut held = Vec::new();
    // The probe's connection may still be closing.
    while held.len() < 3 {
        let mut stream = connect().await;
        if !is_closed(&mut stream).await {
            held.push(stream);
        }
    }
    assert!(is_closed(&mut connect().await).await);
    held.pop();
    for _ in 0..100 {
        let mut again = connect().await;
        if !is_closed(&mut again).await {
            held.push(again);
            return held;
        }
    }
    panic!("a closed connection does not free its slot");
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    let patience = std::time::Duration::from_millis(200);
    tokio::time::timeout(patience, stream.read_u8()).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connection_is_closed() {
    let mesh = Mesh::start(Store::Sqlite, &[("LIMITS__REQUEST_HEAD", "200ms")]).await;
    for bytes in [&b""[..], b"PRI * HT", b"GET / HTTP/1.1\r\nhost: x"] {
        let mut stream = TcpStream::connect(("127.0.0.1", mesh.ports.gateway)).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, bytes).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(std::time::Duration::from_secs(2), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{:?}", Bytes::copy_from_slice(bytes));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_http2_connection_ends_with_goaway() {
    const GOAWAY: u8 = 7;
    let mesh = Mesh::start(Store::Sqlite, &[("GATEWAY__IDLE_TIMEOUT", "300ms")]).await;
    let mut stream = TcpStream::connect(("127.0.0.1", mesh.ports.gateway)).await.unwrap();
    let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), b"\0\0\0\x04\0\0\0\0\0"].concat();
    tokio::io::AsyncWriteExt::write_all(&mut stream, &hello).await.unwrap();
    let mut received = Vec::new();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(30), stream.read_to_end(&mut received)).await;
    ended.expect("it is closed").unwrap();
    let (mut kinds, mut rest) = (Vec::new(), received.as_slice());
    while let [a, b, c, kind, _, _, _, _, _, payload @ ..] = rest {
        kinds.push(*kind);
        rest = &payload[u32::from_be_bytes([0, *a, *b, *c]) as usize..];
    }
    assert_eq!(kinds.last(), Some(&GOAWAY), "{kinds:?}");
}

/// The status that a call of health or reflection begins with. Empty: the stream stays open while the response is held.
async fn introspect(mesh: &Mesh, path: &str) -> (String, hyper::Response<hyper::body::Incoming>) {
    let port = mesh.ports.gateway;
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let request = web::request("POST", port, path, &headers, web::frame(&[]));
    let response = web::begin(port, Http::Two, request).await.unwrap();
    let status = response.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned());
    (status.unwrap_or_default(), response)
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_bounds_streams_of_health_by_address() {
    const WATCH: &str = "/grpc.health.v1.Health/Watch";
    const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let settings = [("LIMITS__INTROSPECTION_STREAMS", "2"), ("LIMITS__REFLECTION", "false")];
    let mesh = Mesh::start(Store::Sqlite, &settings).await;
    let [(first, held), (second, _held)] = [introspect(&mesh, WATCH).await, introspect(&mesh, WATCH).await];
    assert_eq!((first.as_str(), second.as_str()), ("", ""));
    assert_eq!(introspect(&mesh, WATCH).await.0, (Code::ResourceExhausted as i32).to_string());
    let (probe, _response) = introspect(&mesh, "/grpc.health.v1.Health/Check").await;
    assert_eq!(probe, "", "a probe does not count as a stream");
    assert_eq!(introspect(&mesh, REFLECTION).await.0, (Code::Unimplemented as i32).to_string());
    drop(held);
    mesh.until_logged(|line| line.contains("access") && line.contains("grpc.health.v1.Health")).await;
}
