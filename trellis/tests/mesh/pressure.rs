//! Readers who stop reading: the upstream is made to wait, and what the gateway holds for each of them is bounded.

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
/// What may be held for one reader (docs/gateway.md): a window of 64 KiB from the upstream and 96 KiB towards the caller,
/// in buffers that may be half empty.
const WINDOW_KIB: u64 = 320;
const SLACK_KIB: u64 = 64 * 1024;
const CHUNK: usize = 16 * 1024;

/// A message without an end, as fast as it is taken.
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

/// A server that answers everything with messages of `size` bytes, each in a frame of its own.
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
async fn a_thousand_readers_who_stop_cost_a_window_each() {
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
        // Whoever reads on gets on: nothing was lost to the pause.
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

/// h2 holds far more beside a small frame than is in it, and ends a connection on which too many wait: others' calls too.
#[tokio::test(flavor = "multi_thread")]
async fn readers_of_small_messages_who_stop_cost_no_more_and_harm_nobody() {
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
        // Every one of them gets on, from where it was: no connection was ended.
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

/// Reads the endless answer, or does not.
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
        // hyper's client would end the connection itself: see `data_frame_budget`.
        let client = h2::client::Builder::new().data_frame_budget(usize::MAX).handshake::<_, Bytes>(stream).await;
        let (sender, connection) = client.unwrap();
        tokio::spawn(connection);
        let (head, body) = call.into_parts();
        let sent = sender.ready().await.unwrap().send_request(Request::from_parts(head, ()), false);
        let (answer, mut request) = sent.unwrap();
        let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        request.send_data(body, true).unwrap();
        Self::Two(answer.await.unwrap().into_body())
    }

    async fn read(&mut self) -> Bytes {
        match self {
            Self::One(answer) => {
                let frame = http_body_util::BodyExt::frame(answer.body_mut()).await.unwrap().unwrap();
                frame.into_data().expect("the response goes on")
            }
            Self::Two(answer) => {
                let piece = answer.data().await.unwrap().unwrap();
                answer.flow_control().release_capacity(piece.len()).unwrap();
                piece
            }
        }
    }
}

/// However many connections somebody opens: beyond the bound the responses that wait longest end at once.
#[tokio::test(flavor = "multi_thread")]
async fn readers_who_stop_share_one_bound() {
    const BOUND: u64 = 24 * 1024 * 1024;
    /// What is counted for one, at least: its part towards the caller.
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
        let mut told = stalled(&mesh).await;
        for _ in 0..100 {
            if told.1 + BOUND / EACH >= readers && told.0 <= BOUND {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            told = stalled(&mesh).await;
        }
        assert!(told.1 + BOUND / EACH >= readers && told.0 <= BOUND, "{http:?}: bytes and ended: {told:?}");
        let mut reader = open().await.unwrap();
        let reading = tokio::spawn(async move {
            while let Some(frame) = http_body_util::BodyExt::frame(reader.body_mut()).await {
                frame.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            panic!("the response has no end");
        });
        // Those that wait longer than the slow reader, however busy the machine is, are more than will end now.
        for _ in 0..BOUND / EACH / 4 {
            unread.push(open().await);
        }
        let ended = told.1;
        for _ in 0..100 {
            if told.1 > ended {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            told = stalled(&mesh).await;
        }
        assert!(told.1 > ended, "{http:?}: more have ended: {told:?}");
        assert!(!reading.is_finished(), "{http:?}: a slow reader stays");
        reading.abort();
    }
}

/// The bytes of stalled responses, and how many of these were ended.
async fn stalled(mesh: &Mesh) -> (u64, u64) {
    let text = web::get(mesh.ports.admin, "/metrics").await.unwrap().body;
    let text = String::from_utf8(text.to_vec()).unwrap();
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0) as u64
    };
    (value("gateway_stalled_response_bytes"), value("gateway_stalled_responses_ended_total"))
}

/// With the bound of `k8s/base`, whose pods have 512 MiB. A burst holds more for a moment than the bound says.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_unread_responses_fits_into_a_pod() {
    const POD_KIB: u64 = 512 * 1024;
    const CONNECTIONS: usize = 20;
    const CALLS: usize = 200;
    let (address, produced) = endless(CHUNK).await;
    // The gateway alone, as in a pod of its own.
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
        // All that a caller may ask for, so that nothing but the gateway itself holds it up.
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
        // Nothing reads from now on.
        unread.push((connection, calls));
    }
    pause(&produced).await;
    let peak = mesh.status("VmHWM");
    let told = stalled(&mesh).await;
    println!("{peak} KiB at most; bytes and ended: {told:?}");
    assert!(peak < POD_KIB, "{peak} KiB; bytes and ended: {told:?}");
    assert!(told.1 > 0, "there was more than fits");
}

/// They would double what a gateway holds (docs/performance.md).
#[tokio::test(flavor = "multi_thread")]
async fn a_process_declines_huge_pages() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    assert_eq!(mesh.status("THP_enabled"), 0);
}

/// A connection whose reader's own kernel takes little.
async fn connect(port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.connect(([127, 0, 0, 1], port).into()).await.unwrap()
}

/// Waits until nothing more is produced. How much was.
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
    panic!("the upstream goes on after {before} bytes");
}
