//! The configuration of the audit logs.

use std::time::Duration;

use kit::config::Span;
use serde::{Deserialize, Serialize};

/// The section `[audit]`, for the audit logs of all services.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// The file with the keys that encrypt the keys of persons ([`kit::keyring`]). Empty: these are stored as they are.
    pub key_file: String,
    /// How long records are kept. `0s`: forever.
    pub retention: Span,
    /// How often new records are sealed, and refusals stored.
    pub seal_interval: Span,
    /// Records of refusals that a process stores in a minute with their callers and targets.
    pub refusals_per_minute: u32,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            key_file: String::new(),
            retention: Span(Duration::from_secs(400 * 86_400)),
            seal_interval: Span(Duration::from_secs(1)),
            refusals_per_minute: 300,
        }
    }
}
