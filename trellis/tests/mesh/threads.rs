//! A gateway whose connections each stay on one thread (`gateway.threads`).

use std::{
    error,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use proto::users::v1::GetUserRequest;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Barrier,
};

use super::{
    external_upstream::mesh_with_all,
    harness::{Mesh, Store},
    upstream::echo,
    web::{self, BINARY, Http, Received},
};

/// How long a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The names of the first two threads.
const THREADS: [&str; 2] = ["gateway-1", "gateway-2"];

type Error = Box<dyn error::Error + Send + Sync>;

/// An upstream that counts the gateway's connections to it. Calls of `Together` wait for each other.
async fn counting_upstream(together: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (together, connections) = (Arc::new(Barrier::new(together)), Arc::<AtomicUsize>::default());
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            echo(stream, 100, Arc::clone(&together));
        }
    });
    (address, connections)
}

/// A client's connection to the gateway.
struct Client {
    port: u16,
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    /// Connects and makes a first call. The gateway may not have noticed yet that another connection is closed, so that
    /// it refuses one beyond a bound.
    async fn connect(port: u16) -> Self {
        let started = Instant::now();
        loop {
            match Self::try_connect(port).await {
                Ok(client) => return client,
                Err(error) => assert!(started.elapsed() < PATIENCE, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn try_connect(port: u16) -> Result<Self, Error> {
        let io = TokioIo::new(TcpStream::connect(("127.0.0.1", port)).await?);
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        tokio::spawn(connection);
        let mut client = Self { port, sender };
        client.call("Alone").await?;
        Ok(client)
    }

    /// Makes a call to the upstream. Returns its gRPC status.
    async fn call(&mut self, method: &str) -> Result<String, Error> {
        let path = format!("/acme.v1.Shop/{method}");
        let call = web::call(self.port, &path, BINARY, &[], &"hello".to_owned());
        self.sender.ready().await?;
        let (parts, body) = self.sender.send_request(call).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Received { status: parts.status.as_u16(), headers: parts.headers, body }.grpc_status())
    }
}

async fn clients<const N: usize>(port: u16) -> [Client; N] {
    let mut clients = Vec::new();
    for _ in 0..N {
        clients.push(Client::connect(port).await);
    }
    clients.try_into().ok().unwrap()
}

/// Makes a call of each client at the same time.
async fn call_together(clients: &mut [Client]) {
    let calls = clients.iter_mut().map(|client| client.call("Together"));
    for status in join_all(calls).await {
        assert_eq!(status.unwrap(), "0");
    }
}

/// How much CPU time the threads of this name have used, in nanoseconds.
fn cpu_of(mesh: &Mesh, name: &str) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{}/task", mesh.pid())).unwrap();
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let mut cpu = 0;
    for thread in threads.map(|thread| thread.unwrap().path()) {
        if read(&thread.join("comm")).trim() == name {
            let schedstat = read(&thread.join("schedstat"));
            cpu += schedstat.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or_default();
        }
    }
    cpu
}

/// Each thread serves some of the clients, on a connection of its own to the upstream.
#[tokio::test(flavor = "multi_thread")]
async fn each_thread_has_clients_and_upstream_connections() {
    let (address, connections) = counting_upstream(4).await;
    let mesh = mesh_with_all(&[&address], &[("GATEWAY__THREADS", "2")]).await;
    let mut clients = clients::<4>(mesh.ports.gateway).await;
    let before = THREADS.map(|name| cpu_of(&mesh, name));
    for _ in 0..20 {
        call_together(&mut clients).await;
    }
    assert_eq!(connections.load(Ordering::Relaxed), 2);
    let after = THREADS.map(|name| cpu_of(&mesh, name));
    assert!(after[0] > before[0] && after[1] > before[1], "{before:?} {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_share_the_bounds_on_connections() {
    let (address, connections) = counting_upstream(3).await;
    let settings =
        [("GATEWAY__THREADS", "3"), ("GATEWAY__UPSTREAM_CONNECTIONS", "1"), ("GATEWAY__CONNECTIONS_PER_ADDRESS", "3")];
    let mesh = mesh_with_all(&[&address], &settings).await;
    let mut clients = clients::<3>(mesh.ports.gateway).await;
    call_together(&mut clients).await;
    assert_eq!(connections.load(Ordering::Relaxed), 1, "threads without a connection use that of another thread");
    assert!(web::get(mesh.ports.gateway, "/livez").await.is_err(), "a fourth connection from this address");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_all_threads_finish_at_a_shutdown() {
    let (address, _) = counting_upstream(3).await;
    let mut mesh = mesh_with_all(&[&address], &[("GATEWAY__THREADS", "2")]).await;
    let [first, second, mut third] = clients::<3>(mesh.ports.gateway).await;
    let [first, second] = [first, second].map(|mut client| {
        let calling = async move { client.call("Together").await };
        tokio::spawn(calling)
    });
    mesh.signal("TERM");
    mesh.until_logged(|line| line.contains("stopping")).await;
    assert_eq!(third.call("Together").await.unwrap(), "0", "this lets the others finish");
    assert_eq!((first.await.unwrap().unwrap(), second.await.unwrap().unwrap()), ("0".to_owned(), "0".to_owned()));
    assert!(mesh.ended(PATIENCE).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn services_of_the_mesh_are_called_from_every_thread() {
    let mesh = Mesh::start(Store::Sqlite, &[("GATEWAY__THREADS", "2")]).await;
    let ada = mesh.sign_up("ada").await;
    let bearer = format!("Bearer {}", ada.tokens.access_token);
    for http in [Http::One, Http::Two, Http::One, Http::Two] {
        let request = GetUserRequest { user_id: ada.id().to_owned() };
        let path = "/trellis.users.v1.UsersService/GetUser";
        let call = web::call(mesh.ports.gateway, path, BINARY, &[("authorization", &bearer)], &request);
        assert_eq!(web::send(mesh.ports.gateway, http, call).await.unwrap().grpc_status(), "0");
    }
}
