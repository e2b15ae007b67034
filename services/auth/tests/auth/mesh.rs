//! Auth, users, and a stand-in for messaging, served in this process on free ports with a manual clock. Auth has its
//! own runtime: shutting that down ends auth immediately, as if its process were killed.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use auth::{Auth, AuthStore, Keys, domain::AdminCode, keys::OwnKeys};
use kit::{
    ClockAndRng, Timestamp, balance,
    bus::LocalBus,
    client::Peer,
    config::Span,
    identity::{CLIENT_ADDRESS, Identity, Key, SERVICE_TOKEN},
    jwk::Jwk,
    keys::{KeySet, KeySource, Unavailable},
    limiter,
    limits::Limits,
    policy::Table,
    server::{self, ServiceContext},
    shutdown::Shutdown,
    time::{Clock as _, ManualClock, SystemClock, SystemEntropy},
};
use kit_data::{audit::AuditConfig, jobs, store::Location};
use proto::auth::v1::{
    ClaimAdminRequest, SignInRequest, SignUpRequest, Tokens, auth_service_client::AuthServiceClient,
};
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Runtime};
use tonic::{Code, Request, Status, transport::Channel};
use users::{UserStore, Users};

use crate::messaging::Messaging;

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// The running services.
pub(crate) struct Mesh {
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) auth: AuthServiceClient<Channel>,
    /// Direct access to auth's database.
    pub(crate) store: Arc<dyn AuthStore>,
    pub(crate) messaging: Messaging,
    /// Receives the signals of ended sessions, as every process does.
    pub(crate) keys: Arc<KeySet>,
    config: auth::Config,
    location: Location,
    ports: [u16; 3],
    context: ServiceContext,
    identities: [Arc<Identity>; 4],
    users_shutdown: Shutdown,
    running: Option<Runtime>,
    bus: Arc<LocalBus>,
    clock_rng: ClockAndRng,
}

const AUTH: usize = 0;
const USERS: usize = 1;
const MESSAGING: usize = 2;
const GATEWAY: usize = 3;

struct Fixed(Vec<Jwk>);

#[async_trait]
impl KeySource for Fixed {
    async fn fetch(&self) -> Result<Vec<Jwk>, Unavailable> {
        Ok(self.0.clone())
    }
}

impl Mesh {
    /// Starts on SQLite; the store's contract is tested on both databases.
    pub(crate) async fn start() -> Self {
        Self::with(auth::Config::default()).await
    }

    /// Starts with this configuration of auth.
    pub(crate) async fn with(config: auth::Config) -> Self {
        let folder = TempDir::new().unwrap();
        let location = Location::Sqlite(folder.path().join("auth.db"));
        Self::assemble(folder, location, Messaging::new(0), config).await
    }

    /// Starts with auth on this database.
    pub(crate) async fn on(location: &Location, messaging: Messaging) -> Self {
        Self::assemble(TempDir::new().unwrap(), location.clone(), messaging, auth::Config::default()).await
    }

    /// Starts with auth on this database, with this configuration of auth.
    pub(crate) async fn mailing_on(location: &Location, config: auth::Config) -> Self {
        Self::assemble(TempDir::new().unwrap(), location.clone(), Messaging::new(0), config).await
    }

    async fn assemble(folder: TempDir, location: Location, messaging: Messaging, config: auth::Config) -> Self {
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let clock_rng = ClockAndRng { clock: clock.clone(), entropy: Arc::new(SystemEntropy::default()) };
        Keys::create(&keys_folder(folder.path())).unwrap();
        let jwks = Keys::open(&keys_folder(folder.path())).unwrap().jwks();
        let identities = identities(&clock_rng);
        let keys = Arc::new(KeySet::new(Fixed(jwks), clock_rng.clone()));
        let bus = Arc::new(LocalBus::default());
        tokio::spawn(keys.follow(&*bus, Shutdown::new()));
        let context = ServiceContext {
            limits: Limits::default(),
            balance: balance::BalanceConfig::default(),
            identity: Arc::clone(&identities[AUTH]),
            keys: Arc::clone(&keys),
            policies: Arc::new(Table::from_descriptors(proto::DESCRIPTORS).unwrap()),
            descriptors: proto::DESCRIPTORS,
            audit: None,
        };
        let ports = [(); 3].map(|()| super::ports::reserve());
        let channel = Channel::from_shared(format!("http://127.0.0.1:{}", ports[AUTH])).unwrap();
        let mut mesh = Self {
            auth: AuthServiceClient::new(channel.user_agent("tester/1.0").unwrap().connect_lazy()),
            store: auth::store::open(&location, 4).await.unwrap(),
            users_shutdown: Shutdown::new(),
            running: None,
            folder,
            clock,
            messaging,
            keys,
            config,
            location,
            ports,
            context,
            identities,
            bus,
            clock_rng,
        };
        mesh.start_users().await;
        mesh.start_messaging().await;
        mesh.start_auth().await;
        mesh
    }

