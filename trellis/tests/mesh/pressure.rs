//! Stalled readers: the gateway applies backpressure to the upstream, and buffers a bounded amount for each reader.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proto::auth::v1::GetJwksRequest;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{
    external_upstream::mesh_with_all,
    harness::{Mesh, Ports, Store},
    web::{self, BINARY, Http},
};

const CLIENTS: usize = 1_000;
const NO_QUOTA: (&str, &str) = ("GATEWAY__DEFAULT_RATE_REQUESTS", "1000000");
/// The most that the gateway buffers for one reader (docs/gateway.md): a window of 64 KiB from the upstream and 96 KiB
/// towards the client, in buffers that may be half empty.
const WINDOW_KIB: u64 = 320;
const SLACK_KIB: u64 = 64 * 1024;
const CHUNK: usize = 16 * 1024;

/// A body without an end, sent as fast as it is read.
struct Endless {
    produced: Arc<AtomicU64>,
    chunk: Bytes,
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.produced.fetch_add(self.chunk.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(self.chunk.clone()))))
    }
}

/// A server that responds to every call with endless messages of `size` bytes, each in a frame of its own.
async fn endless(size: usize) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let chunk = web::frame(&vec![7; size]);
    let produced = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&produced);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (counted, chunk) = (Arc::clone(&counted), chunk.clone());
            let service = service_fn(move |_: Request<Incoming>| {
                let body = Endless { produced: Arc::clone(&counted), chunk: chunk.clone() };
                let response = Response::builder().header("content-type", "application/grpc").body(body).unwrap();
                async move { Ok::<_, Infallible>(response) }
            });
            let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.max_send_buf_size(CHUNK).serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, produced)
}

#[tokio::test(flavor = "multi_thread")]
async fn thousand_stalled_readers_cost_a_window_each() {
    for http in [Http::One, Http::Two] {
        let (address, produced) = endless(CHUNK).await;
        let mesh = mesh_with_all(&[&address], &[NO_QUOTA, ("GATEWAY__STALL_TIMEOUT", "10m")]).await;
        let port = mesh.ports.gateway;
        let mut unread = Vec::with_capacity(CLIENTS);
        for _ in 0..CLIENTS {
            let call = web::call(port, "/acme.v1.Shop/Endless", BINARY, &[], &GetJwksRequest {});
            unread.push(web::begin_on(connect(port).await, http, call).await.unwrap());
        }
        let paused = pause(&produced).await;
        let resident = mesh.resident_kib();
        let most = CLIENTS as u64 * WINDOW_KIB + SLACK_KIB;
        assert!(resident < most, "{http:?}: {resident} KiB are held, {most} may be");
        // A reader that resumes receives more: the pause lost nothing.
        let mut first = unread.swap_remove(0);
        for _ in 0..64 {
            let frame = http_body_util::BodyExt::frame(first.body_mut()).await.unwrap().unwrap();
            assert!(frame.is_data());
        }
        assert!(produced.load(Ordering::Relaxed) >= paused);
        println!(
            "{http:?}: {} KiB for each of {CLIENTS} readers, {resident} KiB in all",
            paused / 1024 / CLIENTS as u64
        );
    }
}

/// h2 uses more memory for a small frame than its length, and ends a connection with too many queued frames.
#[tokio::test(flavor = "multi_thread")]
async fn stalled_readers_of_small_messages_leave_others_unaffected() {
    const READERS: usize = 100;
    for (http, size) in [(Http::One, 100), (Http::Two, 100)] {
        let (address, produced) = endless(size).await;
        let mesh = mesh_with_all(&[&address], &[NO_QUOTA, ("GATEWAY__STALL_TIMEOUT", "10m")]).await;
        let before = mesh.resident_kib();
        let mut unread = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            unread.push(Reader::begin(mesh.ports.gateway, http).await);
        }
        pause(&produced).await;
        let held = mesh.resident_kib() - before;
        let most = READERS as u64 * WINDOW_KIB + SLACK_KIB;
        assert!(held < most, "{http:?}, {size} bytes: {held} KiB are held, {most} may be");
        // Every reader resumes from where it stopped: no connection has ended.
        for reader in &mut unread {
            let mut read = 0;
            while read < 200_000 {
                let piece = reader.read().await;
                assert!(piece.iter().all(|byte| [0, 7, size as u8].contains(byte)));
                read += piece.len();
            }
        }
    }
}

