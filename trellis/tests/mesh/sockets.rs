//! WebSockets of clients that are silent, late or slow, and at the end of the process. The frames are written by hand.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{
    files::{self, ENDLESS, PIECE},
    harness::{Mesh, Ports, Store},
    wait::until,
    web::{self, Http},
};

pub(crate) const WAIT: Duration = Duration::from_secs(20);
/// More of a fragmented message.
const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const SUBSCRIBE: &str = "/trellis.messaging.v1.MessagingService/Subscribe";

/// The subprotocol of one call for each socket.
const CALL: &str = "trellis.json.v1";

pub(crate) struct Socket(TcpStream);

impl Socket {
    /// Opens a socket for a method.
    async fn open(port: u16, method: &str) -> Self {
        Self::open_path(port, &format!("/acme.v1.Shop/{method}"), "").await
    }

    /// Opens a socket at a path. Each line of `headers` ends with a line break.
    async fn open_path(port: u16, path: &str, headers: &str) -> Self {
        Self::open_subprotocol(port, path, CALL, headers).await
    }

    /// Opens a socket with another subprotocol.
    pub(crate) async fn open_subprotocol(port: u16, path: &str, subprotocol: &str, headers: &str) -> Self {
        let (socket, head) = Self::shake_hands(port, path, subprotocol, headers).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        socket
    }

    /// Sends a handshake, and reads the head of the response.
    pub(crate) async fn shake_hands(port: u16, path: &str, subprotocol: &str, headers: &str) -> (Self, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-protocol: {subprotocol}\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        (Self(stream), String::from_utf8(head).unwrap())
    }

