//! The auth service: accounts and sessions.
//!
//! It owns the accounts and their credentials. A session is a family of refresh tokens that rotate. Access tokens are
//! short-lived and signed; every service verifies them without a call to auth. Changes of an account that other
//! services must apply are enqueued as jobs in the transaction that makes them.

mod api;
mod cleanup;
pub mod config;
mod cookie;
mod deletion;
pub mod domain;
pub mod import;
pub mod keys;
pub mod mail;
mod password;
mod sending;
mod service;
pub mod store;

use std::{io, path::Path, sync::Arc};

use kit::{
    health::{HealthChecks, Readiness},
    server::{self, ServiceContext},
    shutdown::Shutdown,
};
use kit_data::{audit::Sealer, jobs::Worker};
use proto::auth::v1::auth_service_server::AuthServiceServer;
use tokio::net::TcpListener;
use tonic::service::Routes;

pub use config::Config;
use cookie::Cookies;
use deletion::Deletion;
pub use keys::Keys;
pub use mail::Mail;
use password::Breached;
pub use proto::auth::v1::auth_service_server::SERVICE_NAME;
use sending::Sending;
pub use service::Auth;
pub use store::AuthStore;

impl Auth {
    /// The checks that readiness depends on.
    pub fn health_checks(&self) -> HealthChecks {
        let store = Arc::clone(&self.store);
        HealthChecks::new().and("database", move || {
            let store = Arc::clone(&store);
            async move { store.is_reachable().await }
        })
    }

    /// Serves on `listener`, runs the jobs, until the shutdown's drain is over.
    pub async fn serve(
        self,
        context: ServiceContext,
        readiness: Readiness,
        listener: TcpListener,
        shutdown: Shutdown,
    ) -> io::Result<()> {
        self.config.check().map_err(io::Error::other)?;
        let breached = self.breached()?;
        let most = context.limits.message_bytes;
        let context = context.with_audit(self.store.audit().clone());
        let sealer = Sealer::new(self.store.audit().clone(), self.audit.clone(), self.clock_rng.clone());
        let jobs = tokio::spawn(self.worker().run(shutdown.clone()));
        tokio::spawn(sealer.clone().run(shutdown.clone()));
        // Two intervals: by then every verifier has fetched the set, whatever the phase of its timer.
        let publication = 2 * context.keys.refresh_interval();
        tokio::spawn(self.keys.clone().follow(publication, shutdown.clone()));
        let instance = self.store.instance(&cookie::new_instance(&self.clock_rng)).await.map_err(io::Error::other)?;
        let api = api::Api::new(self, Cookies::new(&instance), &context, breached);
        let api = kit::compressing!(AuthServiceServer::from_arc(api))
            .max_decoding_message_size(most)
            .max_encoding_message_size(most);
        server::serve(&context, SERVICE_NAME, Routes::new(api), &readiness, listener, shutdown).await?;
        // The running jobs end; another replica could claim them only after their lease.
        let ended = jobs.await.map_err(io::Error::other);
        sealer.finish().await;
        ended
    }

    /// The worker with the handlers of all jobs.
    fn worker(&self) -> Worker {
        let (abandoned, deleted) = (Deletion::new(self), Deletion::new(self));
        let sending = Sending::new(self);
        let (store, clock_rng, lifetimes) = (Arc::clone(&self.store), self.clock_rng.clone(), self.lifetimes());
        let (accounts, users) = (Arc::clone(&self.store), self.users.clone());
        let imported = move |job, _| {
            let (accounts, users) = (Arc::clone(&accounts), users.clone());
            async move { import::create_profile(&*accounts, &users, &job).await }
        };
        let cleanup = move |_| {
            let (store, clock_rng) = (Arc::clone(&store), clock_rng.clone());
            async move { cleanup::round(&*store, &clock_rng, lifetimes).await }
        };
        Worker::new(self.store.jobs().clone(), self.jobs.clone(), self.clock_rng.clone())
            .on(move |job, _| abandoned.clone().abandoned(job))
            .on(move |job, attempt| deleted.clone().deleted(job, attempt))
            .on(move |job, _| sending.clone().send(job))
            .on(imported)
            .every("auth.cleanup", cleanup::PERIOD, cleanup)
    }

    fn breached(&self) -> io::Result<Option<Breached>> {
        let path = &self.config.breached_passwords;
        if path.is_empty() {
            return Ok(None);
        }
        let opened = Breached::open(Path::new(path));
        opened
            .map(Some)
            .map_err(|error| io::Error::new(error.kind(), format!("auth.breached_passwords: {path}: {error}")))
    }

    fn lifetimes(&self) -> domain::Lifetimes {
        let Config { refresh_lifetime, session_lifetime, refresh_grace, .. } = &self.config;
        domain::Lifetimes { idle: refresh_lifetime.0, absolute: session_lifetime.0, grace: refresh_grace.0 }
    }
}
