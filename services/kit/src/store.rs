//! The ground under the stores: connections, migrations, and the few things that both databases must agree on.

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

/// The tracing target under which sqlx tells of each statement: its text, never its values.
pub(crate) const STATEMENTS: &str = "sqlx::query";

/// Where a service's data lives.
#[derive(Debug, Clone)]
pub enum Location {
    /// A PostgreSQL database, by URL.
    Postgres(Secret),
    /// A SQLite file.
    Sqlite(PathBuf),
}

/// Why a store cannot be opened, for one line on the terminal.
#[derive(Debug)]
pub struct Unopened(pub String);

impl std::fmt::Display for Unopened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unopened {}

/// What a failed migration means to whoever starts the process. `place` names the database without secrets.
fn refused(place: &str, error: &MigrateError) -> Unopened {
    Unopened(match error {
        MigrateError::VersionMissing(version) | MigrateError::VersionTooNew(version, _) => {
            format!("{place} is newer than this program: it has migration {version}; start a newer version of trellis")
        }
        MigrateError::VersionMismatch(version) => {
            format!("{place}: migration {version} was changed after it ran; restore the program that made it")
        }
        other => format!("{place} cannot be brought up to date: {}", chain(other)),
    })
}

/// The newest migration that `migrator` brings.
pub fn newest(migrator: &Migrator) -> i64 {
    migrator.iter().map(|m| m.version).max().unwrap_or(0)
}