    /// Sends a part of a frame's bytes.
    pub(crate) async fn send_part(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Begins a message of five bytes, and sends no more of it but PINGs, until the gateway closes the socket. Returns
    /// the code.
    pub(crate) async fn closed_in_a_message(&mut self) -> Option<u16> {
        // A fragment without FIN.
        self.send_part(&[TEXT, 0x81, 0, 0, 0, 0, b'{']).await;
        loop {
            self.send(PING, b"").await;
            match self.next().await? {
                (PONG, _) => tokio::time::sleep(Duration::from_millis(100)).await,
                (CLOSE, payload) => return Some(u16::from_be_bytes([payload[0], payload[1]])),
                (PING | TEXT, _) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Sends a frame of less than 64 KiB, with a mask of zeros.
    pub(crate) async fn send(&mut self, kind: u8, payload: &[u8]) {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        let short = u8::try_from(payload.len()).ok().filter(|length| *length < 126);
        let head = short
            .map_or_else(|| vec![0x80 | kind, 0xfe, length[0], length[1]], |length| vec![0x80 | kind, 0x80 | length]);
        self.0.write_all(&[head.as_slice(), &[0; 4], payload].concat()).await.unwrap();
    }

    pub(crate) async fn say(&mut self, frame: Value) {
        self.send(TEXT, frame.to_string().as_bytes()).await;
    }

    /// The next whole message or control frame; `None`: the connection is closed. No control frame may stand within a
    /// message.
    pub(crate) async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let (mut head, mut payload) = self.frame().await?;
        let kind = head & 0x0f;
        while head & 0x80 == 0 {
            let (next, more) = self.frame().await?;
            assert_eq!(next & 0x0f, CONTINUATION);
            payload.extend(more);
            head = next;
        }
        Some((kind, payload))
    }

    /// The next frame: its first byte, and its payload.
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        timeout(WAIT, async {
            let (head, length) = (self.0.read_u8().await.ok()?, self.0.read_u8().await.ok()?);
            let length = match length {
                126 => u64::from(self.0.read_u16().await.ok()?),
                127 => self.0.read_u64().await.ok()?,
                short => u64::from(short),
            };
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut payload).await.ok()?;
            Some((head, payload))
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
    pub(crate) async fn closed(&mut self) -> Option<u16> {
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

/// The beginning of a message stays in memory, and PINGs keep the socket alive.
#[tokio::test(flavor = "multi_thread")]
async fn message_that_does_not_arrive_closes_the_socket() {
    let (mesh, _) = files::mesh(&[("LIMITS__DEADLINE", "2s")]).await;
    let mut first = Socket::open(mesh.ports.gateway, "Chat").await;
    let mut later = Socket::open(mesh.ports.gateway, "Chat").await;
    later.say(json!({ "metadata": { "grpc-timeout": "1H" } })).await;
    later.say(json!({ "message": { "text": "a" } })).await;
    assert_eq!(later.text().await, json!({ "result": { "text": "a" } }));
    let mut graphql = Socket::open_subprotocol(mesh.ports.gateway, "/graphql", "graphql-transport-ws", "").await;
    graphql.say(json!({ "type": "connection_init" })).await;
    let (first, later, graphql) =
        tokio::join!(first.closed_in_a_message(), later.closed_in_a_message(), graphql.closed_in_a_message());
    assert_eq!([first, later, graphql], [Some(1008); 3]);
}

/// They are requests as others, also those that are never used.
#[tokio::test(flavor = "multi_thread")]
async fn handshakes_are_limited_by_address() {
    let (mesh, _) = files::mesh(&[("GATEWAY__DEFAULT_RATE_REQUESTS", "4")]).await;
    let port = mesh.ports.gateway;
    for (path, subprotocol) in
        [("/graphql", "graphql-transport-ws"), ("/acme.v1.Shop/Chat", CALL), ("/graphql", "other"), ("/graphql", CALL)]
    {
        Socket::open_subprotocol(port, path, subprotocol, "").await;
    }
    for (path, subprotocol) in [("/graphql", "graphql-transport-ws"), ("/acme.v1.Shop/Chat", CALL)] {
        let (_, head) = Socket::shake_hands(port, path, subprotocol, "").await;
        assert!(head.starts_with("HTTP/1.1 429 ") && head.contains("retry-after: "), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_of_an_address_are_limited() {
    let (mesh, _) =
        files::mesh(&[("GATEWAY__SOCKETS_PER_ADDRESS", "2"), ("GATEWAY__TRUSTED_PROXIES", "127.0.0.1/32")]).await;
    let port = mesh.ports.gateway;
    let open = async |address: &str| {
        let headers = format!("x-forwarded-for: {address}\r\n");
        Socket::open_subprotocol(port, "/acme.v1.Shop/Chat", CALL, &headers).await
    };
    let first = open("192.0.2.1").await;
    let graphql = "x-forwarded-for: 192.0.2.1\r\n";
    let mut second = Socket::open_subprotocol(port, "/graphql", "graphql-transport-ws", graphql).await;
    second.say(json!({ "type": "connection_init" })).await;
    assert!(second.next().await.is_some());
    assert_eq!(open("192.0.2.1").await.closed().await, Some(1013));
    let mut other = open("192.0.2.2").await;
    other.say(json!({ "message": { "text": "a" } })).await;
    assert_eq!(other.text().await, json!({ "result": { "text": "a" } }));
    drop((first, second));
    until("a place is free", async || {
        let mut next = open("192.0.2.1").await;
        next.say(json!({ "message": { "text": "a" } })).await;
        next.next().await.is_some_and(|(kind, _)| kind == TEXT)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_does_not_read_does_not_delay_the_drain() {
    let settings = [("GATEWAY__STALL_TIMEOUT", "9s"), ("SHUTDOWN__GRACE", "10m")];
    let (mut mesh, seen) = files::mesh(&settings).await;
    let mut socket = Socket::open(mesh.ports.gateway, "Download").await;
    socket.say(json!({ "message": { "contentType": "a/b", "pieces": ENDLESS } })).await;
    assert_eq!(socket.next().await.map(|(kind, _)| kind), Some(TEXT));
    let mut graphql = Socket::open_subprotocol(mesh.ports.gateway, "/graphql", "graphql-transport-ws", "").await;
    graphql.say(json!({ "type": "connection_init" })).await;
    let query = format!("subscription {{ acmeV1ShopDownload(pieces: {ENDLESS}) {{ data }} }}");
    graphql.say(json!({ "type": "subscribe", "id": "1", "payload": { "query": query } })).await;
    seen.has_downloads(2).await;
    seen.sent_at_rest().await;
    mesh.signal("TERM");
    assert!(mesh.ended(Duration::from_secs(60)).await.success());
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
    let mut stream = Socket::open_path(mesh.ports.gateway, SUBSCRIBE, &bearer).await;
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

/// The code of a subscription over a socket, and the reason of its status.
async fn code_over_a_socket(port: u16, headers: &str) -> (u64, String) {
    let mut socket = Socket::open_path(port, SUBSCRIBE, headers).await;
    socket.say(json!({ "message": {} })).await;
    let frame = socket.text().await;
    (frame["status"]["code"].as_u64().unwrap_or(0), reason(&frame["status"]))
}

/// The reason in the details of a status, or nothing.
fn reason(status: &Value) -> String {
    let details = status["details"].as_array().into_iter().flatten();
    details.filter_map(|detail| detail["reason"].as_str()).collect()
}

/// The HTTP status of a subscription as server-sent events, and the reason in its body.
async fn status_of_events(port: u16, headers: &[(&str, &str)]) -> (u16, String) {
    let headers = [&[("accept", "text/event-stream")], headers].concat();
    let request = web::request("GET", port, "/v1/conversations:subscribe", &headers, Bytes::new());
    let response = web::begin(port, Http::One, request).await.unwrap();
    let status = response.status().as_u16();
    if status == 200 {
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        return (status, String::new());
    }
    assert_eq!(response.headers().contains_key("retry-after"), status == 429, "{status}");
    let body: Value = serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
    (status, reason(&body))
}

/// Access, deadlines and rate limits apply to both as to the protocols of
/// `protocols::policies_apply_to_every_protocol`.
#[tokio::test(flavor = "multi_thread")]
async fn policies_apply_to_events_and_sockets() {
    // Of each: one call that succeeds, and one that is late.
    let limit = "[gateway.rate_limits.overrides.few]\nmethods = [\"trellis.messaging.v1.MessagingService/Subscribe\"]\n\
                 limits = [{ requests = 4, period = \"1h\" }]\n";
    let mut mesh = Mesh::new(&[], Ports::free());
    let file = mesh.folder().join("trellis.toml");
    std::fs::write(&file, limit).unwrap();
    mesh.set("CONFIG", file.to_str().unwrap());
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    let ada = mesh.sign_up("ada").await;
    let (port, bearer) = (mesh.ports.gateway, format!("Bearer {}", ada.tokens.access_token));
    let (token, line) = (("authorization", bearer.as_str()), format!("authorization: {bearer}\r\n"));
    let pair = |(code, reason): (u16, &str)| (code, reason.to_owned());

    assert_eq!(status_of_events(port, &[]).await, pair((401, "SIGN_IN_REQUIRED")));
    assert_eq!(code_over_a_socket(port, "").await, (16, "SIGN_IN_REQUIRED".to_owned()));
    assert_eq!(status_of_events(port, &[token]).await, pair((200, "")));
    assert_eq!(code_over_a_socket(port, &line).await, (0, String::new()));
    let late = status_of_events(port, &[token, ("grpc-timeout", "1n")]).await;
    assert_eq!(late, pair((504, "DEADLINE_EXCEEDED")));
    let late = code_over_a_socket(port, &format!("{line}grpc-timeout: 1n\r\n")).await;
    assert_eq!(late, (4, "DEADLINE_EXCEEDED".to_owned()));
    // The limit counts the calls of both together, and not those that were refused before.
    assert_eq!(status_of_events(port, &[token]).await, pair((429, "RATE_LIMITED")));
    assert_eq!(code_over_a_socket(port, &line).await, (8, "RATE_LIMITED".to_owned()));

    let internal = "/trellis.users.v1.UsersService/CreateUser";
    let handshake = [
        token,
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "trellis.json.v1"),
    ];
    let refused = web::send(port, Http::One, web::request("GET", port, internal, &handshake, Bytes::new())).await;
    assert_eq!(refused.unwrap().status, 404, "no socket of an internal method");
}
