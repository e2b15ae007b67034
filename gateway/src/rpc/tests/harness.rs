//! The pipeline on real connections: a client, a server, and an upstream that replies as the request's header `x-reply`
//! states.

mod upstream;

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, header::CONTENT_TYPE, uri::PathAndQuery};
use kit::{
    ClockAndRng, balance,
    health::HealthChecks,
    identity::{Identity, Key},
    jwk::Jwk,
    jwt::{AUDIENCE, AccessClaims, AccessKey, ISSUER, PrincipalClaims},
    keys::{KeySet, KeySource, Unavailable},
    limiter::{Ask, Decision, EventualDecision, LocalLimiter, Opening, Outcome, StreamAsk},
    limits::Limits,
    policy::Table,
    shutdown::Shutdown,
    time::SteadyClock,
};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};

use super::super::*;
use crate::{
    config::{Config, ExternalConfig, Open},
    graphql::{self, AutomaticQueries, GraphqlCall},
    protocol::{HttpRequest, base64},
    routes::Route,
    server::{self, ConnectionSettings, Handler, Listener, Peer},
    state::State,
    tls::CertificateState,
};

pub(super) const GRPC: &str = "application/grpc";
pub(super) const WEB: &str = "application/grpc-web+proto";
pub(super) const TEXT: &str = "application/grpc-web-text+proto";

const SERVICE: &str = "trellis.auth.v1.AuthService";
/// Public, with a deadline of 5 s.
pub(super) const GET_JWKS: &str = "/trellis.auth.v1.AuthService/GetJwks";
/// Public, and reads the session cookie.
pub(super) const REFRESH: &str = "/trellis.auth.v1.AuthService/RefreshToken";
/// For users.
pub(super) const LIST: &str = "/trellis.auth.v1.AuthService/ListSessions";
/// Public, outside the mesh.
pub(super) const EXTERNAL: &str = "/acme.v1.Shop/Buy";

/// A request that states this is allowed, without these headers: `x-forwarded-for`, `authorization` and `x-secret`. No
/// other request gets a response.
pub(super) const DECIDE: &str = "decide";

/// The message of each response.
pub(super) const MESSAGE: [u8; 6] = [0, 0, 0, 0, 1, 7];

pub(super) type Headers = [(&'static str, &'static str)];

/// The pipeline behind a server, without the front.
struct Pipeline {
    rpc: Arc<RpcContext>,
    state: State,
    automatic: AutomaticQueries,
}

impl Handler for Pipeline {
    type Body = Outgoing;

    async fn respond(&self, peer: Peer, watched: Watched, request: Request<Inbound>) -> Response<Outgoing> {
        let (client, snapshot) = (Client::Known(peer.address), self.state.snapshot());
        if request.uri().path() == graphql::PATH {
            let (context, stalls, automatic) = (&self.rpc, self.state.stalls(), &self.automatic);
            let certificate = CertificateState::default();
            let call = GraphqlCall { context, snapshot: &snapshot, automatic, stalls, client, certificate };
            return call.respond(watched, request).await;
        }
        let client_protocol = ClientProtocol::detect(&request).unwrap_or_else(|| {
            let HttpRequest::Call(call) = snapshot.routes.http.find(&request) else { panic!("no call") };
            ClientProtocol::Http(call)
        });
        let certificate = CertificateState::default();
        let path = client_protocol.path().map_or(request.uri().path(), PathAndQuery::path);
        let found = snapshot.routes.find(path);
        let call = RpcCall { context: &self.rpc, snapshot: &snapshot, client, certificate, client_protocol, found };
        call.respond(watched, request).await
    }

    async fn serve_upgraded(&self, _: Peer, _: Watched, _: Request<()>, _: hyper::upgrade::Upgraded, _: &Shutdown) {
        unreachable!("no response has the status 101");
    }

    fn settings(&self) -> ConnectionSettings {
        let long = Duration::from_secs(600);
        ConnectionSettings {
            idle_timeout: long,
            stall_timeout: long,
            drain_idle: long,
            header_count: 100,
            connections_per_address: 1_000,
            proxy_protocol: false,
        }
    }

    fn is_trusted_proxy(&self, _: IpAddr) -> bool {
        false
    }
}

