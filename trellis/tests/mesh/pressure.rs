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
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpSocket, TcpStream},
};

use super::{
    external_upstream::mesh_with_all,
    harness::{Mesh, Ports, Store},
    raw,
    web::{self, BINARY, Http},
};

const CLIENTS: usize = 1_000;
const NO_QUOTA: (&str, &str) = ("GATEWAY__DEFAULT_RATE_REQUESTS", "1000000");
/// The most that the gateway buffers for one reader (docs/gateway.md): a window of 64 KiB from the upstream and 96 KiB
/// towards the client, in buffers that may be half empty.
const WINDOW_KIB: u64 = 320;
const SLACK_KIB: u64 = 64 * 1024;
const CHUNK: usize = 16 * 1024;
/// The least that the gateway counts for one unread response: its buffer towards the client.
const EACH: u64 = 96 * 1024;

/// A body without an end, sent as fast as it is read.
struct EndlessBody {
    produced: Arc<AtomicU64>,
    chunk: Bytes,
}

impl Body for EndlessBody {
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

/// A server that responds to every call with endless messages, each in a frame of its own.
struct Endless {
    address: String,
    /// The bytes that it has produced, and the calls that it has received.
    produced: Arc<AtomicU64>,
    calls: Arc<AtomicU64>,
}

/// Starts a server with messages of `size` bytes.
async fn endless(size: usize) -> Endless {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let chunk = web::frame(&vec![7; size]);
    let (produced, calls) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let (counted, received) = (Arc::clone(&produced), Arc::clone(&calls));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (counted, received, chunk) = (Arc::clone(&counted), Arc::clone(&received), chunk.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                // The other calls are health checks.
                received.fetch_add(u64::from(request.uri().path().ends_with("Endless")), Ordering::Relaxed);
                let body = EndlessBody { produced: Arc::clone(&counted), chunk: chunk.clone() };
                let response = Response::builder().header("content-type", "application/grpc").body(body).unwrap();
                async move { Ok::<_, Infallible>(response) }
            });
            let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.max_send_buf_size(CHUNK).serve_connection(TokioIo::new(stream), service));
        }
    });
    Endless { address, produced, calls }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousand_stalled_readers_cost_a_window_each() {
    for http in [Http::One, Http::Two] {
        let Endless { address, produced, .. } = endless(CHUNK).await;
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
        let Endless { address, produced, .. } = endless(size).await;
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
    for http in [Http::One, Http::Two] {
        let Endless { address, .. } = endless(CHUNK).await;
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
    let bytes = metric(mesh, "gateway_stalled_response_bytes").await;
    (bytes, metric(mesh, "gateway_stalled_responses_ended_total").await)
}

/// The value of a metric with these first letters; 0 while there is none.
async fn metric(mesh: &Mesh, name: &str) -> u64 {
    let text = web::get(mesh.ports.admin, "/metrics").await.unwrap().body;
    let text = String::from_utf8(text.to_vec()).unwrap();
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0) as u64
}

/// The memory limit of the gateway's pod in KiB, and its bound on unread response bytes, in `k8s/base`.
fn pod() -> (u64, u64) {
    let manifest = include_str!("../../../k8s/base/gateway.yaml");
    let (_, limits) = manifest.split_once("limits:").unwrap();
    let mebibytes = limits.trim_start().strip_prefix("memory: ").unwrap().split_once("Mi").unwrap().0;
    let config = include_str!("../../../k8s/base/config.toml");
    let bound = config.lines().find_map(|line| line.strip_prefix("stalled_response_bytes = ")).unwrap();
    (mebibytes.parse::<u64>().unwrap() * 1024, bound.replace('_', "").parse().unwrap())
}

/// A burst of calls from 20 clients that read nothing, each with its own share of the concurrency limit. The peak
/// includes the first seconds, when responses arrive faster than the gateway ends them.
#[tokio::test(flavor = "multi_thread")]
async fn many_unread_responses_fit_into_the_memory_of_a_pod() {
    const CONNECTIONS: u8 = 20;
    const CALLS: u32 = 200;
    const ALL: u64 = CONNECTIONS as u64 * CALLS as u64;
    let (pod_kib, bound) = pod();
    let upstream = endless(CHUNK).await;
    // Only a gateway, as in its own pod.
    let mut mesh = Mesh::new(&["gateway"], Ports::free());
    let file = mesh.folder().join("trellis.toml");
    let toml = format!(
        "[gateway]\nstall_timeout = \"10m\"\nstalled_response_bytes = {bound}\ndefault_rate_requests = 1_000_000\n\
         [gateway.external]\n\"acme.v1.Shop\" = {{ to = {:?}, access = \"public\" }}\n",
        upstream.address
    );
    std::fs::write(&file, toml).unwrap();
    mesh.set("CONFIG", file.to_str().unwrap());
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    let idle = mesh.resident_kib();
    let mut unread = Vec::new();
    for client in 0..CONNECTIONS {
        unread.push(connect_from([127, 0, 1, client], mesh.ports.gateway).await);
    }
    // The largest windows that a client may offer, so that only the gateway limits the flow.
    let mut burst = raw::hello(1 << 30);
    for stream in (1..).step_by(2).take(CALLS as usize) {
        burst.extend(raw::head(stream, "/acme.v1.Shop/Endless"));
        burst.extend(raw::frame(raw::DATA, raw::END, stream, &web::frame(&[])));
    }
    for client in &mut unread {
        client.write_all(&burst).await.unwrap();
    }
    let mut now = Burst::observe(&mesh, &upstream).await;
    for _ in 0..600 {
        if now.is_over(ALL, bound) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        now = Burst::observe(&mesh, &upstream).await;
    }
    let peak = mesh.status("VmHWM");
    println!("{idle} KiB idle, {peak} KiB at most: {now:?}");
    assert!(now.is_over(ALL, bound) && now.ended > 0, "{now:?}");
    assert!(peak < pod_kib, "{peak} KiB of {pod_kib}: {now:?}");
}

/// The progress of a burst of calls.
#[derive(Debug)]
struct Burst {
    /// The calls that the gateway refused, and those that reached the upstream.
    shed: u64,
    begun: u64,
    /// The unread bytes, and the responses that the gateway has ended.
    unread: u64,
    ended: u64,
}

impl Burst {
    async fn observe(mesh: &Mesh, upstream: &Endless) -> Self {
        let (unread, ended) = stalled(mesh).await;
        let shed = metric(mesh, "overload_shed_total").await;
        Self { shed, begun: upstream.calls.load(Ordering::Relaxed), unread, ended }
    }

    /// Each call was refused, or its response has ended or waits within the bound.
    fn is_over(&self, calls: u64, bound: u64) -> bool {
        self.shed + self.begun >= calls && self.begun <= self.ended + bound / EACH && self.unread <= bound
    }
}

/// Huge pages would double the gateway's memory (docs/performance.md).
#[tokio::test(flavor = "multi_thread")]
async fn process_declines_huge_pages() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    assert_eq!(mesh.status("THP_enabled"), 0);
}

/// A connection with a small receive buffer in the client's kernel.
async fn connect(port: u16) -> TcpStream {
    connect_from([127, 0, 0, 1], port).await
}

async fn connect_from(address: [u8; 4], port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
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
