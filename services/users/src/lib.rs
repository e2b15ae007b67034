//! The users service: public profiles, and the directory of them.
//!
//! It owns what others see of a user and nothing else: e-mail, password and roles are auth's. An id that it
//! answered stays that user's for good, and so does the handle of who was deleted. A handle that a user changes for
//! another one waits for that user before others can take it.

mod api;
mod cleanup;
pub mod config;
pub mod domain;
mod indexing;
pub mod store;

use std::{io, sync::Arc};

use kit::{
    ClockAndRng,
    client::Peer,
    health::{HealthChecks, Readiness},
    server::{self, ServiceContext},
    shutdown::Shutdown,
};
use proto::users::v1::users_service_server::{SERVICE_NAME, UsersServiceServer};
use tokio::net::TcpListener;
use tonic::service::Routes;

pub use config::Config;
pub use store::UserStore;

/// The service, before it is served.
pub struct Users {
    /// What was configured.
    pub config: Config,
    /// Where profiles live.
    pub store: Arc<dyn UserStore>,
    /// Knows who talks with whom.
    pub messaging: Peer,
    /// Time and randomness.
    pub clock_rng: ClockAndRng,
}

impl Users {
    /// What the service needs to be ready.
    pub fn health_checks(&self) -> HealthChecks {
        let store = Arc::clone(&self.store);
        HealthChecks::new().and("database", move || {
            let store = Arc::clone(&store);
            async move { store.answers().await }
        })
    }

    /// Serves on `listener` until the shutdown's drain is over. Keeps the search terms complete, and deletes expired rows.
    pub async fn serve(
        self,
        context: ServiceContext,
        readiness: Readiness,
        listener: TcpListener,
        shutdown: Shutdown,
    ) -> io::Result<()> {
        self.config.check().map_err(io::Error::other)?;
        let most = context.limits.message_bytes;
        tokio::spawn(cleanup::run(Arc::clone(&self.store), self.clock_rng.clone(), shutdown.clone()));
        tokio::spawn(indexing::run(Arc::clone(&self.store), shutdown.clone()));
        let api = kit::compressing!(UsersServiceServer::new(api::Api::new(self, most)))
            .max_decoding_message_size(most)
            .max_encoding_message_size(most);
        server::serve(&context, SERVICE_NAME, Routes::new(api), &readiness, listener, shutdown).await
    }
}