/// A reader of the endless response.
enum Reader {
    One(Response<Incoming>),
    Two(h2::RecvStream),
}

impl Reader {
    async fn begin(port: u16, http: Http) -> Self {
        let call = web::call(port, "/acme.v1.Shop/Endless", BINARY, &[], &GetJwksRequest {});
        let stream = connect(port).await;
        if http == Http::One {
            return Self::One(web::begin_on(stream, http, call).await.unwrap());
        }
        // hyper's client would end the connection: see `data_frame_budget`.
        let client = h2::client::Builder::new().data_frame_budget(usize::MAX).handshake::<_, Bytes>(stream).await;
        let (sender, connection) = client.unwrap();
        tokio::spawn(connection);
        let (head, body) = call.into_parts();
        let sent = sender.ready().await.unwrap().send_request(Request::from_parts(head, ()), false);
        let (response, mut request) = sent.unwrap();
        let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        request.send_data(body, true).unwrap();
        Self::Two(response.await.unwrap().into_body())
    }

    async fn read(&mut self) -> Bytes {
        match self {
            Self::One(response) => {
                let frame = http_body_util::BodyExt::frame(response.body_mut()).await.unwrap().unwrap();
                frame.into_data().expect("the response continues")
            }
            Self::Two(response) => {
                let piece = response.data().await.unwrap().unwrap();
                response.flow_control().release_capacity(piece.len()).unwrap();
                piece
            }
        }
    }
}

