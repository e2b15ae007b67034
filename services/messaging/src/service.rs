//! The service: its configuration, its store, and the parts of the mesh that it uses.

use std::sync::Arc;

use kit::{ClockAndRng, bus::Bus, client::Peer};
use kit_data::audit::AuditConfig;

use crate::{config::Config, store::MessagingStore};

/// The service before it starts to serve.
pub struct Messaging {
    /// The configuration.
    pub config: Config,
    /// The configuration of its audit log.
    pub audit: AuditConfig,
    /// The store of conversations.
    pub store: Arc<dyn MessagingStore>,
    /// Carries wake-ups between replicas.
    pub bus: Arc<dyn Bus>,
    /// The users service, which reports which users exist.
    pub users: Peer,
    /// Time and randomness.
    pub clock_rng: ClockAndRng,
}
