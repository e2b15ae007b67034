//! Requests and responses that are no JSON: `google.api.HttpBody`.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{Request, body::Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{
    files::{self, ENDLESS, PIECE},
    harness::Mesh,
    web::{self, Http},
};

/// The size of a large body, in pieces: 52 MiB.
const PIECES: usize = 832;
/// What the gateway may hold of it.
const MOST_KIB: u64 = 16 * 1024;

/// The largest growth of the gateway's memory so far.
struct Growth<'a> {
    mesh: &'a Mesh,
    before: u64,
    most: u64,
}

impl<'a> Growth<'a> {
    fn of(mesh: &'a Mesh) -> Self {
        Self { mesh, before: mesh.resident_kib(), most: 0 }
    }

    fn sample(&mut self) {
        self.most = self.most.max(self.mesh.resident_kib().saturating_sub(self.before));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn download_is_streamed_in_flat_memory() {
    let (mesh, _) = files::mesh(&[]).await;
    let port = mesh.ports.gateway;
    for http in [Http::One, Http::Two] {
        let mut growth = Growth::of(&mesh);
        let path = format!("/shop/download?contentType=video/mp4&pieces={PIECES}");
        let mut response = web::begin(port, http, web::request("GET", port, &path, &[], Bytes::new())).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"video/mp4".parse().unwrap())
        );
        let mut bytes = 0;
        while let Some(frame) = response.frame().await {
            let frame = frame.unwrap();
            let data = frame.data_ref().map_or(0, Bytes::len);
            if (bytes + data) / (64 * PIECE) > bytes / (64 * PIECE) {
                growth.sample();
            }
            bytes += data;
        }
        assert_eq!(bytes, PIECES * PIECE);
        println!("{http:?}: {} KiB for a download of {bytes} bytes", growth.most);
        assert!(growth.most < MOST_KIB, "{http:?}: {} KiB", growth.most);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_reader_of_a_download_slows_the_upstream() {
    let (mesh, seen) = files::mesh(&[]).await;
    let port = mesh.ports.gateway;
    for http in [Http::One, Http::Two] {
        let before = seen.pieces.load(Ordering::SeqCst);
        let path = format!("/shop/download?contentType=video/mp4&pieces={ENDLESS}");
        let mut response = web::begin(port, http, web::request("GET", port, &path, &[], Bytes::new())).await.unwrap();
        response.frame().await.unwrap().unwrap();
        let sent = seen.sent_at_rest().await - before;
        // The windows and buffers on the way, and the sockets' own, which grow to 6 MiB.
        assert!(sent < 16 * 1024 * 1024 / PIECE, "{http:?}: {sent} pieces");
    }
}

/// A client must not take a part of a file for the whole.
#[tokio::test(flavor = "multi_thread")]
async fn failed_download_does_not_end_cleanly() {
    let (mesh, _) = files::mesh(&[]).await;
    let port = mesh.ports.gateway;
    for http in [Http::One, Http::Two] {
        let request = |pieces: usize| {
            web::request("GET", port, &format!("/shop/download?contentType=a/b&pieces={pieces}"), &[], Bytes::new())
        };
        let cut = web::begin(port, http, request(3)).await.unwrap();
        assert_eq!(cut.status(), 200);
        assert!(cut.collect().await.is_err(), "{http:?}");
        let empty = web::send(port, http, request(0)).await.unwrap();
        assert_eq!((empty.status, empty.body.len()), (200, 0));
    }
    let refused = web::get(port, "/shop/download?pieces=none").await.unwrap();
    assert_eq!((refused.status, refused.header("content-type")), (400, "application/json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_is_streamed_in_flat_memory() {
    let (mesh, seen) = files::mesh(&[]).await;
    let port = mesh.ports.gateway;
    for http in [Http::One, Http::Two] {
        let mut growth = Growth::of(&mesh);
        let before = seen.messages.load(Ordering::SeqCst);
        let pieces = (0..PIECES).map(|_| Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(&[7; PIECE]))));
        let request = Request::post(format!("http://localhost:{port}/shop/film:upload"))
            .header("host", format!("localhost:{port}"))
            .header("content-type", "video/mp4")
            .body(StreamBody::new(stream::iter(pieces)))
            .unwrap();
        let io = TokioIo::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        let sending = tokio::spawn(async move {
            match http {
                Http::One => {
                    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
                    tokio::spawn(connection);
                    sender.send_request(request).await
                }
                Http::Two => {
                    let executor = TokioExecutor::new();
                    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
                    tokio::spawn(connection);
                    sender.send_request(request).await
                }
            }
        });
        while !sending.is_finished() {
            growth.sample();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let response = sending.await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        let stored = response.collect().await.unwrap().to_bytes();
        let stored: Value = serde_json::from_slice(&stored).unwrap();
        // The first message alone has the name and the content type.
        assert_eq!(stored, json!({ "text": "filmvideo/mp4", "count": PIECES * PIECE }));
        let messages = seen.messages.load(Ordering::SeqCst) - before;
        println!("{http:?}: {} KiB for an upload in {messages} messages", growth.most);
        assert!(messages > PIECES / 2, "the upload is streamed: {messages} messages");
        assert!(growth.most < MOST_KIB, "{http:?}: {} KiB", growth.most);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_any_type_pass_within_the_limit() {
    let (mesh, _) = files::mesh(&[]).await;
    let port = mesh.ports.gateway;
    let send = |name: &str, headers: &[(&str, &str)], body: Vec<u8>| {
        let request = web::request("POST", port, &format!("/shop/{name}:echo"), headers, body.into());
        async move { web::send(port, Http::One, request).await.unwrap() }
    };
    let page = send("as", &[("content-type", "text/html")], b"<script>".to_vec()).await;
    assert_eq!((page.status, page.header("content-type"), &page.body[..]), (200, "text/html", &b"<script>"[..]));
    assert!(page.header("content-security-policy").starts_with("sandbox"), "{page:?}");
    assert_eq!((page.header("x-content-type-options"), page.header("content-length")), ("nosniff", "8"));
    let script = send("as", &[("content-type", "text/javascript")], b"alert()".to_vec()).await;
    assert_eq!(script.header("content-type"), "text/plain; charset=utf-8");
    let none = send("as", &[], Vec::new()).await;
    assert_eq!((none.status, none.header("content-type"), none.body.len()), (200, "application/octet-stream", 0));
    let large = send("as", &[("content-type", "a/b")], vec![7; 4 * 1024 * 1024 + 1]).await;
    assert_eq!(large.status, 413, "{large:?}");
    // Browsers send such a request for any page, without a preflight.
    let other = [("content-type", "text/plain"), ("origin", "https://elsewhere.example")];
    assert_eq!(send("as", &other, b"x".to_vec()).await.status, 403);
    let own = format!("http://localhost:{port}");
    assert_eq!(send("as", &[("content-type", "text/plain"), ("origin", &own)], b"x".to_vec()).await.status, 200);
}
