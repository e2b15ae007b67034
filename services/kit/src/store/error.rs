//! What a failed statement means.

use std::fmt;

/// A failed statement. What a broken constraint means is the domain's to say: see [`violated`].
#[derive(Debug)]
pub enum Error {
    /// The database does not answer, or is too busy: a repeat may work.
    Unavailable(sqlx::Error),
    /// Anything else: a defect of ours or of the data.
    Failed(sqlx::Error),
    /// A stored value that the code does not understand.
    Corrupt(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(_) => f.write_str("the database is not available"),
            Self::Failed(_) => f.write_str("a statement failed"),
            Self::Corrupt(what) => write!(f, "a stored value cannot be read: {what}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unavailable(error) | Self::Failed(error) => Some(error),
            Self::Corrupt(_) => None,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if is_unavailable(&error) { Self::Unavailable(error) } else { Self::Failed(error) }
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        match &error {
            Error::Unavailable(_) => {
                tracing::warn!(error = %crate::error::chain(&error), "the database does not answer");
                crate::error::unavailable("the database")
            }
            _ => crate::error::internal(&error),
        }
    }
}

/// SQLSTATE classes 08 (connection), 53 (resources), 57P0x (shutting down), 40 (serialisation, deadlock).
fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(e) => e.code().is_some_and(|code| {
            ["08", "53", "57P0", "40"].iter().any(|class| code.len() == 5 && code.starts_with(class))
        }),
        _ => false,
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
