//! SQLite: one writer connection, so that no writer gets SQLITE_BUSY, and a pool of readers. Deleted data is
//! overwritten, and removed from the write-ahead log soon after.

mod purge;

use std::{path::Path, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use sqlx::{
    ConnectOptions as _, Connection as _, Sqlite, SqliteConnection,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    Config, OlderSchema, Pool, Settings, Unopened, gauge, migrate,
    outage::{self, Outage, Probe, Problem},
    pool::Waits,
};
use kit::error::chain;

/// The number of connections for reads.
const READERS: u32 = 4;
/// A deferred transaction that writes after a read fails with SQLITE_BUSY if another one has written in between.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// The two pools of a file.
#[derive(Clone)]
pub struct Pools {
    /// The pool for reads.
    pub read: Pool<Sqlite>,
    /// The pool with the one writer.
    pub write: Pool<Sqlite>,
}

/// Opens the file, creates it if it is missing, and applies the migrations.
pub fn open<'a>(
    path: &'a Path,
    settings: &'a Settings,
    migrator: &'a Migrator,
) -> BoxFuture<'a, Result<Pools, Unopened>> {
    // Boxed, because the compiler cannot prove that sqlx's futures are Send.
    Box::pin(opened(path, settings, migrator))
}

async fn opened(path: &Path, settings: &Settings, migrator: &Migrator) -> Result<Pools, Unopened> {
    let config = &settings.database;
    let failed = |e: sqlx::Error| unopened(path, &e);
    let creates = settings.older_schema == OlderSchema::Migrate;
    let options = options(path, lock_wait(config)).create_if_missing(creates).journal_mode(SqliteJournalMode::Wal);
    bring_up_to_date(path, &options, settings, migrator).await?;
    let limit = config.statement_timeout.0;
    let pool = || SqlitePoolOptions::new().acquire_timeout(limit).idle_timeout(None).max_lifetime(None);
    let write = pool().max_connections(1).connect_with(options.clone()).await.map_err(failed)?;
    let reading = options.clone().read_only(true);
    let read = pool().max_connections(READERS).connect_with(reading.clone()).await.map_err(failed)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    gauge::watch(format!("{name} read"), &read);
    gauge::watch(format!("{name} write"), &write);
    let outage = Outage::none();
    let probe = SqliteProbe { connection: reading.connect().await.map_err(failed)? };
    outage::watch(name.into_owned(), &outage, probe);
    purge::start(path.to_owned(), options, config.purge_interval.0, Arc::downgrade(&outage));
    let reads = Waits { connection: limit, begin: limit, is_lock: false };
    let kit = |pool, waits, begin| Pool::new(pool, config, waits, Arc::clone(&outage), begin);
    Ok(Pools { read: kit(read, reads, None), write: kit(write, writes(config), Some(BEGIN)) })
}

/// Migrates on a separate connection with a separate timeout, as on PostgreSQL.
async fn bring_up_to_date(
    path: &Path,
    options: &SqliteConnectOptions,
    settings: &Settings,
    migrator: &Migrator,
) -> Result<(), Unopened> {
    let options = options.clone().busy_timeout(settings.database.migration_lock_timeout.0);
    let mut connection = options.connect().await.map_err(|e| unopened(path, &e))?;
    let and_else = format!(
        ", or move {} away to begin with empty data",
        path.parent().unwrap_or_else(|| Path::new(".")).display()
    );
    let place = path.display().to_string();
    let migrated = match settings.older_schema {
        OlderSchema::Migrate => {
            let migrated = migrate::run(migrator, &mut connection).await;
            migrated.map_err(|e| migrate::refused(&place, &and_else, &e))?
        }
        OlderSchema::Refuse => migrate::check(migrator, &mut connection, &place).await?,
    };
    settings.migrated.set(migrated).ok();
    connection.close().await.map_err(|e| unopened(path, &e))
}

fn unopened(path: &Path, error: &sqlx::Error) -> Unopened {
    Unopened(format!("cannot open {}: {}", path.display(), chain(error)))
}

/// How long a statement waits for a lock of the file that another process holds.
fn lock_wait(config: &Config) -> Duration {
    config.acquire_timeout.0
}

/// The waits for the writer. With the wait in the bulkhead they are as long as those of PostgreSQL, which
/// [`Config::check`] bounds: the caller gets LOCKED before the shortest deadline, and nothing is stored afterwards.
fn writes(config: &Config) -> Waits {
    // SQLite itself ends BEGIN, with SQLITE_BUSY. The limit is for a disk that does not respond.
    Waits { connection: config.lock_timeout.0, begin: 2 * lock_wait(config), is_lock: true }
}

/// The options of every connection. `limit` is the wait for a lock of the file.
fn options(path: &Path, limit: Duration) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        // FULL: an acknowledged transaction survives a power failure.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // Overwrites deleted data with zeros.
        .pragma("secure_delete", "ON")
        .busy_timeout(limit)
}

/// Connects to an existing file beside the process that uses it, for the operator. A statement waits for that process.
pub(crate) async fn connect(path: &Path) -> Result<SqliteConnection, Unopened> {
    let options = options(path, Config::default().statement_timeout.0);
    options.connect().await.map_err(|e| unopened(path, &e))
}

/// Reads the file on its own connection.
struct SqliteProbe {
    connection: SqliteConnection,
}

impl Probe for SqliteProbe {
    async fn ask(&mut self) -> Result<(), Problem> {
        let result = sqlx::query("SELECT count(*) FROM sqlite_schema").execute(&mut self.connection).await;
        // An unreadable file does not open the circuit breaker: each call reports its own error.
        result.map(drop).map_err(Problem::Refused)
    }
}
