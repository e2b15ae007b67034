//! What can be configured.

use std::time::Duration;

use kit::config::{Secret, Span};
use serde::{Deserialize, Serialize};

/// The section `[users]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where gRPC is served.
    pub listen: String,
    /// `postgres://…`. Empty: SQLite in the data folder.
    pub database_url: Secret,
    /// Connections to PostgreSQL.
    pub pool_size: u32,
    /// Whom the directory shows.
    pub directory: Directory,
    /// How long the messaging service gets to tell a user's contacts, where the directory shows only those.
    pub messaging_timeout: Span,
}

/// Whom the directory shows to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Directory {
    /// The people that one shares a conversation with, and whoever's exact handle one knows.
    Contacts,
    /// Everybody.
    Everybody,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7001".to_owned(),
            database_url: Secret::default(),
            pool_size: 10,
            directory: Directory::Contacts,
            messaging_timeout: Span(Duration::from_secs(3)),
        }
    }
}
