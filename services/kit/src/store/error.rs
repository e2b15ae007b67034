//! What a failed statement means.

use std::{fmt, time::Duration};

use super::outage;
use crate::bulkhead::Refused;

/// After how long a change may be tried again that others were in the way of.
const RETRY: Duration = Duration::from_secs(1);

/// A failed statement. What a broken constraint means is the domain's to say: see [`violated`].
#[derive(Debug)]
pub enum Error {
    /// The database does not respond, takes no changes, or is too busy: a repeat may work.
    Unavailable(sqlx::Error),
    /// The statement waited too long for a lock, or took too long: others are in the way.
    Locked(sqlx::Error),
    /// The same, before a connection was taken.
    Refused(Refused),
    /// Anything else: a defect of ours or of the data.
    Failed(sqlx::Error),
    /// A stored value that the code does not understand.
    Corrupt(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(_) => f.write_str("the database is not available"),
            Self::Locked(_) => f.write_str("a statement took too long"),
            Self::Refused(_) => f.write_str("a change was not started"),
            Self::Failed(_) => f.write_str("a statement failed"),
            Self::Corrupt(what) => write!(f, "a stored value cannot be read: {what}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unavailable(error) | Self::Locked(error) | Self::Failed(error) => Some(error),
            Self::Refused(refused) => Some(refused),
            Self::Corrupt(_) => None,
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
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
                tracing::warn!(error = %crate::error::chain(&error), "the database cannot be used");
                crate::error::unavailable("the database")
            }
            Error::Locked(_) => {
                tracing::warn!(error = %crate::error::chain(&error), "a statement was stopped");
                locked()
            }
            Error::Refused(Refused::Elapsed) => locked(),
            Error::Refused(Refused::Full) => crate::error::exhausted(
                "TOO_MANY_CHANGES",
                "too many changes of the same thing at once; try again later",
                RETRY,
            ),
            Error::Failed(_) | Error::Corrupt(_) => crate::error::internal(&error),
        }
    }
}

fn locked() -> tonic::Status {
    crate::error::later("LOCKED", "other changes of the same thing took too long; try again", RETRY)
}

/// What an error of the database says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Another server may be the one to ask: what is connected to this one is to be looked at again.
    Replaced,
    Unavailable,
    Locked,
    Failed,
}

fn meaning(error: &sqlx::Error) -> Meaning {
    match error {
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

/// By SQLSTATE for PostgreSQL, by the result's number for SQLite.
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

/// The name of the unique constraint that a statement broke, as PostgreSQL names it: `table_column_key`.
/// SQLite only tells the columns; the name is made of them.
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
    fn codes_mean_what_the_documentation_says() {
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
