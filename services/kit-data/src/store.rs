//! The base of the stores: connection pools, migrations, and what both databases have in common.

mod config;
mod error;
mod gauge;
mod migrate;
mod outage;
mod pool;
pub mod postgres;
pub mod sqlite;
mod timestamp;

use std::path::PathBuf;

use sqlx::migrate::Migrator;

pub use config::{Config, OlderSchema, Settings};
pub use error::{Error, violated};
pub use migrate::Migrated;
pub use pool::{Pool, Transaction};
pub use timestamp::DbTimestamp;

use kit::config::Secret;

/// The location of a service's data.
#[derive(Debug, Clone)]
pub enum Location {
    /// A PostgreSQL database, by URL.
    Postgres(Secret),
    /// A SQLite file.
    Sqlite(PathBuf),
}

/// Why a store cannot be opened, in one line for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unopened(pub String);

/// Checks the URL in the configuration key `key`, without a connection. An empty URL is valid: the data is in SQLite.
pub fn check_url(key: &str, url: &Secret) -> Result<(), String> {
    if url.expose().is_empty() { Ok(()) } else { postgres::check_url(key, url) }
}

/// The version of the newest migration in `migrator`.
pub fn newest(migrator: &Migrator) -> i64 {
    migrator.iter().map(|m| m.version).max().unwrap_or(0)
}
