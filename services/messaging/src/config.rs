//! What can be configured.

use std::time::Duration;

use kit::config::{Secret, Span};
use serde::{Deserialize, Serialize};

/// The section `[messaging]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where gRPC is served.
    pub listen: String,
    /// `postgres://…`. Empty: SQLite in the data folder.
    pub database_url: Secret,
    /// Connections to PostgreSQL.
    pub pool_size: u32,
    /// Conversations that one user may be in.
    pub conversations_per_user: u32,
    /// Rows that the list calls of one user may read at once.
    pub listed_rows_per_user: u32,
    /// Subscribe streams that one session may hold at once.
    pub streams_per_session: usize,
    /// Subscribe streams that one user may hold at once.
    pub streams_per_user: usize,
    /// Bytes that a stream reads ahead of its client.
    pub undelivered_bytes: usize,
    /// A sign of life on a quiet stream comes this often.
    pub heartbeat: Span,
    /// How long the users service gets to say who exists.
    pub users_timeout: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7003".to_owned(),
            database_url: Secret::default(),
            pool_size: 10,
            conversations_per_user: 10_000,
            listed_rows_per_user: 200,
            streams_per_session: 8,
            streams_per_user: 32,
            undelivered_bytes: 1024 * 1024,
            heartbeat: Span(Duration::from_secs(20)),
            users_timeout: Span(Duration::from_secs(2)),
        }
    }
}
