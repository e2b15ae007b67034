//! What can be configured.

use kit::config::Secret;
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
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: "127.0.0.1:7001".to_owned(), database_url: Secret::default(), pool_size: 10 }
    }
}
