//! The first connection to PostgreSQL at a start. Its errors name the configuration key and the fix, never the password.

use std::{io, str::FromStr as _, time::Duration};

use sqlx::{ConnectOptions as _, PgConnection, postgres::PgConnectOptions};
use tokio::time::{Instant, sleep, timeout_at};

use kit::{config::Secret, error::chain};

/// How long a start waits for a server that is starting too.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// The time between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// Parses the URL that the configuration key `key` holds.
pub(super) fn options(key: &str, url: &Secret) -> Result<PgConnectOptions, String> {
    const EXPECTED: &str = "expected postgres://USER:PASSWORD@HOST:PORT/DATABASE";
    // sqlx accepts every scheme.
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.expose().starts_with(scheme)) {
        return Err(format!("{key}: {EXPECTED}"));
    }
    PgConnectOptions::from_str(url.expose()).map_err(|e| format!("{key}: {EXPECTED}: {}", chain(&e)))
}

/// The server, for messages to the operator.
pub(super) fn place(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

/// Connects. Waits for a server that is starting, and logs that it waits.
pub(super) async fn connect(key: &str, options: &PgConnectOptions) -> Result<PgConnection, String> {
    let (deadline, place) = (Instant::now() + START_TIMEOUT, place(options));
    let mut waits = false;
    loop {
        let Ok(attempt) = timeout_at(deadline, options.connect()).await else {
            return Err(format!("{key}: {place} cannot be reached: no response in {} s", START_TIMEOUT.as_secs()));
        };
        let error = match attempt {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        let why = explain(key, &place, options, &error);
        if !may_be_starting(&error) || Instant::now() + PAUSE >= deadline {
            return Err(why);
        }
        if !std::mem::replace(&mut waits, true) {
            tracing::warn!(
                why,
                "the database does not accept connections yet; trying for {} s",
                START_TIMEOUT.as_secs()
            );
        }
        sleep(PAUSE).await;
    }
}

fn is_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

fn may_be_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => is_refused(error),
        // too_many_connections, cannot_connect_now
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("53300" | "57P03")),
        _ => false,
    }
}

fn explain(key: &str, place: &str, options: &PgConnectOptions, error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(error) if is_refused(error) => {
            format!("{key}: connection refused: is PostgreSQL running at {place}?")
        }
        sqlx::Error::Database(error) => match error.code().as_deref() {
            // invalid_catalog_name
            Some("3D000") => {
                let database = options.get_database().unwrap_or(options.get_username());
                format!("{key}: database {database:?} does not exist on {place}; create it")
            }
            // invalid_password, invalid_authorization_specification
            Some("28P01" | "28000") => {
                format!("{key}: {place} refuses this user or password: {}", error.message())
            }
            _ => format!("{key}: {place} refuses the connection: {}", error.message()),
        },
        other => format!("{key}: {place} cannot be reached: {}", chain(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_of_another_database_is_refused_without_its_password() {
        for url in ["mysql://u:hunter2@db/x", "db:5432", "postgres:hunter2", "postgres://u:hunter2@db:port/x"] {
            let why = options("users.database_url", &url.to_owned().into()).unwrap_err();
            assert!(
                why.starts_with("users.database_url: expected postgres://USER:PASSWORD@HOST:PORT/DATABASE"),
                "{why}"
            );
            assert!(!why.contains("hunter2"), "{why}");
        }
        for url in ["postgres://u@db/x", "postgresql://db"] {
            assert!(options("users.database_url", &url.to_owned().into()).is_ok(), "{url}");
        }
    }
}
