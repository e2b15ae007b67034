//! WebSockets of clients that are silent, late or slow, and at the end of the process. The frames are written by hand.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{
    files::{self, ENDLESS, PIECE},
    harness::{Mesh, Store},
};

const WAIT: Duration = Duration::from_secs(20);
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

struct Socket(TcpStream);

impl Socket {
    /// Opens a socket for a method.
    async fn open(port: u16, method: &str) -> Self {
        Self::open_path(port, &format!("/acme.v1.Shop/{method}"), "").await
    }

    /// Opens a socket at a path. Each line of `headers` ends with a line break.
    async fn open_path(port: u16, path: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-protocol: trellis.json.v1\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        Self(stream)
    }

    /// Sends a short frame, with a mask of zeros.
    async fn send(&mut self, kind: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).unwrap();
        assert!(length < 126);
        self.0.write_all(&[&[0x80 | kind, 0x80 | length, 0, 0, 0, 0], payload].concat()).await.unwrap();
    }

    async fn say(&mut self, frame: Value) {
        self.send(TEXT, frame.to_string().as_bytes()).await;
    }

    /// The next frame; `None`: the connection is closed.
    async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        timeout(WAIT, async {
            let (kind, length) = (self.0.read_u8().await.ok()?, self.0.read_u8().await.ok()?);
            let length = match length {
                126 => u64::from(self.0.read_u16().await.ok()?),
                127 => self.0.read_u64().await.ok()?,
                short => u64::from(short),
            };
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut payload).await.ok()?;
            Some((kind & 0x0f, payload))
        })
        .await
        .expect("a frame or the end")
    }

    /// The next text frame that is no metadata: the rate limit is metadata.
    async fn text(&mut self) -> Value {
        loop {
            let (kind, payload) = self.next().await.expect("a frame");
            assert_eq!(kind, TEXT, "{payload:?}");
            let frame: Value = serde_json::from_slice(&payload).unwrap();
            if frame.get("metadata").is_none() {
                return frame;
            }
        }
    }

    /// The code of the frame that closes the socket; `None`: it closes without one.
    async fn closed(&mut self) -> Option<u16> {
        while let Some((kind, payload)) = self.next().await {
            if kind == CLOSE {
                assert_eq!(self.next().await, None, "the connection is closed too");
                return Some(u16::from_be_bytes([payload[0], payload[1]]));
            }
        }
        None
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_without_a_reply_to_a_ping_is_closed() {
    let (mesh, _) = files::mesh(&[("LIMITS__KEEPALIVE", "3s")]).await;
    let mut alive = Socket::open(mesh.ports.gateway, "Chat").await;
    alive.say(json!({ "metadata": {} })).await;
    let (kind, _) = alive.next().await.unwrap();
    assert_eq!(kind, TEXT, "the metadata of the response");
    assert_eq!(alive.next().await, Some((PING, Vec::new())));
    alive.send(PONG, b"").await;
    assert_eq!(alive.next().await, Some((PING, Vec::new())));
    // No reply.
    assert!(alive.next().await.is_none_or(|(kind, _)| kind == CLOSE));
    assert_eq!(alive.closed().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_without_a_first_frame_is_closed() {
    let (mesh, _) = files::mesh(&[("LIMITS__REQUEST_HEAD", "1s")]).await;
    let mut late = Socket::open(mesh.ports.gateway, "Chat").await;
    assert_eq!(late.text().await["status"]["code"], 4);
    assert_eq!(late.closed().await, Some(1008));
    let mut early = Socket::open(mesh.ports.gateway, "Chat").await;
    early.say(json!({ "message": { "text": "a" } })).await;
    assert_eq!(early.text().await, json!({ "result": { "text": "a" } }));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    early.say(json!({ "message": { "text": "b" } })).await;
    assert_eq!(early.text().await, json!({ "result": { "text": "b" } }));
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_drain_as_other_protocols_do() {
    let (mut mesh, _) = files::mesh(&[]).await;
    let mut waiting = Socket::open(mesh.ports.gateway, "Chat").await;
    let mut talking = Socket::open(mesh.ports.gateway, "Chat").await;
    talking.say(json!({ "message": { "text": "a" } })).await;
    assert_eq!(talking.text().await, json!({ "result": { "text": "a" } }));
    mesh.signal("TERM");
    assert_eq!(waiting.text().await["status"]["code"], 14);
    assert_eq!(waiting.closed().await, Some(1001));
    // A stream that ends by itself has the grace period, as over server-sent events.
    talking.say(json!({ "message": { "text": "b" } })).await;
    assert_eq!(talking.text().await, json!({ "result": { "text": "b" } }));
    talking.say(json!({ "end": true })).await;
    assert_eq!(talking.text().await["status"]["code"], 0);
    assert_eq!(talking.closed().await, Some(1001));
    assert!(mesh.ended(WAIT).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn resumable_stream_over_a_socket_ends_at_the_drain() {
    let mut mesh = Mesh::start(Store::Sqlite, &[]).await;
    let ada = mesh.sign_up("ada").await;
    let bearer = format!("authorization: Bearer {}\r\n", ada.tokens.access_token);
    let path = "/trellis.messaging.v1.MessagingService/Subscribe";
    let mut stream = Socket::open_path(mesh.ports.gateway, path, &bearer).await;
    stream.say(json!({ "message": {} })).await;
    assert!(stream.text().await["result"].is_object());
    mesh.signal("TERM");
    let status = loop {
        let frame = stream.text().await;
        if frame["result"].is_null() {
            break frame["status"].clone();
        }
    };
    assert_eq!((&status["code"], &status["details"][0]["reason"]), (&json!(14), &json!("SERVER_STOPPING")), "{status}");
    assert_eq!(stream.closed().await, Some(1001));
    assert!(mesh.ended(WAIT).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_socket_slows_the_upstream_and_is_closed() {
    let (mesh, seen) = files::mesh(&[("GATEWAY__STALL_TIMEOUT", "2s")]).await;
    let mut socket = Socket::open(mesh.ports.gateway, "Download").await;
    socket.say(json!({ "message": { "contentType": "a/b", "pieces": ENDLESS } })).await;
    assert_eq!(socket.next().await.map(|(kind, _)| kind), Some(TEXT));
    let sent = seen.sent_at_rest().await;
    // The windows and buffers on the way, and the sockets' own, which grow to 6 MiB.
    assert!(sent < 16 * 1024 * 1024 / PIECE, "{sent} pieces");
    // The gateway gives up, before anything more is read.
    seen.has_downloads(0).await;
    assert_eq!(socket.closed().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_leaves_cancels_the_call() {
    let (mesh, seen) = files::mesh(&[]).await;
    let mut socket = Socket::open(mesh.ports.gateway, "Download").await;
    socket.say(json!({ "message": { "contentType": "a/b", "pieces": ENDLESS } })).await;
    socket.next().await;
    seen.has_downloads(1).await;
    drop(socket);
    seen.has_downloads(0).await;
}
