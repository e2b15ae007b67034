//! Connections over HTTP/1.1, byte by byte: no response is lost, and no connection ends without notice.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{
    dice::Dice,
    harness::{Mesh, Ports, Store},
    uploads, web,
};

/// How long a response may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const MISSING: &str = "/trellis.users.v1.UsersService/Missing";
const PROBE: &[u8] = b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";

/// A client's connection.
struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// A response, read to its end.
struct Response {
    head: String,
    /// Whether the response announces the end of its connection.
    is_last: bool,
}

impl Wire {
    async fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new() }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next response. An error means that it was lost.
    async fn response(&mut self) -> io::Result<Response> {
        timeout(PATIENCE, self.read()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn read(&mut self) -> io::Result<Response> {
        let head = self.until(b"\r\n\r\n").await?;
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        match field(&head, "content-length") {
            Some(length) => {
                let length: usize = length.parse().unwrap();
                while self.unread.len() < length {
                    self.more().await?;
                }
                self.unread.drain(..length);
            }
            None => drop(self.until(b"0\r\n\r\n").await?),
        }
        Ok(Response { is_last: field(&head, "connection") == Some("close"), head })
    }

    async fn until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|bytes| bytes == end) {
                return Ok(self.unread.drain(..at + end.len()).collect());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.unread).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Whether the server closes the connection now without an error.
    async fn ends(&mut self) -> bool {
        matches!(timeout(PATIENCE, self.more()).await, Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof)
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().filter_map(|line| line.split_once(": ")).find(|(found, _)| *found == name).map(|(_, value)| value)
}

fn head(path: &str, more: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc-web+proto\r\n{more}\r\n").into_bytes()
}

/// Sends `count` requests whose body the server does not read, and returns the number of connections it needed.
async fn send_unread(port: u16, path: &str, count: usize, body: &[u8]) -> usize {
    let (mut wire, mut connections) = (None, 0);
    for number in 0..count {
        let mut current = match wire.take() {
            Some(wire) => wire,
            None => {
                connections += 1;
                Wire::connect(port).await
            }
        };
        let (first, second) = body.split_at(body.len() / 2);
        let sent = async {
            current.write(&head(path, &format!("content-length: {}\r\n", body.len()))).await?;
            if number % 4 < 2 {
                sleep(Duration::from_millis(1)).await;
            }
            current.write(first).await?;
            if number % 2 == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            current.write(second).await?;
            current.response().await
        };
        let response = sent.await.unwrap_or_else(|error| panic!("response {number} of {path} was lost: {error}"));
        if !response.is_last {
            wire = Some(current);
        }
    }
    connections
}

#[tokio::test(flavor = "multi_thread")]
async fn early_responses_are_not_lost() {
    // On a busy machine a client may pause for long between two writes.
    let mesh = Mesh::start(Store::Sqlite, &[("LIMITS__DISCARD_TIME", "60s")]).await;
    let long = vec![0; 100 * 1024];
    for (port, path) in [(mesh.ports.gateway, MISSING), (mesh.ports.gateway, "/nothing")] {
        // The server discards the unread body and keeps the connection.
        assert_eq!(send_unread(port, path, 500, b"beans").await, 1);
        assert_eq!(send_unread(port, path, 100, &long).await, 1);
    }
    assert_eq!(send_unread(mesh.ports.admin, "/nothing", 200, b"beans").await, 1);
    send_unread(mesh.ports.admin, "/metrics", 20, &long).await;
}

/// The upstream reads nothing, so that a task of the gateway still holds the body when the response ends. The rest has
/// arrived by then.
#[tokio::test(flavor = "multi_thread")]
async fn body_that_an_upstream_does_not_read_is_discarded() {
    const LENGTH: u32 = 200 * 1024;
    let upstream = uploads::upstream(uploads::Response::Ends).await;
    let mut mesh = Mesh::new(&["gateway"], Ports::free());
    let file = mesh.folder().join("trellis.toml");
    let external = format!("[gateway.external]\n\"acme.v1.Shop\" = {{ to = {upstream:?}, access = \"public\" }}\n");
    std::fs::write(&file, external).unwrap();
    mesh.set("CONFIG", file.to_str().unwrap());
    // Only the rest itself ends its discarding.
    mesh.set("LIMITS__DISCARD_TIME", "10m");
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    let mut wire = Wire::connect(mesh.ports.gateway).await;
    for number in 0..20 {
        let head = head("/acme.v1.Shop/Early", &format!("content-length: {}\r\n", LENGTH + 5));
        let body = vec![7; LENGTH as usize];
        wire.write(&[&head[..], &[0], &LENGTH.to_be_bytes(), &body].concat()).await.unwrap();
        let response = wire.response().await.unwrap_or_else(|error| panic!("response {number} was lost: {error}"));
        assert!(response.head.starts_with("http/1.1 200") && !response.is_last, "{}", response.head);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn body_beyond_the_bound_ends_the_connection_announced() {
    let mesh = Mesh::start(Store::Sqlite, &[("LIMITS__DISCARD_BYTES", "1000")]).await;
    let cases = [
        ("content-length: 1000\r\n", false),
        ("content-length: 1001\r\n", true),
        ("content-length: 9\r\nexpect: 100-continue\r\n", true),
    ];
    for (fields, is_last) in cases {
        let mut wire = Wire::connect(mesh.ports.gateway).await;
        wire.write(&head(MISSING, fields)).await.unwrap();
        let response = wire.response().await.unwrap();
        assert_eq!(field(&response.head, "grpc-status"), Some("12"), "{fields}");
        assert_eq!(response.is_last, is_last, "{fields}");
        assert!(!is_last || wire.ends().await, "{fields}");
    }
    // A chunked body has no announced length. The server ends the connection at the bound, after the response.
    let mut wire = Wire::connect(mesh.ports.gateway).await;
    wire.write(&head(MISSING, "transfer-encoding: chunked\r\n")).await.unwrap();
    assert!(!wire.response().await.unwrap().is_last);
    wire.write(&[b"7d0\r\n".as_slice(), &[0; 2_000]].concat()).await.unwrap();
    assert!(wire.ends().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_with_ambiguous_framing_is_not_reused() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let get = |fields: &str| format!("GET /livez HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
    let cases = [
        ("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n".to_owned(), ""),
        (get("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"), "400"),
        (get("transfer-encoding: chunked, chunked\r\n"), "400"),
        (get("transfer-encoding: gzip, chunked\r\n"), "501"),
    ];
    for (request, status) in cases {
        let mut wire = Wire::connect(mesh.ports.gateway).await;
        wire.write(&[request.as_bytes(), b"0\r\n\r\n", PROBE].concat()).await.unwrap();
        let response = wire.response().await.unwrap();
        assert!(response.head.starts_with(&format!("http/1.1 {status}")), "{request} {}", response.head);
        assert!(response.is_last && wire.ends().await, "{request}");
    }
}

/// Sends requests on persistent connections until `until` holds. Returns how many connections ended with an
/// announcement.
async fn keep_alive(port: u16, most_pause: u64, until: impl Fn() -> bool) -> usize {
    let (mut dice, mut wire, mut ends) = (Dice::new(), None, 0);
    loop {
        let mut current = match wire.take() {
            Some(wire) => wire,
            None => Wire::connect(port).await,
        };
        let sent = async {
            current.write(PROBE).await?;
            current.response().await
        };
        let response = sent.await.unwrap_or_else(|error| panic!("the connection ended without notice: {error}"));
        if response.is_last {
            assert!(current.ends().await);
            ends += 1;
            if until() {
                return ends;
            }
        } else {
            wire = Some(current);
        }
        sleep(Duration::from_millis(dice.between(0, most_pause))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_connection_ends_with_an_announced_response() {
    let mesh = Mesh::start(Store::Sqlite, &[("LIMITS__CONNECTION_AGE", "500ms")]).await;
    let begun = Instant::now();
    let is_over = || begun.elapsed() > Duration::from_secs(3);
    let ends = join_all((0..16).map(|_| keep_alive(mesh.ports.gateway, 30, is_over))).await;
    assert!(ends.iter().sum::<usize>() > ends.len(), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_ends_connections_with_an_announced_response() {
    let mut mesh = Mesh::start(Store::Sqlite, &[("GATEWAY__DRAIN_IDLE", "8s")]).await;
    let port = mesh.ports.gateway;
    let mut idle = Wire::connect(port).await;
    idle.write(PROBE).await.unwrap();
    assert!(!idle.response().await.unwrap().is_last);
    let stopping = AtomicBool::new(false);
    let clients = join_all((0..16).map(|_| keep_alive(port, 100, || stopping.load(Ordering::SeqCst))));
    let stop = async {
        sleep(Duration::from_millis(300)).await;
        stopping.store(true, Ordering::SeqCst);
        mesh.signal("TERM");
    };
    let (ends, ()) = tokio::join!(clients, stop);
    assert_eq!(ends, [1; 16]);
    // The server closes a connection without a call after a while, and nothing delays it further.
    assert!(idle.ends().await);
    assert!(mesh.ended(PATIENCE).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_accepted_without_the_proxy_protocol() {
    let settings = [("GATEWAY__PROXY_PROTOCOL", "true"), ("GATEWAY__TRUSTED_PROXIES", "127.0.0.0/8")];
    // `Mesh::start` polls `/readyz` without the header.
    let mesh = Mesh::start(Store::Sqlite, &settings).await;
    for (path, status) in [("/livez", 200), ("/readyz", 200), ("/", 403), (MISSING, 403), ("/livez/", 403)] {
        assert_eq!(web::get(mesh.ports.gateway, path).await.unwrap().status, status, "{path}");
    }
    let header = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &[192, 0, 2, 9, 10, 0, 0, 1, 1, 2, 0, 80]].concat();
    let mut wire = Wire::connect(mesh.ports.gateway).await;
    // In pieces; the first piece is the beginning of both.
    for piece in header.chunks(5) {
        wire.write(piece).await.unwrap();
        sleep(Duration::from_millis(5)).await;
    }
    wire.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert!(wire.response().await.unwrap().head.starts_with("http/1.1 200"));
}
