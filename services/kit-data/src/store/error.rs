//! Errors of statements, and their statuses.

use std::{io, time::Duration};

use super::outage;
use crate::bulkhead::Refused;

/// When the caller may retry a change that waited for others.
const RETRY: Duration = Duration::from_secs(1);

/// A failed statement. The domain handles violated constraints: see [`violated`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database does not respond, is read-only, or is too busy. A retry may succeed.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// The statement waited too long for a lock or took too long.
    #[error("a statement took too long")]
    Locked(#[source] sqlx::Error),
    /// The change waited too long for other changes, or the queue was full.
    #[error("a change was not started")]
    Refused(#[from] Refused),
    /// All other errors: a defect of the program or the data.
    #[error("a statement failed")]
    Failed(#[source] sqlx::Error),
    /// A stored value that the code cannot parse.
    #[error("a stored value cannot be read: {0}")]
    Corrupt(String),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match meaning(&error) {
            Meaning::Replaced => {
                outage::suspect();
                Self::Unavailable(error)
            }
            Meaning::Unavailable => Self::Unavailable(error),
            Meaning::Locked => Self::Locked(error),
            Meaning::Failed => Self::Failed(error),
        }
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        match &error {
            Error::Unavailable(_) => {
                tracing::warn!(error = %kit::error::chain(&error), "a statement failed because the database is not available");
                kit::error::unavailable("the database")
            }
            Error::Locked(_) => {
                tracing::warn!(error = %kit::error::chain(&error), "a statement was stopped: it waited too long for another change");
                kit::error::locked(RETRY)
            }
            Error::Refused(Refused::Elapsed) => kit::error::locked(RETRY),
            Error::Refused(Refused::Full) => kit::error::exhausted(
                "TOO_MANY_CHANGES",
                "too many changes of the same resource at once; try again later",
                RETRY,
            ),
            Error::Failed(_) | Error::Corrupt(_) => kit::error::internal(&error),
        }
    }
}

/// The class of a database error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Another server may have replaced this one: all connections are suspect.
    Replaced,
    Unavailable,
    Locked,
    Failed,
}

fn meaning(error: &sqlx::Error) -> Meaning {
    match error {
        // The writer of SQLite was not free in time, or the deadline of the call has passed.
        sqlx::Error::Io(error) if error.kind() == io::ErrorKind::ResourceBusy => Meaning::Locked,
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => Meaning::Unavailable,
        sqlx::Error::Database(error) => error.code().map_or(Meaning::Failed, |code| meaning_of(&code)),
        _ => Meaning::Failed,
    }
}

/// By SQLSTATE for PostgreSQL and by result code for SQLite.
fn meaning_of(code: &str) -> Meaning {
    match code {
        // read_only_sql_transaction; admin_shutdown, crash_shutdown, cannot_connect_now, database_dropped.
        "25006" | "57P01" | "57P02" | "57P03" | "57P04" => Meaning::Replaced,
        // lock_not_available, query_canceled (statement_timeout); SQLITE_BUSY, _RECOVERY, _SNAPSHOT, _TIMEOUT.
        "55P03" | "57014" | "5" | "261" | "517" | "773" => Meaning::Locked,
        // idle_in_transaction_session_timeout, idle_session_timeout.
        "25P03" | "57P05" => Meaning::Unavailable,
        // Connection, resources, serialisation and deadlock.
        _ if code.len() == 5 && ["08", "53", "40"].iter().any(|class| code.starts_with(class)) => Meaning::Unavailable,
        _ => Meaning::Failed,
    }
}

/// The name of the unique constraint that a statement violated, in PostgreSQL's form `table_column_key`. SQLite reports
/// only the columns; the name is derived from them.
pub fn violated(error: &sqlx::Error) -> Option<String> {
    let sqlx::Error::Database(error) = error else { return None };
    if !error.is_unique_violation() {
        return None;
    }
    if let Some(name) = error.constraint() {
        return Some(name.to_owned());
    }
    let columns = error.message().split_once("constraint failed: ")?.1;
    let (table, _) = columns.split_once('.')?;
    let names: Vec<&str> = columns.split(", ").filter_map(|c| c.split_once('.')).map(|(_, name)| name).collect();
    Some(format!("{table}_{}_key", names.join("_")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_map_to_their_documented_class() {
        for code in ["25006", "57P01", "57P02", "57P03"] {
            assert_eq!(meaning_of(code), Meaning::Replaced, "{code}");
        }
        for code in ["08000", "08006", "53100", "53200", "53300", "40001", "40P01", "25P03", "57P05"] {
            assert_eq!(meaning_of(code), Meaning::Unavailable, "{code}");
        }
        for code in ["55P03", "57014", "5", "517"] {
            assert_eq!(meaning_of(code), Meaning::Locked, "{code}");
        }
        for code in ["23505", "42P01", "25001", "53", "2067"] {
            assert_eq!(meaning_of(code), Meaning::Failed, "{code}");
        }
    }
}
