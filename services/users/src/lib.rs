//! The users service: public profiles, and the directory of them.
//!
//! It owns the public data of users only: e-mail addresses, passwords and roles belong to auth. The id of a user and
//! the handle of a deleted user are never assigned again. A handle that a user has changed stays reserved for that user
//! during a cooling period.

mod api;
mod cleanup;
pub mod config;
pub mod domain;
mod indexing;
mod service;
pub mod store;

use std::{io, sync::Arc};

use kit::{
    health::{HealthChecks, Readiness},
    server::{self, ServiceContext},
    shutdown::Shutdown,
};
use kit_data::audit::Sealer;
use proto::users::v1::users_service_server::UsersServiceServer;
use tokio::net::TcpListener;
use tonic::service::Routes;

pub use config::Config;
pub use proto::users::v1::users_service_server::SERVICE_NAME;
pub use service::Users;
pub use store::UserStore;

impl Users {
    /// The checks that readiness depends on.
    pub fn health_checks(&self) -> HealthChecks {
        let store = Arc::clone(&self.store);
        HealthChecks::new().and("database", move || {
            let store = Arc::clone(&store);
            async move { store.is_reachable().await }
        })
    }

    /// Serves on `listener` until the shutdown's drain is over. Also runs the indexing of search terms and the cleanup.
    pub async fn serve(
        self,
        context: ServiceContext,
        readiness: Readiness,
        listener: TcpListener,
        shutdown: Shutdown,
    ) -> io::Result<()> {
        self.config.check().map_err(io::Error::other)?;
        let most = context.limits.message_bytes;
        let context = context.with_audit(self.store.audit().clone());
        let sealer = Sealer::new(self.store.audit().clone(), self.audit.clone(), self.clock_rng.clone());
        tokio::spawn(sealer.clone().run(shutdown.clone()));
        tokio::spawn(cleanup::run(Arc::clone(&self.store), self.clock_rng.clone(), shutdown.clone()));
        tokio::spawn(indexing::run(Arc::clone(&self.store), shutdown.clone()));
        let api = kit::compressing!(UsersServiceServer::new(api::Api::new(self, most)))
            .max_decoding_message_size(most)
            .max_encoding_message_size(most);
        let served = server::serve(&context, SERVICE_NAME, Routes::new(api), &readiness, listener, shutdown).await;
        sealer.finish().await;
        served
    }
}
