//! The gateway: its state, and what its calls need.

use std::sync::Arc;

use kit::{
    ClockAndRng,
    balance::BalanceConfig,
    health::{HealthChecks, Readiness},
    identity::{GATEWAY, Identity, Key},
    jwk::Jwk,
    keys::{KeySet, KeySource, Unavailable},
    limiter::{LocalLimiter, RateLimiter},
    limits::Limits,
    policy::Table,
    rng::Rng,
    server::ServiceContext,
    shutdown::Shutdown,
    time::SteadyClock,
};
use tokio::task::spawn_blocking;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    config::Config,
    graphql::AutomaticQueries,
    own_services::OwnServices,
    routes::Route,
    rpc::RpcContext,
    server::{self, ConnectionCounts, Listener, ServerThreads},
    state::State,
};

/// A gateway.
pub struct Gateway {
    pub(crate) rpc: Arc<RpcContext>,
    pub(crate) state: Arc<State>,
    pub(crate) automatic: AutomaticQueries,
    /// The open WebSockets by client address.
    pub(crate) sockets: Arc<ConnectionCounts>,
    /// Whether the console is served.
    pub(crate) console: bool,
    /// `gateway.threads`.
    threads: usize,
}

impl Gateway {
    /// A gateway to `mesh`. Errors name the key of the configuration that is wrong.
    pub fn new(
        config: &Config,
        context: ServiceContext,
        mesh: Vec<Route>,
        limiter: Arc<dyn RateLimiter>,
        readiness: Readiness,
    ) -> Result<Self, String> {
        let state = State::new(config, &context, mesh, &readiness)?;
        Ok(Self::of(config, state, context, limiter, readiness))
    }

    /// A gateway in front of `services`, which are served in this process: it calls them without a connection. It
    /// serves them in all protocols, with health, reflection, rate limits and the rest of `config`; external upstreams
    /// of `config` stand beside them.
    ///
    /// A service receives the metadata of the request, also `authorization`, and the client's address in
    /// `x-forwarded-for`. Cookies are removed. Rate limits count in this process. It must be called within a tokio
    /// runtime. Errors name what is wrong.
    ///
    /// `examples/embedded` is a whole program.
    ///
    /// ```no_run
    /// # async fn serve(descriptors: &'static [u8]) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::sync::Arc;
    ///
    /// use gateway::{Config, Gateway, Listener, OwnServices, Shutdown, ShutdownConfig};
    ///
    /// let services = OwnServices::new(descriptors).public(); // .with(GreeterServer::new(Greeter))
    /// let shutdown = Shutdown::new();
    /// let gateway = Arc::new(Gateway::embedded(&Config::default(), services, &shutdown)?);
    /// let socket = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    /// let serving = tokio::spawn(gateway.serve(vec![Listener { socket, tls: false }], shutdown.clone()));
    /// tokio::signal::ctrl_c().await?;
    /// let stopping = tokio::spawn(async move { shutdown.run(&ShutdownConfig::default()).await });
    /// serving.await??; // Calls in progress have finished.
    /// stopping.abort();
    /// # Ok(())
    /// # }
    /// ```
    pub fn embedded(config: &Config, services: OwnServices, shutdown: &Shutdown) -> Result<Self, String> {
        let policies = Arc::new(Table::from_descriptors(services.descriptors).map_err(|error| error.to_string())?);
        services.check(&policies)?;
        let clock_rng = ClockAndRng::system();
        let identity = Identity::new(GATEWAY, &Key::generate(), [], clock_rng.clone());
        let context = ServiceContext {
            limits: Limits::default(),
            identity: Arc::new(identity.map_err(|error| error.to_string())?),
            keys: Arc::new(KeySet::new(NoKeys, clock_rng)),
            balance: BalanceConfig::default(),
            policies,
            descriptors: services.descriptors,
            audit: None,
        };
        let readiness = Readiness::watch(HealthChecks::new(), shutdown.clone());
        let limiter = Arc::new(LocalLimiter::new(Arc::new(SteadyClock::start())));
        let state = State::with_own(config, &context, services, &readiness)?;
        Ok(Self::of(config, state, context, limiter, readiness))
    }

    fn of(
        config: &Config,
        state: State,
        context: ServiceContext,
        limiter: Arc<dyn RateLimiter>,
        readiness: Readiness,
    ) -> Self {
        Self {
            // Sign-in on the page needs the mesh.
            console: config.console && state.has_mesh(),
            state: Arc::new(state),
            threads: config.threads,
            automatic: AutomaticQueries::new(config.graphql.automatic_persisted_bytes),
            sockets: Arc::default(),
            rpc: Arc::new(RpcContext { service: context, limiter, readiness, rng: Rng::new() }),
        }
    }