/// Counts its decisions, and refuses calls on request.
pub(super) struct CountingLimiter {
    inner: LocalLimiter,
    pub(super) decisions: AtomicUsize,
    pub(super) refuses: AtomicBool,
}

impl RateLimiter for CountingLimiter {
    fn decide<'a>(&'a self, ask: &'a Ask<'a>) -> EventualDecision<'a> {
        self.decisions.fetch_add(1, SeqCst);
        if self.refuses.load(SeqCst) {
            let outcome = Outcome::Refused { retry_after: Duration::from_secs(7) };
            return EventualDecision::Now(Decision { outcome, limit_states: <_>::default() });
        }
        self.inner.decide(ask)
    }

    fn open_stream<'a>(&'a self, ask: StreamAsk<'a>) -> Opening<'a> {
        self.inner.open_stream(ask)
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// Replaces auth: it holds the key that signs access tokens.
struct Auth(AccessKey);

#[tonic::async_trait]
impl KeySource for Auth {
    async fn fetch(&self) -> Result<Vec<Jwk>, Unavailable> {
        Ok(vec![self.0.jwk().clone()])
    }
}

pub(super) struct Fixture {
    pub(super) address: SocketAddr,
    pub(super) limiter: Arc<CountingLimiter>,
    /// The headers of the requests to the upstream.
    pub(super) seen: Arc<Mutex<Vec<HeaderMap>>>,
    /// The calls that the upstream saw cancelled.
    pub(super) cancelled: Arc<AtomicUsize>,
    /// The identity of the upstream.
    pub(super) upstream: Identity,
    /// The `authorization` header of a user.
    pub(super) user: &'static str,
}

impl Fixture {
    pub(super) async fn start() -> Self {
        Self::with(|_, _| {}).await
    }

    /// `change` adds to the configuration of the gateway. It receives the address of the upstream.
    pub(super) async fn with(change: impl FnOnce(&mut Config, &balance::Addresses)) -> Self {
        let (clock_rng, access) = (ClockAndRng::system(), AccessKey::from_pkcs8(&AccessKey::generate()).unwrap());
        let user = format!("Bearer {}", access.sign(&claims(&clock_rng)).unwrap()).leak();
        let (gateway, auth) = (Key::generate(), Key::generate());
        let upstream = Identity::new("auth", &auth, [("gateway", &*gateway.public())], clock_rng.clone()).unwrap();
        let limits = Limits::default();
        let service = ServiceContext {
            limits: limits.clone(),
            identity: Arc::new(Identity::new("gateway", &gateway, [], clock_rng.clone()).unwrap()),
            keys: Arc::new(KeySet::new(Auth(access), clock_rng)),
            balance: balance::BalanceConfig::default(),
            policies: Arc::new(Table::from_descriptors(proto::DESCRIPTORS).unwrap()),
            descriptors: proto::DESCRIPTORS,
            audit: None,
        };
        let (listener, seen) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Arc::<Mutex<_>>::default());
        let addresses = balance::Addresses::from(format!("http://{}", listener.local_addr().unwrap()));
        let cancelled = Arc::<AtomicUsize>::default();
        tokio::spawn(upstream::serve(listener, Arc::clone(&seen), Arc::clone(&cancelled)));
        let (to, token_audience) = (addresses.clone(), "shop".to_owned());
        let external = ExternalConfig { to, access: Open::Public, token_audience, ..ExternalConfig::default() };
        let mut config = Config { external: [("acme".to_owned(), external)].into(), ..Config::default() };
        change(&mut config, &addresses);
        let mesh = vec![Route { service: SERVICE.to_owned(), peer: "auth".to_owned(), addresses }];
        let shutdown = Shutdown::new();
        let readiness = Readiness::watch(HealthChecks::new(), shutdown.clone());
        let state = State::new(&config, &service, mesh, &readiness).unwrap();
        let limiter = Arc::new(CountingLimiter {
            inner: LocalLimiter::new(Arc::new(SteadyClock::start())),
            decisions: AtomicUsize::new(0),
            refuses: AtomicBool::new(false),
        });
        let rpc = Arc::new(RpcContext { service, limiter: Arc::clone(&limiter) as Arc<_>, readiness, rng: Rng::new() });
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (tls, stalls) = (state.tls(), state.stalls());
        let (handler, listeners) = (
            Arc::new(Pipeline { rpc, state, automatic: AutomaticQueries::new(0) }),
            vec![Listener { socket, tls: false }],
        );
        tokio::spawn(server::serve(handler, tls, limits, stalls, Arc::default(), listeners, shutdown));
        Self { address, limiter, seen, cancelled, upstream, user }
    }

    /// Makes a call with an empty message, on its own connection.
    pub(super) async fn call(&self, path: &str, content_type: &str, headers: &Headers) -> Received {
        let message = if content_type == TEXT { "AAAAAAA=" } else { "\0\0\0\0\0" };
        let received = self.send(("POST", path), content_type, headers, message).await;
        assert_eq!(received.http, StatusCode::OK, "gRPC states failures otherwise");
        received
    }

    /// Makes a call on its own connection. Dropping the future cancels it.
    pub(super) async fn send(
        &self,
        (method, path): (&str, &str),
        content_type: &str,
        headers: &Headers,
        message: &'static str,
    ) -> Received {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let builder = Request::builder().method(method).uri(format!("http://gateway.test{path}"));
        let mut request = builder.header(CONTENT_TYPE, content_type);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut sender = sender.ready().await.unwrap();
        let (response, mut body) = sender.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from_static(message.as_bytes()), true).unwrap();
        let (head, mut incoming) = response.await.unwrap().into_parts();
        let mut received =
            Received { http: head.status, head: head.headers, body: Vec::new(), trailers: None, is_reset: false };
        while let Some(piece) = incoming.data().await {
            let Ok(piece) = piece else {
                received.is_reset = true;
                return received;
            };
            received.body.extend(piece);
        }
        received.trailers = incoming.trailers().await.ok().flatten();
        received
    }

    /// The headers of the last request to the upstream.
    pub(super) fn last_seen(&self) -> HeaderMap {
        self.seen.lock().last().expect("a request").clone()
    }
}

