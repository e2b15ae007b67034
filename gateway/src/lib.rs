//! The gateway: the only entry for outside callers. It speaks gRPC and gRPC-Web with them and gRPC with the
//! services, authenticates the caller, applies the contract's limits, and forwards messages without decoding them.
//!
//! Services do not trust it with identities: it forwards the user's own token, and every service verifies it again.
//!
//! # Layers
//!
//! A module imports only modules of the lines below its own:
//!
//! 1. this module, `front`, `limits_report`, `fuzz`: the parts put together, and what a request of any kind gets.
//! 2. `rpc`: the steps of a call, and the body of its response.
//! 3. `state`: the snapshot of routes and settings, and what replaces it.
//! 4. `routes`: maps a path to its target and policy.
//! 5. `server`: client connections. It knows its handler only as a trait.
//! 6. `external`: upstreams outside the mesh, and their descriptors.
//! 7. `upstream`: clusters, connection pools and calls on them.
//! 8. `rate_limit`: the limits of a method.
//! 9. `protocol`: the protocols of clients, message framing and statuses.
//! 10. `tls`, `http`: certificates; headers, cross-origin rules, client addresses and the console.
//! 11. `io`, `config`: bytes without a meaning; the keys of the configuration.

pub mod config;
mod external;
mod front;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod http;
mod io;
mod limits_report;
mod protocol;
mod rate_limit;
mod routes;
mod rpc;
mod server;
mod state;
mod tls;
mod upstream;

use std::sync::Arc;

use kit::{health::Readiness, limiter::RateLimiter, rng::Rng, server::ServiceContext, shutdown::Shutdown};

pub use config::Config;
pub use limits_report::{ExternalMethod, ShownLimits};
pub use routes::Route;
pub use server::Listener;

use rpc::RpcContext;
use state::State;

/// A gateway.
pub struct Gateway {
    rpc: RpcContext,
    state: Arc<State>,
    console: bool,
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
            rpc: RpcContext { service: context, limiter, readiness, rng: Rng::new() },
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
    /// nothing.
    pub fn reload(&self, config: &Config) -> Result<(), String> {
        self.state.reload(config)
    }
}
