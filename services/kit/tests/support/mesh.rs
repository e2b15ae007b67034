//! The environment of a service under test: identities that trust each other, access tokens as auth signs them, and
//! services that run in the test process on a free port.

#[path = "ports.rs"]
mod ports;

use std::{collections::BTreeMap, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use kit::{
    ClockAndRng,
    audit::{AuditRecord, RefusalLog},
    balance,
    identity::{Identity, Key, SERVICE_TOKEN},
    jwk::Jwk,
    jwt::{AUDIENCE, AccessClaims, AccessKey, ISSUER, PrincipalClaims},
    keys::{KeySet, KeySource, Unavailable},
    limits::Limits,
    policy::Table,
    server::ServiceContext,
    shutdown::{self, Shutdown},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{Request, Status, async_trait, metadata::MetadataKey, transport::Channel};
use tonic_types::StatusExt as _;
use uuid::Uuid;

/// The identities of all services in a test.
pub(crate) struct Mesh {
    pub(crate) clock_rng: ClockAndRng,
    access: Arc<AccessKey>,
    keys: BTreeMap<&'static str, Key>,
}

/// Replaces the audit log of a service without a store.
struct Unstored;

impl RefusalLog for Unstored {
    fn refused(&self, _: AuditRecord) {}
}

/// Replaces auth: it holds the key that signs access tokens.
struct Auth(Arc<AccessKey>);

#[async_trait]
impl KeySource for Auth {
    async fn fetch(&self) -> Result<Vec<Jwk>, Unavailable> {
        Ok(vec![self.0.jwk().clone()])
    }
}

impl Mesh {
    pub(crate) fn new() -> Self {
        let access = AccessKey::from_pkcs8(&AccessKey::generate()).expect("a fresh key");
        let names = proto::SERVICES.into_iter().chain(["gateway"]);
        let keys = names.map(|name| (name, Key::generate())).collect();
        Self { clock_rng: ClockAndRng::system(), access: Arc::new(access), keys }
    }

    /// The identity of the service `name`, with the clock of `clock_rng`.
    pub(crate) fn identity_on(&self, name: &str, clock_rng: ClockAndRng) -> Arc<Identity> {
        let public: Vec<(&str, String)> = self.keys.iter().map(|(name, key)| (*name, key.public())).collect();
        let trusted = public.iter().map(|(name, key)| (*name, key.as_str()));
        Arc::new(Identity::new(name, &self.keys[name], trusted, clock_rng).expect("the keys are fresh"))
    }

    /// The service context of `name`.
    pub(crate) fn context(&self, name: &str, limits: Limits) -> ServiceContext {
        ServiceContext {
            limits,
            balance: balance::BalanceConfig::default(),
            identity: self.identity_on(name, self.clock_rng.clone()),
            keys: Arc::new(KeySet::new(Auth(Arc::clone(&self.access)), self.clock_rng.clone())),
            policies: Arc::new(Table::from_descriptors(proto::DESCRIPTORS).expect("our own contracts")),
            descriptors: proto::DESCRIPTORS,
            audit: Some(Arc::new(Unstored)),
        }
    }

    /// The header of a service token of `caller` for `callee`, issued at the time of `clock_rng`.
    pub(crate) fn service_token(&self, caller: &str, callee: &str, clock_rng: &ClockAndRng) -> Header {
        (SERVICE_TOKEN, self.identity_on(caller, clock_rng.clone()).token_for(callee).to_str().unwrap().to_owned())
    }

    /// The header of an access token of `user` in `session` that expires after `lifetime`, in whole seconds.
    pub(crate) fn access_token(&self, user: Uuid, session: Uuid, lifetime: Duration) -> Header {
        let now = self.clock_rng.now();
        let claims = AccessClaims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user,
            principal: PrincipalClaims::User { sid: session, auth_time: now.as_secs(), amr: vec!["pwd".to_owned()] },
            iat: now.as_secs(),
            exp: (now + lifetime).as_secs(),
            jti: self.clock_rng.new_id(),
            roles: Vec::new(),
            scope: String::new(),
        };
        ("authorization", format!("Bearer {}", self.access.sign(&claims).expect("the key is good")))
    }

    /// The header of a valid access token of `user`.
    pub(crate) fn signed_in(&self, user: Uuid) -> Header {
        self.access_token(user, self.clock_rng.new_id(), Duration::from_secs(600))
    }
}

/// A header of a call.
pub(crate) type Header = (&'static str, String);

/// A request with headers.
pub(crate) fn request<T>(message: T, headers: &[Header]) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in headers {
        request.metadata_mut().insert(MetadataKey::from_static(name), value.parse().expect("a header's value"));
    }
    request
}

/// The code and reason of a refusal, as text: `NotFound USER_NOT_FOUND`.
pub(crate) fn refusal<T>(result: Result<T, Status>) -> String {
    let status = result.err().expect("the call is refused");
    let reason = status.get_error_details().error_info().map(|info| info.reason.clone());
    format!("{:?} {}", status.code(), reason.unwrap_or_default())
}

/// A service that runs in the test process.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    shutdown: Shutdown,
    serving: JoinHandle<io::Result<()>>,
}

impl Running {
    /// Serves on `address`. Port 0 reserves a port, so that the service can be restarted on it.
    pub(crate) async fn on<F>(address: SocketAddr, serve: impl FnOnce(TcpListener, Shutdown) -> F) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let port = if address.port() == 0 { ports::reserve() } else { address.port() };
        let listener = TcpListener::bind((address.ip(), port)).await.expect("the address is free");
        let address = listener.local_addr().expect("it is bound");
        let shutdown = Shutdown::new();
        let serving = tokio::spawn(serve(listener, shutdown.clone()));
        Self { address, shutdown, serving }
    }

    /// `http://host:port`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Opens a new connection.
    pub(crate) async fn connect(&self) -> Channel {
        let endpoint = Channel::from_shared(self.url()).expect("an address");
        endpoint.connect().await.expect("the service accepts")
    }

    /// Shuts down completely. Returns when the service has ended, at once if no call is in flight.
    pub(crate) async fn stop(self) {
        let config = shutdown::ShutdownConfig::default();
        let Self { shutdown, serving, .. } = self;
        let down = tokio::spawn(async move { shutdown.run(&config).await });
        serving.await.expect("serving does not panic").expect("serving ends without an error");
        down.abort();
    }
}

/// Any free port of this machine.
pub(crate) const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