    /// Serves on `listeners` until the shutdown's drain is over.
    pub async fn serve(self: Arc<Self>, listeners: Vec<Listener>, shutdown: Shutdown) -> std::io::Result<()> {
        let (tls, limits, stalls) = (self.state.tls(), self.rpc.service.limits.clone(), self.state.stalls());
        let threads = Arc::new(ServerThreads::start(self.threads)?);
        // A caller may drop this future.
        let _stopping = threads.stop_when_dropped();
        let _refreshing = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&self.state).refresh(shutdown.clone())));
        let served = server::serve(self, tls, limits, stalls, Arc::clone(&threads), listeners, shutdown).await;
        threads.stop().await;
        served
    }

    /// Applies another configuration to calls that begin from now on. An error names the invalid key, and changes
    /// nothing. Files are read and routes are built on a thread of their own, so that calls in progress do not wait.
    pub async fn reload(&self, config: &Config) -> Result<(), String> {
        let (state, config) = (Arc::clone(&self.state), config.clone());
        spawn_blocking(move || state.reload(&config)).await.map_err(|error| error.to_string())?
    }
}

/// There are no users, and so no keys of their tokens.
struct NoKeys;

#[tonic::async_trait]
impl KeySource for NoKeys {
    async fn fetch(&self) -> Result<Vec<Jwk>, Unavailable> {
        Err(Unavailable("this process has no auth service".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
        time::timeout,
    };

    use super::*;
    use crate::config::{ExternalConfig, Open};

    /// A gateway to two upstreams without descriptors; `acme` has no access.
    fn gateway() -> (Gateway, Config) {
        let upstream = |access| ExternalConfig { to: "http://127.0.0.1:1".into(), access, ..ExternalConfig::default() };
        let external = [("acme", Open::default()), ("open", Open::Public)];
        let external = external.map(|(prefix, access)| (prefix.to_owned(), upstream(access)));
        let config = Config { external: external.into(), ..Config::default() };
        let services = OwnServices::new(proto::DESCRIPTORS);
        (Gateway::embedded(&config, services, &Shutdown::new()).unwrap(), config)
    }

    #[tokio::test]
    async fn upstream_without_a_callable_method_is_known() {
        let (gateway, mut config) = gateway();
        assert_eq!(gateway.state.snapshot().closed, [Arc::from("acme")]);
        config.external.get_mut("acme").unwrap().access = Open::Public;
        gateway.reload(&config).await.unwrap();
        assert!(gateway.state.snapshot().closed.is_empty());
    }

    /// It reads files, and builds the routes of all descriptors.
    #[tokio::test]
    async fn reload_does_not_block_the_runtime() {
        let (gateway, config) = gateway();
        assert!(gateway.reload(&config).now_or_never().is_none(), "the work is done on another thread");
    }

    /// Regression: the threads and their connections continued.
    #[tokio::test]
    async fn threads_stop_when_serve_is_dropped() {
        let (_, config) = gateway();
        let config = Config { threads: 2, ..config };
        let services = OwnServices::new(proto::DESCRIPTORS);
        let gateway = Arc::new(Gateway::embedded(&config, services, &Shutdown::new()).unwrap());
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let serving = tokio::spawn(gateway.serve(vec![Listener { socket, tls: false }], Shutdown::new()));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        assert_ne!(client.read(&mut [0; 4096]).await.unwrap(), 0);
        serving.abort();
        let closed = async { while client.read(&mut [0; 4096]).await.is_ok_and(|bytes| bytes > 0) {} };
        timeout(Duration::from_secs(5), closed).await.expect("the connection is dropped with its thread");
    }

    #[tokio::test]
    async fn services_that_cannot_be_called_are_an_error() {
        let refused = |services: OwnServices, config: &Config| {
            Gateway::embedded(config, services, &Shutdown::new()).err().unwrap()
        };
        let config = Config::default();
        let named = |name| OwnServices { names: [name].into(), ..OwnServices::new(proto::DESCRIPTORS) };
        let unknown = refused(named("acme.v1.Shop"), &config);
        assert!(unknown.contains("do not declare the service acme.v1.Shop"), "{unknown}");
        let of_users = refused(named("trellis.users.v1.UsersService"), &config);
        assert!(of_users.contains("need an auth service"), "{of_users}");
    }
}