    /// Starts auth on its port with its own store.
    pub(crate) async fn start_auth(&mut self) {
        wait_until_free(self.ports[AUTH]).await;
        let peer = |name, port| {
            Peer::new(
                name,
                &[format!("http://127.0.0.1:{port}")],
                &balance::BalanceConfig::default(),
                Arc::clone(&self.identities[AUTH]),
                Arc::clone(&self.context.policies),
            )
        };
        let (users, messaging) = (peer("users", self.ports[USERS]), peer("messaging", self.ports[MESSAGING]));
        let config = self.config.clone();
        let jobs = jobs::JobsConfig { poll_interval: Span(Duration::from_millis(20)), ..jobs::JobsConfig::default() };
        let (location, port, context) = (self.location.clone(), self.ports[AUTH], self.context.clone());
        let keys = Keys::open(&keys_folder(self.folder.path())).unwrap();
        let mail = auth::Mail::open(&self.config.mail, &auth::mail::Surroundings::default()).unwrap();
        let (bus, clock_rng, clock) = (self.bus.clone(), self.clock_rng.clone(), self.clock.clone());
        let runtime = Runtime::new().unwrap();
        let started = runtime.spawn(async move {
            // Opened in this runtime, so that its connections end with it.
            let service = Auth {
                config,
                jobs,
                audit: AuditConfig::default(),
                store: auth::store::open(&location, 4).await.unwrap(),
                keys,
                mail: Arc::new(mail),
                users: users.unwrap(),
                messaging: messaging.unwrap(),
                bus,
                limiter: Arc::new(limiter::LocalLimiter::new(clock)),
                clock_rng,
            };
            let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
            let shutdown = Shutdown::new();
            let readiness = server::readiness(&context, service.health_checks(), &shutdown);
            tokio::spawn(service.serve(context, readiness, listener, shutdown));
        });
        started.await.unwrap();
        self.running = Some(runtime);
    }

    /// Ends auth immediately.
    pub(crate) fn kill_auth(&mut self) {
        self.running.take().unwrap().shutdown_background();
    }

    async fn start_users(&self) {
        let messaging = format!("http://127.0.0.1:{}", self.ports[MESSAGING]);
        let users = Users {
            config: users::Config::default(),
            audit: AuditConfig::default(),
            store: self.users_store().await,
            messaging: Peer::new(
                "messaging",
                &[messaging],
                &balance::BalanceConfig::default(),
                Arc::clone(&self.identities[USERS]),
                Arc::clone(&self.context.policies),
            )
            .unwrap(),
            clock_rng: self.clock_rng.clone(),
        };
        let context = ServiceContext { identity: Arc::clone(&self.identities[USERS]), ..self.context.clone() };
        let shutdown = self.users_shutdown.clone();
        let readiness = server::readiness(&context, users.health_checks(), &shutdown);
        let listener = TcpListener::bind(("127.0.0.1", self.ports[USERS])).await.unwrap();
        tokio::spawn(users.serve(context, readiness, listener, shutdown));
    }

    async fn start_messaging(&self) {
        let identity = Arc::clone(&self.identities[MESSAGING]);
        let context = ServiceContext { identity, ..self.context.clone() }.with_audit(self.store.audit().clone());
        let listener = TcpListener::bind(("127.0.0.1", self.ports[MESSAGING])).await.unwrap();
        tokio::spawn(self.messaging.clone().serve(context, listener, Shutdown::new()));
    }

    /// Stops the users service.
    pub(crate) async fn stop_users(&mut self) {
        let at_once =
            kit::shutdown::ShutdownConfig { grace: Span(Duration::ZERO), ..kit::shutdown::ShutdownConfig::default() };
        self.users_shutdown.run(&at_once).await;
        wait_until_free(self.ports[USERS]).await;
    }

    /// Replaces the users service with a listener that accepts connections and sends nothing.
    pub(crate) async fn silence_users(&mut self) -> TcpListener {
        self.stop_users().await;
        TcpListener::bind(("127.0.0.1", self.ports[USERS])).await.unwrap()
    }

    /// Starts the users service again.
    pub(crate) async fn restart_users(&mut self) {
        self.users_shutdown = Shutdown::new();
        self.start_users().await;
    }

    /// Opens the database of users.
    pub(crate) async fn users_store(&self) -> Arc<dyn UserStore> {
        users::store::open(&Location::Sqlite(self.users_file()), 1).await.unwrap()
    }

