//! The service: its configuration, its store, and the parts of the mesh that it uses.

use std::sync::Arc;

use kit::{ClockAndRng, bus::Bus, client::Peer, limiter::RateLimiter};
use kit_data::{audit::AuditConfig, jobs};

use crate::{config::Config, keys::Keys, mail::Mail, store::AuthStore};

/// The service before it starts to serve.
pub struct Auth {
    /// The configuration.
    pub config: Config,
    /// The configuration of its jobs.
    pub jobs: jobs::JobsConfig,
    /// The configuration of its audit log.
    pub audit: AuditConfig,
    /// Stores accounts and sessions.
    pub store: Arc<dyn AuthStore>,
    /// Sign access tokens and encrypt refresh tokens.
    pub keys: Keys,
    /// Writes and delivers mails.
    pub mail: Arc<Mail>,
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
