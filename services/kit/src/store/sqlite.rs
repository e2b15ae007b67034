//! SQLite: one writer connection, so that no writer ever sees BUSY, and a pool of readers beside it.

use std::{path::Path, time::Duration};

use sqlx::{
    SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Unopened, gauge, refused};
use crate::error::chain;

/// How many readers work at once.
const READERS: u32 = 4;
/// How long a call waits for the writer's turn.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// The two ways into a file.
#[derive(Clone)]
pub struct Pools {
    /// Readers.
    pub read: SqlitePool,
    /// The one writer.
    pub write: SqlitePool,
}

/// Opens the file, makes it when it is missing, and brings it up to date.
pub async fn open(path: &Path, migrator: &Migrator) -> Result<Pools, Unopened> {
    let place = path.display().to_string();
    let failed = |e: sqlx::Error| Unopened(format!("{place} cannot be opened: {}", chain(&e)));
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // FULL: an acknowledged transaction survives a power failure.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(ACQUIRE_TIMEOUT);
    let pool = || SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT).idle_timeout(None).max_lifetime(None);
    let write = pool().max_connections(1).connect_with(options.clone()).await.map_err(failed)?;
    migrator.run(&write).await.map_err(|e| refused(&place, &e))?;
    let read = pool().max_connections(READERS).connect_with(options.read_only(true)).await.map_err(failed)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    gauge::watch(format!("{name} read"), &read);
    gauge::watch(format!("{name} write"), &write);
    Ok(Pools { read, write })
}
