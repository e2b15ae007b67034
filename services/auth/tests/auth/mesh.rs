//! Auth and users, served in this process on free ports, on a clock that the test moves.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use auth::{Auth, AuthStore, Keys};
use kit::{
    Ambient, Timestamp,
    client::Peer,
    identity::{CLIENT_ADDRESS, Identity, Key, SERVICE_TOKEN},
    keys::{Jwk, KeySet, KeySource, Unavailable},
    limiter,
    limits::Limits,
    policy::Table,
    server::{self, Surroundings},
    shutdown::Shutdown,
    store::Location,
    time::{Clock as _, ManualClock, SystemClock, SystemEntropy},
};
use proto::auth::v1::{SignInRequest, SignUpRequest, auth_service_client::AuthServiceClient};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::{Code, Request, Status, transport::Channel};
use users::Users;

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// The running services.
pub(crate) struct Mesh {
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) auth: AuthServiceClient<Channel>,
    pub(crate) store: Arc<dyn AuthStore>,
    /// What users needs to be started again on the same port.
    users_port: u16,
    surroundings: Surroundings,
    identities: [Arc<Identity>; 2],
    users_shutdown: Shutdown,
    ambient: Ambient,
}

struct Fixed(Vec<Jwk>);

#[async_trait]
impl KeySource for Fixed {
    async fn fetch(&self) -> Result<Vec<Jwk>, Unavailable> {
        Ok(self.0.clone())
    }
}

impl Mesh {
    pub(crate) async fn start() -> Self {
        Self::with(auth::Config::default()).await
    }

    pub(crate) async fn with(config: auth::Config) -> Self {
        let folder = TempDir::new().unwrap();
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let ambient = Ambient { clock: clock.clone(), entropy: Arc::new(SystemEntropy::default()) };
        let keys_folder = folder.path().join("keys");
        Keys::create(&keys_folder).unwrap();
        let keys = Keys::open(&keys_folder).unwrap();
        let identities = identities(&ambient);
        let surroundings = Surroundings {
            limits: Limits::default(),
            identity: Arc::clone(&identities[0]),
            keys: Arc::new(KeySet::new(Fixed(keys.jwks()), ambient.clone())),
            policies: Arc::new(Table::from_descriptors(proto::DESCRIPTORS).unwrap()),
            descriptors: proto::DESCRIPTORS,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let users_port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let store = auth::store::open(&auth_file(&folder), 1).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let service = Auth {
            config,
            store: Arc::clone(&store),
            keys,
            users: Peer::new("users", &format!("http://127.0.0.1:{users_port}"), Arc::clone(&identities[0])).unwrap(),
            limiter: Arc::new(limiter::Local::new(clock.clone())),
            ambient: ambient.clone(),
        };
        let shutdown = Shutdown::new();
        let readiness = server::readiness(&surroundings, service.needs(), &shutdown);
        tokio::spawn(service.serve(surroundings.clone(), readiness, listener, shutdown));
        let auth = AuthServiceClient::new(Channel::from_shared(address).unwrap().connect_lazy());
        let users_shutdown = Shutdown::new();
        let mesh = Self { folder, clock, auth, store, users_port, surroundings, identities, users_shutdown, ambient };
        mesh.start_users().await;
        mesh
    }

    async fn start_users(&self) {
        let store = users::store::open(&Location::Sqlite(self.users_file()), 1).await.unwrap();
        let users = Users { store, ambient: self.ambient.clone() };
        let surroundings = Surroundings { identity: Arc::clone(&self.identities[1]), ..self.surroundings.clone() };
        let shutdown = self.users_shutdown.clone();
        let readiness = server::readiness(&surroundings, users.needs(), &shutdown);
        let listener = TcpListener::bind(("127.0.0.1", self.users_port)).await.unwrap();
        tokio::spawn(users.serve(surroundings, readiness, listener, shutdown));
    }

    /// Takes the users service away.
    pub(crate) async fn stop_users(&mut self) {
        let at_once = kit::shutdown::Config {
            settle: kit::config::Span(Duration::ZERO),
            grace: kit::config::Span(Duration::ZERO),
        };
        self.users_shutdown.run(&at_once).await;
        // The port is free once nobody answers there.
        while TcpListener::bind(("127.0.0.1", self.users_port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// In its place, somebody who accepts connections and says nothing.
    pub(crate) async fn silence_users(&mut self) -> TcpListener {
        self.stop_users().await;
        TcpListener::bind(("127.0.0.1", self.users_port)).await.unwrap()
    }

    /// Brings it back.
    pub(crate) async fn restart_users(&mut self) {
        self.users_shutdown = Shutdown::new();
        self.start_users().await;
    }

    /// Auth's database.
    pub(crate) fn location(&self) -> Location {
        auth_file(&self.folder)
    }

    /// A request that a service of the mesh hands on for a client at `address`, as the gateway does.
    pub(crate) fn on_behalf_of<T>(&self, address: &str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let token = self.identities[1].token_for("auth");
        request.metadata_mut().insert(SERVICE_TOKEN, token.parse().unwrap());
        request.metadata_mut().insert(CLIENT_ADDRESS, address.parse().unwrap());
        request
    }

    pub(crate) fn users_file(&self) -> PathBuf {
        self.folder.path().join("users.db")
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.ambient.now()
    }
}

fn auth_file(folder: &TempDir) -> Location {
    Location::Sqlite(folder.path().join("auth.db"))
}

/// Of auth and of users, who believe each other.
fn identities(ambient: &Ambient) -> [Arc<Identity>; 2] {
    let keys = [("auth", Key::generate()), ("users", Key::generate())];
    let publics: Vec<_> = keys.iter().map(|(name, key)| (*name, key.public())).collect();
    keys.map(|(name, key)| {
        let trusted = publics.iter().map(|(name, public)| (*name, public.as_str()));
        Arc::new(Identity::new(name, &key, trusted, ambient.clone()).unwrap())
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

/// All that a refusal says.
pub(crate) fn said(status: &Status) -> (Code, String, Vec<u8>) {
    (status.code(), status.message().to_owned(), status.details().to_vec())
}

pub(crate) fn reason(status: &Status) -> String {
    use tonic_types::StatusExt as _;
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}
