//! Removes deleted data from the write-ahead log, which contains old pages until a checkpoint truncates it.

use std::{
    path::{Path, PathBuf},
    sync::Weak,
    time::Duration,
};

use sqlx::{ConnectOptions as _, Row as _, sqlite::SqliteConnectOptions};

use crate::store::outage::Outage;
use kit::error::chain;

/// How long a checkpoint waits for readers and the writer, and they for it.
const PATIENCE: Duration = Duration::from_millis(200);
/// The time before a retry after a busy checkpoint.
const RETRY: Duration = Duration::from_millis(500);

/// Truncates the log every `interval`, until the pools have dropped `user`.
pub(super) fn start(path: PathBuf, options: SqliteConnectOptions, interval: Duration, user: Weak<Outage>) {
    let options = options.busy_timeout(PATIENCE);
    let log = log_of(&path);
    tokio::spawn(async move {
        let mut pause = interval;
        loop {
            tokio::time::sleep(pause).await;
            // The probe's task holds one reference.
            if user.strong_count() <= 1 {
                return;
            }
            pause = interval;
            if tokio::fs::metadata(&log).await.map_or(true, |log| log.len() == 0) {
                continue;
            }
            match truncate(&options).await {
                Ok(true) => {}
                Ok(false) => pause = RETRY.min(interval),
                Err(error) => {
                    tracing::warn!(database = %path.display(), error = %chain(&error), "cannot truncate the write-ahead log; retrying");
                }
            }
        }
    });
}

/// Returns whether the whole log was written to the file and is now empty.
async fn truncate(options: &SqliteConnectOptions) -> sqlx::Result<bool> {
    let mut connection = options.connect().await?;
    let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await?;
    let busy: i64 = row.try_get(0)?;
    sqlx::Connection::close(connection).await?;
    Ok(busy == 0)
}

/// The path of the write-ahead log.
fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}
