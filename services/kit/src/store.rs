//! The base of the stores: connection pools, migrations, and what both databases have in common.

mod config;
mod error;
mod gauge;
mod outage;
mod pool;
pub mod postgres;
pub mod sqlite;
mod timestamp;

use std::path::PathBuf;

use sqlx::migrate::{MigrateError, Migrator};

pub use config::{Config, Settings};
pub use error::{Error, violated};
pub use pool::{Pool, Transaction};
pub use timestamp::DbTimestamp;

use crate::{config::Secret, error::chain};

/// The tracing target of sqlx's statement log: it contains the text of each statement, never its values.
pub(crate) const STATEMENTS: &str = "sqlx::query";

/// The location of a service's data.
#[derive(Debug, Clone)]
pub enum Location {
    /// A PostgreSQL database, by URL.
    Postgres(Secret),
    /// A SQLite file.
    Sqlite(PathBuf),
}

/// Why a store cannot be opened, in one line for the operator.
#[derive(Debug)]
pub struct Unopened(pub String);

impl std::fmt::Display for Unopened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unopened {}

/// The operator's message for a failed migration. `place` is the database without secrets.
fn refused(place: &str, error: &MigrateError) -> Unopened {
    Unopened(match error {
        MigrateError::VersionMissing(version) | MigrateError::VersionTooNew(version, _) => {
            format!("{place} is newer than this program: it has migration {version}; start a newer version of trellis")
        }
        MigrateError::VersionMismatch(version) => {
            format!("{place}: migration {version} was changed after it ran; start the version of trellis that ran it")
        }
        other => format!("cannot migrate {place}: {}", chain(other)),
    })
}

/// The version of the newest migration in `migrator`.
pub fn newest(migrator: &Migrator) -> i64 {
    migrator.iter().map(|m| m.version).max().unwrap_or(0)
}
