//! Takes what was deleted out of the write-ahead log: until a checkpoint truncates it, the log holds pages as they were.

use std::{
    path::{Path, PathBuf},
    sync::Weak,
    time::Duration,
};

use sqlx::{ConnectOptions as _, Row as _, sqlite::SqliteConnectOptions};

use crate::{error::chain, store::outage::Outage};

/// How long a checkpoint waits for readers and the writer. They wait for it meanwhile.
const PATIENCE: Duration = Duration::from_millis(200);
/// After how long it is tried again when they were in the way.
const RETRY: Duration = Duration::from_millis(500);

/// Truncates the log every `interval`, until nothing else holds `user`.
pub(super) fn start(path: PathBuf, options: SqliteConnectOptions, interval: Duration, user: Weak<Outage>) {
    let options = options.busy_timeout(PATIENCE);
    let log = log_of(&path);
    tokio::spawn(async move {
        let mut pause = interval;
        loop {
            tokio::time::sleep(pause).await;
            // The probe's task holds one too.
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
                    tracing::warn!(database = %path.display(), error = %chain(&error), "the log was not truncated");
                }
            }
        }
    });
}

/// Whether everything in the log went to the file, and the log is empty.
async fn truncate(options: &SqliteConnectOptions) -> sqlx::Result<bool> {
    let mut connection = options.connect().await?;
    let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await?;
    let busy: i64 = row.try_get(0)?;
    sqlx::Connection::close(connection).await?;
    Ok(busy == 0)
}

/// SQLite's name for it.
fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}