fn claims(clock_rng: &ClockAndRng) -> AccessClaims {
    let now = clock_rng.now();
    AccessClaims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: clock_rng.new_id(),
        principal: PrincipalClaims::User {
            sid: clock_rng.new_id(),
            auth_time: now.as_secs(),
            amr: vec!["pwd".to_owned()],
        },
        iat: now.as_secs(),
        exp: (now + Duration::from_secs(600)).as_secs(),
        jti: clock_rng.new_id(),
        roles: Vec::new(),
        scope: String::new(),
    }
}

pub(super) fn header((name, value): (&'static str, &'static str)) -> (HeaderName, HeaderValue) {
    (HeaderName::from_static(name), HeaderValue::from_static(value))
}

/// A response to a client.
pub(super) struct Received {
    pub(super) http: StatusCode,
    pub(super) head: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) is_reset: bool,
}

impl Received {
    /// Code and reason of the status, wherever the protocol has it.
    pub(super) fn status(&self) -> (Code, String) {
        let in_body = || self.web_trailers();
        let places = [self.trailers.clone(), Some(self.head.clone()).filter(|head| head.contains_key("grpc-status"))];
        let fields = places.into_iter().flatten().next().unwrap_or_else(in_body);
        let status = Status::from_header_map(&fields).expect("a status");
        (status.code(), error::reason(&status).unwrap_or_default())
    }

    /// The frames of the body.
    pub(super) fn frames(&self) -> Vec<u8> {
        if self.head[CONTENT_TYPE] != TEXT {
            return self.body.clone();
        }
        let mut decoder = base64::Decoder::default();
        let frames = decoder.decode(&self.body).expect("base64");
        decoder.finish().expect("complete base64");
        frames.to_vec()
    }

    /// The trailers of gRPC-Web, in the last frame.
    pub(super) fn web_trailers(&self) -> HeaderMap {
        let frames = self.frames();
        let block = frames.strip_prefix(&MESSAGE).unwrap_or(&frames);
        let length = u32::from_be_bytes(block[1..5].try_into().unwrap());
        assert_eq!((block[0], block.len()), (0x80, 5 + length as usize), "the frame of the trailers: {block:?}");
        let lines = std::str::from_utf8(&block[5..]).unwrap().split_terminator("\r\n");
        let fields = lines.map(|line| line.split_once(": ").unwrap());
        fields.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }
}
