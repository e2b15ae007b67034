//! The gateway: its state, and what its calls need.

use std::sync::Arc;

use kit::{health::Readiness, limiter::RateLimiter, rng::Rng, server::ServiceContext, shutdown::Shutdown};

use tokio::task::spawn_blocking;

use crate::{
    config::Config,
    graphql::AutomaticQueries,
    routes::Route,
    rpc::RpcContext,
    server::{self, Listener},
    state::State,
};

/// A gateway.
pub struct Gateway {
    pub(crate) rpc: Arc<RpcContext>,
    pub(crate) state: Arc<State>,
    pub(crate) automatic: AutomaticQueries,
    /// Whether the console is served.
    pub(crate) console: bool,
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
        Ok(Self {
            // Sign-in on the page needs the mesh.
            console: config.console && state.has_mesh(),
            state: Arc::new(state),
            automatic: AutomaticQueries::new(config.graphql.automatic_persisted_bytes),
            rpc: Arc::new(RpcContext { service: context, limiter, readiness, rng: Rng::new() }),
        })
    }

    /// Serves on `listeners` until the shutdown's drain is over.
    pub async fn serve(self: Arc<Self>, listeners: Vec<Listener>, shutdown: Shutdown) -> std::io::Result<()> {
        let tls = self.state.tls_acceptor().map_err(std::io::Error::other)?;
        let (limits, stalls) = (self.rpc.service.limits.clone(), self.state.stalls());
        let refreshing = tokio::spawn(Arc::clone(&self.state).refresh(shutdown.clone()));
        let served = server::serve(self, tls, limits, stalls, listeners, shutdown).await;
        refreshing.abort();
        served
    }

    /// Applies another configuration to calls that begin from now on. An error names the invalid key, and changes
    /// nothing. Files are read and routes are built on a thread of their own, so that calls in progress do not wait.
    pub async fn reload(&self, config: &Config) -> Result<(), String> {
        let (state, config) = (Arc::clone(&self.state), config.clone());
        spawn_blocking(move || state.reload(&config)).await.map_err(|error| error.to_string())?
    }
}
