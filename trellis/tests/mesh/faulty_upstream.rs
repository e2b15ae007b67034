//! An external upstream with injected faults, and load on it through the gateway.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use hyper::{HeaderMap, Request, Response};
use prost::Message as _;
use prost_reflect::prost_types::{
    DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, MethodOptions,
    ServiceDescriptorProto, method_options::IdempotencyLevel,
};
use proto::auth::v1::GetJwksRequest as Empty;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tonic::{Status, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use super::{
    harness::{Mesh, Ports},
    web,
};

/// A method that the contract marks as idempotent, and one that it does not.
pub(crate) const READ: &str = "/acme.v1.Shop/Read";
pub(crate) const WRITE: &str = "/acme.v1.Shop/Write";

/// How an upstream behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Behavior {
    Good,
    /// Returns UNAVAILABLE.
    Unavailable,
    /// Returns UNAVAILABLE, with the pushback that forbids a retry.
    PushedBack,
    /// Refuses streams with REFUSED_STREAM.
    Refusing,
    /// Resets its responses in the middle of a message.
    Cut,
    /// Responds after 300 ms.
    Slow,
    /// Responds to calls, but reports NOT_SERVING.
    NotServing,
    /// Sends GOAWAY after each call.
    Leaving,
    /// Responds when the test releases the calls ([`Upstream::release`]).
    Held,
}

const BEHAVIORS: [Behavior; 9] = [
    Behavior::Good,
    Behavior::Unavailable,
    Behavior::PushedBack,
    Behavior::Refusing,
    Behavior::Cut,
    Behavior::Slow,
    Behavior::NotServing,
    Behavior::Leaving,
    Behavior::Held,
];

/// A running upstream.
pub(crate) struct Upstream {
    pub(crate) address: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    behavior: AtomicU8,
    attempts: AtomicUsize,
    /// The attempts that carry `grpc-previous-rpc-attempts`.
    repeats: AtomicUsize,
    /// Whether held calls get their responses.
    released: watch::Sender<bool>,
}

impl Upstream {
    pub(crate) async fn start(behavior: Behavior) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let upstream = Self { address, state: Arc::default() };
        upstream.set(behavior);
        let state = Arc::clone(&upstream.state);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&state)));
            }
        });
        upstream
    }

    pub(crate) fn set(&self, behavior: Behavior) {
        self.state.behavior.store(behavior as u8, Ordering::SeqCst);
    }

    /// How many attempts have arrived.
    pub(crate) fn attempts(&self) -> usize {
        self.state.attempts.load(Ordering::SeqCst)
    }

    pub(crate) fn repeats(&self) -> usize {
        self.state.repeats.load(Ordering::SeqCst)
    }

    /// Lets held calls, and all later ones, respond.
    pub(crate) fn release(&self) {
        self.state.released.send_replace(true);
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    stream.set_nodelay(true).unwrap();
    // A client that disconnects early does not fail the test.
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let behavior = BEHAVIORS[usize::from(state.behavior.load(Ordering::SeqCst))];
        if request.uri().path().starts_with("/grpc.health") {
            respond_to_check(respond, behavior);
            continue;
        }
        state.attempts.fetch_add(1, Ordering::SeqCst);
        if request.headers().contains_key("grpc-previous-rpc-attempts") {
            state.repeats.fetch_add(1, Ordering::SeqCst);
        }
        tokio::spawn(handle(request, respond, behavior, state.released.subscribe()));
        if behavior == Behavior::Leaving {
            connection.graceful_shutdown();
        }
    }
}

fn head(pairs: &[(&'static str, &'static str)]) -> Response<()> {
    let base = Response::builder().header("content-type", "application/grpc");
    pairs.iter().fold(base, |builder, (name, value)| builder.header(*name, *value)).body(()).unwrap()
}

fn respond_to_check(mut respond: SendResponse<Bytes>, behavior: Behavior) {
    let status: &[u8] = if behavior == Behavior::NotServing { &[8, 2] } else { &[8, 1] };
    finish(respond.send_response(head(&[]), false), status);
}

