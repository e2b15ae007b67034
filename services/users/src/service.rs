//! The service: its configuration, its store, and the parts of the mesh that it uses.

use std::sync::Arc;

use kit::{ClockAndRng, client::Peer};
use kit_data::audit::AuditConfig;

use crate::{config::Config, store::UserStore};

/// The service before it starts to serve.
pub struct Users {
    /// The configuration.
    pub config: Config,
    /// The configuration of its audit log.
    pub audit: AuditConfig,
    /// Stores the profiles.
    pub store: Arc<dyn UserStore>,
    /// The messaging service, which lists a user's contacts.
    pub messaging: Peer,
    /// Time and randomness.
    pub clock_rng: ClockAndRng,
}
