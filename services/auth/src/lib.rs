//! The auth service: accounts and sessions.
//!
//! It owns the accounts and their credentials. A session is a family of refresh tokens that rotate. Access tokens are
//! short-lived and signed; every service verifies them without a call to auth. Changes of an account that other
//! services must apply are written to the outbox in the transaction that makes them.

mod api;
mod cleanup;
pub mod config;
mod cookie;
pub mod domain;
pub mod keys;
mod outbox_worker;
mod password;
pub mod store;

use std::{io, sync::Arc};

use kit::{
    ClockAndRng,
    bus::Bus,
    client::Peer,
    health::{HealthChecks, Readiness},
    limiter::RateLimiter,
    server::{self, ServiceContext},
    shutdown::Shutdown,
};
use outbox_worker::OutboxWorker;
use proto::auth::v1::auth_service_server::{AuthServiceServer, SERVICE_NAME};
use tokio::{net::TcpListener, sync::Notify};
use tonic::service::Routes;

pub use config::Config;
use cookie::Cookies;
pub use keys::Keys;
pub use store::AuthStore;

/// The service before it starts to serve.
pub struct Auth {
    /// The configuration.
    pub config: Config,
    /// Stores accounts and sessions.
    pub store: Arc<dyn AuthStore>,
    /// Sign access tokens and encrypt refresh tokens.
    pub keys: Keys,
    /// The users service, which owns the profiles.
    pub users: Peer,
    /// The messaging service, which owns the memberships.
    pub messaging: Peer,
    /// Publishes the ids of ended sessions.
    pub bus: Arc<dyn Bus>,
    /// Limits attempts to sign in.
    pub limiter: Arc<dyn RateLimiter>,
    /// Time and randomness.
    pub clock_rng: ClockAndRng,
}

impl Auth {
    /// The checks that readiness depends on.
    pub fn health_checks(&self) -> HealthChecks {
        let store = Arc::clone(&self.store);
        HealthChecks::new().and("database", move || {
            let store = Arc::clone(&store);
            async move { store.is_reachable().await }
        })
    }

    /// Serves on `listener`, runs the cleanup and the outbox worker, until the shutdown's drain is over.
    pub async fn serve(
        self,
        context: ServiceContext,
        readiness: Readiness,
        listener: TcpListener,
        shutdown: Shutdown,
    ) -> io::Result<()> {
        self.config.check().map_err(io::Error::other)?;
        let most = context.limits.message_bytes;
        let outbox_wake = Arc::new(Notify::new());
        let outbox_worker = tokio::spawn(OutboxWorker::new(&self).run(Arc::clone(&outbox_wake), shutdown.clone()));
        // Two intervals: by then every verifier has fetched the set, whatever the phase of its timer.
        let publication = 2 * context.keys.refresh_interval();
        tokio::spawn(self.keys.clone().follow(publication, shutdown.clone()));
        tokio::spawn(cleanup::run(Arc::clone(&self.store), self.clock_rng.clone(), self.lifetimes(), shutdown.clone()));
        let instance = self.store.instance(&cookie::new_instance(&self.clock_rng)).await.map_err(io::Error::other)?;
        let api = kit::compressing!(AuthServiceServer::from_arc(api::Api::new(
            self,
            Cookies::new(&instance),
            context.limits.networks,
            outbox_wake,
            most,
        )))
        .max_decoding_message_size(most)
        .max_encoding_message_size(most);
        server::serve(&context, SERVICE_NAME, Routes::new(api), &readiness, listener, shutdown.clone()).await?;
        // Finish the event in progress; otherwise another replica can take it only after its lease.
        tokio::select! {
            _ = outbox_worker => {}
            () = shutdown.cut() => {}
        }
        Ok(())
    }

    fn lifetimes(&self) -> domain::Lifetimes {
        let Config { refresh_lifetime, session_lifetime, refresh_grace, .. } = &self.config;
        domain::Lifetimes { idle: refresh_lifetime.0, absolute: session_lifetime.0, grace: refresh_grace.0 }
    }
}
