//! The auth service: accounts and sessions.
//!
//! It owns who may sign in and how they prove it. A session is a family of refresh tokens that rotate; access
//! tokens are short, signed, and verified by everybody without asking. What others must come to know of an
//! account is written to the outbox in the transaction that makes it true.

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

/// The service, before it is served.
pub struct Auth {
    /// What was configured.
    pub config: Config,
    /// Where accounts and sessions live.
    pub store: Arc<dyn AuthStore>,
    /// What tokens are signed and sealed by.
    pub keys: Keys,
    /// Keeps the profiles.
    pub users: Peer,
    /// Keeps the memberships.
    pub messaging: Peer,
    /// Carries the news of ended sessions.
    pub bus: Arc<dyn Bus>,
    /// Counts attempts to sign in.
    pub limiter: Arc<dyn RateLimiter>,
    /// Time and randomness.
    pub clock_rng: ClockAndRng,
}

impl Auth {
    /// What the service needs to be ready.
    pub fn health_checks(&self) -> HealthChecks {
        let store = Arc::clone(&self.store);
        HealthChecks::new().and("database", move || {
            let store = Arc::clone(&store);
            async move { store.answers().await }
        })
    }

    /// Serves on `listener`, cleanups, and carries out what the outbox says, until the shutdown's drain is over.
    pub async fn serve(
        self,
        context: ServiceContext,
        readiness: Readiness,
        listener: TcpListener,
        shutdown: Shutdown,
    ) -> io::Result<()> {
        self.config.check().map_err(io::Error::other)?;
        let most = context.limits.message_bytes;
        let told = Arc::new(Notify::new());
        let outbox_worker = tokio::spawn(OutboxWorker::new(&self).run(Arc::clone(&told), shutdown.clone()));
        // Until every verifier has fetched the set, whenever its timer began.
        let publication = 2 * context.keys.refresh_interval();
        tokio::spawn(self.keys.clone().follow(publication, shutdown.clone()));
        tokio::spawn(cleanup::run(Arc::clone(&self.store), self.clock_rng.clone(), self.lifetimes(), shutdown.clone()));
        let instance = self.store.instance(&cookie::new_instance(&self.clock_rng)).await.map_err(io::Error::other)?;
        let api = kit::compressing!(AuthServiceServer::from_arc(api::Api::new(
            self,
            Cookies::new(&instance),
            context.limits.networks,
            told,
            most,
        )))
        .max_decoding_message_size(most)
        .max_encoding_message_size(most);
        server::serve(&context, SERVICE_NAME, Routes::new(api), &readiness, listener, shutdown.clone()).await?;
        // The event that is taken comes to its end, or another replica waits until it may take it.
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