/// Sends the one message and trailers with status 0. An `Err` means that the client has disconnected.
fn finish(stream: Result<h2::SendStream<Bytes>, h2::Error>, message: &[u8]) {
    let Ok(mut stream) = stream else { return };
    let trailers: HeaderMap = [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect();
    stream.send_data(web::frame(message), false).and_then(|()| stream.send_trailers(trailers)).ok();
}

async fn handle(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    behavior: Behavior,
    mut released: watch::Receiver<bool>,
) {
    let mut body = request.into_body();
    while let Some(Ok(piece)) = body.data().await {
        body.flow_control().release_capacity(piece.len()).ok();
    }
    match behavior {
        Behavior::Unavailable => drop(respond.send_response(head(&[("grpc-status", "14")]), true)),
        Behavior::PushedBack => {
            let pairs = [("grpc-status", "14"), ("grpc-retry-pushback-ms", "-1")];
            drop(respond.send_response(head(&pairs), true));
        }
        Behavior::Refusing => respond.send_reset(Reason::REFUSED_STREAM),
        Behavior::Cut => {
            let Ok(mut stream) = respond.send_response(head(&[]), false) else { return };
            stream.send_data(Bytes::from_static(&[0, 0, 0, 0, 9, 1, 2]), false).ok();
            tokio::time::sleep(Duration::from_millis(5)).await;
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
        Behavior::Slow => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            finish(respond.send_response(head(&[]), false), &[]);
        }
        Behavior::Held => {
            // An Err would mean that the test is over.
            released.wait_for(|released| *released).await.ok();
            finish(respond.send_response(head(&[]), false), &[]);
        }
        Behavior::Good | Behavior::NotServing | Behavior::Leaving => {
            finish(respond.send_response(head(&[]), false), &[])
        }
    }
}

/// The descriptors of the upstream's contract.
pub(crate) fn descriptors() -> Vec<u8> {
    let method = |name: &str, level: Option<IdempotencyLevel>| MethodDescriptorProto {
        name: Some(name.to_owned()),
        input_type: Some(".acme.v1.Nothing".to_owned()),
        output_type: Some(".acme.v1.Nothing".to_owned()),
        options: level.map(|l| MethodOptions { idempotency_level: Some(l as i32), ..MethodOptions::default() }),
        ..MethodDescriptorProto::default()
    };
    let service = ServiceDescriptorProto {
        name: Some("Shop".to_owned()),
        method: vec![method("Read", Some(IdempotencyLevel::NoSideEffects)), method("Write", None)],
        options: None,
    };
    let file = FileDescriptorProto {
        name: Some("acme/v1/shop.proto".to_owned()),
        package: Some("acme.v1".to_owned()),
        message_type: vec![DescriptorProto { name: Some("Nothing".to_owned()), ..DescriptorProto::default() }],
        service: vec![service],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}

/// A mesh with these upstreams for `acme.v1.Shop`.
pub(crate) async fn mesh(upstreams: &[Upstream], settings: &[(&str, &str)]) -> Mesh {
    let mut mesh = Mesh::new(&[], Ports::free());
    let (file, set) = (mesh.folder().join("trellis.toml"), mesh.folder().join("shop.bin"));
    std::fs::write(&set, descriptors()).unwrap();
    let to: Vec<&str> = upstreams.iter().map(|upstream| upstream.address.as_str()).collect();
    let config = format!(
        "[gateway]\ndefault_rate_requests = 10_000_000\n[gateway.external]\n\
         \"acme.v1.Shop\" = {{ to = {to:?}, access = \"public\", descriptors = {set:?} }}\n"
    );
    std::fs::write(&file, config).unwrap();
    mesh.set("CONFIG", file.to_str().unwrap());
    for (name, value) in settings {
        mesh.set(name, value);
    }
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    mesh
}

/// The outcomes of calls.
#[derive(Debug, Default)]
pub(crate) struct Count {
    pub(crate) well: usize,
    pub(crate) failed: usize,
    pub(crate) took: Duration,
}

impl Count {
    pub(crate) fn calls(&self) -> usize {
        self.well + self.failed
    }
}

/// Runs `callers` in parallel; each calls a method through the gateway `each` times in sequence.
pub(crate) async fn load(mesh: &Mesh, path: &'static str, callers: usize, each: usize) -> Count {
    let channel = mesh.channel(mesh.ports.gateway).await;
    let started = Instant::now();
    let calling: Vec<_> = (0..callers).map(|_| tokio::spawn(call_often(channel.clone(), path, each))).collect();
    let mut count = Count::default();
    for caller in calling {
        let well = caller.await.unwrap();
        count.well += well;
        count.failed += each - well;
    }
    count.took = started.elapsed();
    count
}

async fn call_often(channel: Channel, path: &'static str, times: usize) -> usize {
    let mut well = 0;
    for _ in 0..times {
        well += usize::from(call(channel.clone(), path).await.is_ok());
    }
    well
}

/// One call.
pub(crate) async fn call(channel: Channel, path: &'static str) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let codec: ProstCodec<Empty, Empty> = ProstCodec::default();
    grpc.unary(tonic::Request::new(Empty {}), path.parse().unwrap(), codec).await.map(drop)
}