/// Beyond the bound the gateway ends the responses that have stalled the longest, however many connections there are.
#[tokio::test(flavor = "multi_thread")]
async fn stalled_readers_share_one_bound() {
    const BOUND: u64 = 24 * 1024 * 1024;
    /// The least that the gateway counts for one response: its buffer towards the client.
    const EACH: u64 = 96 * 1024;
    for http in [Http::One, Http::Two] {
        let (address, _) = endless(CHUNK).await;
        let bound = BOUND.to_string();
        let settings =
            [NO_QUOTA, ("GATEWAY__STALL_TIMEOUT", "10m"), ("GATEWAY__STALLED_RESPONSE_BYTES", bound.as_str())];
        let mesh = mesh_with_all(&[&address], &settings).await;
        let port = mesh.ports.gateway;
        let open = async || {
            let call = web::call(port, "/acme.v1.Shop/Endless", BINARY, &[], &GetJwksRequest {});
            web::begin_on(connect(port).await, http, call).await
        };
        let readers = 2 * BOUND / EACH;
        let mut unread = Vec::new();
        for _ in 0..readers {
            unread.push(open().await);
        }
        let mut now = stalled(&mesh).await;
        for _ in 0..100 {
            if now.1 + BOUND / EACH >= readers && now.0 <= BOUND {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            now = stalled(&mesh).await;
        }
        assert!(now.1 + BOUND / EACH >= readers && now.0 <= BOUND, "{http:?}: bytes and ended: {now:?}");
        let mut reader = open().await.unwrap();
        let reading = tokio::spawn(async move {
            while let Some(frame) = http_body_util::BodyExt::frame(reader.body_mut()).await {
                frame.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            panic!("the response has no end");
        });
        // These outnumber the responses that will end, and are stalled for longer than the slow reader on any machine.
        for _ in 0..BOUND / EACH / 4 {
            unread.push(open().await);
        }
        let ended = now.1;
        for _ in 0..100 {
            if now.1 > ended {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            now = stalled(&mesh).await;
        }
        assert!(now.1 > ended, "{http:?}: more responses have ended: {now:?}");
        assert!(!reading.is_finished(), "{http:?}: the response of the slow reader continues");
        reading.abort();
    }
}

/// The bytes of stalled responses, and how many responses the gateway has ended.
async fn stalled(mesh: &Mesh) -> (u64, u64) {
    let text = web::get(mesh.ports.admin, "/metrics").await.unwrap().body;
    let text = String::from_utf8(text.to_vec()).unwrap();
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0) as u64
    };
    (value("gateway_stalled_response_bytes"), value("gateway_stalled_responses_ended_total"))
}

/// Uses the bound of `k8s/base`, whose pods have 512 MiB. A burst may exceed the bound for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn many_unread_responses_fit_into_the_memory_of_a_pod() {
    const POD_KIB: u64 = 512 * 1024;
    const CONNECTIONS: usize = 20;
    const CALLS: usize = 200;
    let (address, produced) = endless(CHUNK).await;
    // Only a gateway, as in its own pod.
    let mut mesh = Mesh::new(&["gateway"], Ports::free());
    let file = mesh.folder().join("trellis.toml");
    let toml = format!(
        "[gateway]\nstall_timeout = \"10m\"\nstalled_response_bytes = 33_554_432\ndefault_rate_requests = 1_000_000\n\
         [gateway.external]\n\"acme.v1.Shop\" = {{ to = {address:?}, access = \"public\" }}\n"
    );
    std::fs::write(&file, toml).unwrap();
    mesh.set("CONFIG", file.to_str().unwrap());
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    let port = mesh.ports.gateway;
    let mut unread = Vec::new();
    for _ in 0..CONNECTIONS {
        // The largest windows that a client may offer, so that only the gateway limits the flow.
        let client = h2::client::Builder::new()
            .initial_window_size(1 << 30)
            .initial_connection_window_size(1 << 30)
            .handshake::<_, Bytes>(connect(port).await)
            .await;
        let (sender, mut connection) = client.unwrap();
        let calls = async {
            let mut sender = sender.ready().await.unwrap();
            let mut calls = Vec::new();
            for _ in 0..CALLS {
                let call = web::call(port, "/acme.v1.Shop/Endless", "application/grpc", &[], &GetJwksRequest {});
                let (head, _) = call.into_parts();
                let (response, mut body) = sender.send_request(Request::from_parts(head, ()), false).unwrap();
                body.send_data(web::frame(&[]), true).unwrap();
                calls.push(response);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            (sender, calls)
        };
        let calls = tokio::select! {
            calls = calls => calls,
            ended = &mut connection => panic!("{ended:?}"),
        };
        // No client reads from now on.
        unread.push((connection, calls));
    }
    pause(&produced).await;
    let peak = mesh.status("VmHWM");
    let now = stalled(&mesh).await;
    println!("{peak} KiB at most; bytes and ended: {now:?}");
    assert!(peak < POD_KIB, "{peak} KiB; bytes and ended: {now:?}");
    assert!(now.1 > 0, "the responses exceed the bound");
}

/// Huge pages would double the gateway's memory (docs/performance.md).
#[tokio::test(flavor = "multi_thread")]
async fn process_declines_huge_pages() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    assert_eq!(mesh.status("THP_enabled"), 0);
}

/// A connection with a small receive buffer in the client's kernel.
async fn connect(port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.connect(([127, 0, 0, 1], port).into()).await.unwrap()
}

/// Waits until the upstream produces no more. Returns the bytes produced.
async fn pause(produced: &AtomicU64) -> u64 {
    let mut before = 0;
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = produced.load(Ordering::Relaxed);
        if now == before {
            return now;
        }
        before = now;
    }
    panic!("the upstream still produces after {before} bytes");
}
