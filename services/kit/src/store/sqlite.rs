//! SQLite: one writer connection, so that no writer ever sees BUSY, and a pool of readers beside it. What is deleted is
//! overwritten, and taken out of the log soon after.

mod purge;

use std::{path::Path, sync::Arc};

use futures_util::future::BoxFuture;
use sqlx::{
    ConnectOptions as _, Sqlite, SqliteConnection,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    Pool, Settings, Unopened, gauge, migrate,
    outage::{self, Outage, Probe, Problem},
};
use crate::error::chain;

/// How many readers work at once.
const READERS: u32 = 4;
/// A transaction that reads first and writes then would get BUSY at once when another has written.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// The two ways into a file.
#[derive(Clone)]
pub struct Pools {
    /// Readers.
    pub read: Pool<Sqlite>,
    /// The one writer.
    pub write: Pool<Sqlite>,
}

/// Opens the file, makes it when it is missing, and brings it up to date.
pub fn open<'a>(
    path: &'a Path,
    settings: &'a Settings,
    migrator: &'a Migrator,
) -> BoxFuture<'a, Result<Pools, Unopened>> {
    // Boxed, because the compiler does not see of sqlx's own futures that a task may hold them.
    Box::pin(opened(path, settings, migrator))
}

async fn opened(path: &Path, settings: &Settings, migrator: &Migrator) -> Result<Pools, Unopened> {
    let place = path.display().to_string();
    let failed = |e: sqlx::Error| Unopened(format!("{place} cannot be opened: {}", chain(&e)));
    let config = &settings.database;
    // The writer's turn is SQLite's only lock.
    let patience = config.statement_timeout.0;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // FULL: an acknowledged transaction survives a power failure.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // What is deleted is overwritten with zeros.
        .pragma("secure_delete", "ON")
        .busy_timeout(patience);
    let pool = || SqlitePoolOptions::new().acquire_timeout(patience).idle_timeout(None).max_lifetime(None);
    let write = pool().max_connections(1).connect_with(options.clone()).await.map_err(failed)?;
    let mut connection = write.acquire().await.map_err(failed)?;
    let and_else = format!(
        ", or move {} away to begin with empty data",
        path.parent().unwrap_or_else(|| Path::new(".")).display()
    );
    let migrated = migrate::run(migrator, &mut *connection).await;
    settings.migrated.set(migrated.map_err(|e| migrate::refused(&place, &and_else, &e))?).ok();
    drop(connection);
    let reading = options.clone().read_only(true);
    let read = pool().max_connections(READERS).connect_with(reading.clone()).await.map_err(failed)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    gauge::watch(format!("{name} read"), &read);
    gauge::watch(format!("{name} write"), &write);
    let outage = Outage::none();
    let probe = SqliteProbe { connection: reading.connect().await.map_err(failed)? };
    outage::watch(name.into_owned(), &outage, probe);
    purge::start(path.to_owned(), options, config.purge_interval.0, Arc::downgrade(&outage));
    let kit = |pool, begin| Pool::new(pool, config, patience, Arc::clone(&outage), begin);
    Ok(Pools { read: kit(read, None), write: kit(write, Some(BEGIN)) })
}

/// Reads the file, on a connection of its own.
struct SqliteProbe {
    connection: SqliteConnection,
}

impl Probe for SqliteProbe {
    async fn ask(&mut self) -> Result<(), Problem> {
        let asked = sqlx::query("SELECT count(*) FROM sqlite_schema").execute(&mut self.connection).await;
        // A file that cannot be read is no reason to refuse calls at once: each says itself what is wrong.
        asked.map(drop).map_err(Problem::Refused)
    }
}
