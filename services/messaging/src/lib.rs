//! The messaging service: conversations, their messages, and delivery to subscribed clients.
//!
//! Each conversation is one gap-free log. An acknowledged message is on disk; a client may send an unacknowledged one
//! again under the same client id. The service stores only ids of users; the users service decides which users exist.

mod api;
pub mod config;
mod delivery;
pub mod domain;
mod service;
pub mod store;
mod wire;

use std::{io, sync::Arc};

use kit::{
    health::{HealthChecks, Readiness},
    server::{self, ServiceContext},
    shutdown::Shutdown,
};
use kit_data::audit::Sealer;
use proto::messaging::v1::messaging_service_server::MessagingServiceServer;
use tokio::net::TcpListener;
use tonic::service::Routes;

pub use config::Config;
use delivery::Hub;
pub use proto::messaging::v1::messaging_service_server::SERVICE_NAME;
pub use service::Messaging;
pub use store::MessagingStore;

impl Messaging {
    /// The checks that readiness depends on.
    pub fn health_checks(&self) -> HealthChecks {
        let store = Arc::clone(&self.store);
        HealthChecks::new().and("database", move || {
            let store = Arc::clone(&store);
            async move { store.is_reachable().await }
        })
    }

    /// Serves on `listener` until the shutdown's drain is over.
    pub async fn serve(
        self,
        context: ServiceContext,
        readiness: Readiness,
        listener: TcpListener,
        shutdown: Shutdown,
    ) -> io::Result<()> {
        let most = context.limits.message_bytes;
        let context = context.with_audit(self.store.audit().clone());
        let sealer = Sealer::new(self.store.audit().clone(), self.audit.clone(), self.clock_rng.clone());
        tokio::spawn(sealer.clone().run(shutdown.clone()));
        let keys = Arc::clone(&context.keys);
        let hub = Hub::start(&self, keys, shutdown.clone());
        let api = kit::compressing!(MessagingServiceServer::new(api::Api::new(self, hub, most)))
            .max_decoding_message_size(most)
            .max_encoding_message_size(most);
        let served = server::serve(&context, SERVICE_NAME, Routes::new(api), &readiness, listener, shutdown).await;
        sealer.finish().await;
        served
    }
}