    pub(crate) fn users_file(&self) -> PathBuf {
        self.folder.path().join("users.db")
    }

    /// The location of auth's database.
    pub(crate) fn location(&self) -> Location {
        self.location.clone()
    }

    /// The key that opens the mailbox.
    pub(crate) fn mailbox_key(&self) -> String {
        Keys::open(&keys_folder(self.folder.path())).unwrap().mailbox_key()
    }

    /// A request that the gateway forwards for a client at `address`.
    pub(crate) fn on_behalf_of<T>(&self, address: &str, message: T) -> Request<T> {
        self.through_gateway(Request::new(message), address)
    }

    /// The key set with which auth's own process verifies access tokens.
    pub(crate) fn own_keys(&self) -> KeySet {
        let keys = Keys::open(&keys_folder(self.folder.path())).unwrap();
        let (store, clock_rng) = (Arc::clone(&self.store), self.clock_rng.clone());
        KeySet::new(OwnKeys { keys, store, clock_rng }, self.clock_rng.clone())
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock_rng.now()
    }

    pub(crate) async fn signed_up(&mut self, handle: &str) -> Tokens {
        self.auth.sign_up(sign_up(handle)).await.unwrap().into_inner().tokens.unwrap()
    }

    /// Makes the account an admin with a new code, and returns its tokens with the role.
    pub(crate) async fn make_admin(&mut self, tokens: &Tokens) -> Tokens {
        let code = AdminCode::generate(&self.clock_rng);
        self.store.offer_admin(&code.hash(), self.now() + Duration::from_secs(60)).await.unwrap();
        let claim = ClaimAdminRequest { code: code.expose().to_owned() };
        let claimed = self.auth.claim_admin(by(tokens, claim.clone())).await.unwrap().into_inner();
        let again = self.auth.claim_admin(by(tokens, claim)).await.unwrap_err();
        assert_eq!((again.code(), reason(&again).as_str()), (Code::FailedPrecondition, "ADMIN_CODE_INVALID"));
        Tokens { access_token: claimed.access_token, ..tokens.clone() }
    }

    pub(crate) async fn signed_in(&mut self, handle: &str, password: &str) -> Result<Tokens, Status> {
        self.auth.sign_in(sign_in(handle, password)).await.map(|response| response.into_inner().tokens.unwrap())
    }

    /// The request as the gateway forwards it for a client at `address`.
    pub(crate) fn through_gateway<T>(&self, mut request: Request<T>, address: &str) -> Request<T> {
        let token = self.identities[GATEWAY].token_for("auth").to_str().unwrap().to_owned();
        request.metadata_mut().insert(SERVICE_TOKEN, token.parse().unwrap());
        request.metadata_mut().insert(CLIENT_ADDRESS, address.parse().unwrap());
        request
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if let Some(runtime) = self.running.take() {
            runtime.shutdown_background();
        }
    }
}

fn keys_folder(folder: &Path) -> PathBuf {
    folder.join("keys")
}

/// Waits until no listener holds the port.
async fn wait_until_free(port: u16) {
    while TcpListener::bind(("127.0.0.1", port)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The identities of all services, which trust each other.
fn identities(clock_rng: &ClockAndRng) -> [Arc<Identity>; 4] {
    let keys = ["auth", "users", "messaging", "gateway"].map(|name| (name, Key::generate()));
    let publics: Vec<_> = keys.iter().map(|(name, key)| (*name, key.public())).collect();
    keys.map(|(name, key)| {
        let trusted = publics.iter().map(|(name, public)| (*name, public.as_str()));
        Arc::new(Identity::new(name, &key, trusted, clock_rng.clone()).unwrap())
    })
}

pub(crate) fn sign_up(handle: &str) -> SignUpRequest {
    SignUpRequest {
        email: format!("{handle}@example.org"),
        password: PASSWORD.to_owned(),
        handle: handle.to_owned(),
        display_name: handle.to_uppercase(),
        refresh_delivery: 0,
    }
}

pub(crate) fn sign_in(handle: &str, password: &str) -> SignInRequest {
    SignInRequest { email: format!("{handle}@example.org"), password: password.to_owned(), refresh_delivery: 0 }
}

/// A request with the access token of `tokens`.
pub(crate) fn by<T>(tokens: &Tokens, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {}", tokens.access_token).parse().unwrap());
    request
}

/// The code, the message and the details of a status.
pub(crate) fn status_fields(status: &Status) -> (Code, String, Vec<u8>) {
    (status.code(), status.message().to_owned(), status.details().to_vec())
}

pub(crate) fn reason(status: &Status) -> String {
    use tonic_types::StatusExt as _;
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// Waits until `check` succeeds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, check: impl Fn() -> F) {
    for _ in 0..500 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("timed out: {what}");
}
