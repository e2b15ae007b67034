//! A fresh database for each test, and one test per kind of database for each contract. Included by the test binaries
//! of the services, so that no crate is needed for it.

use std::time::Duration;

use kit::{
    ClockAndRng,
    config::{Secret, Span},
};
use kit_data::store::{Location, Settings};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// A database that no other test uses. If a test fails, it stays until the runner's server ends.
pub(crate) struct Database {
    pub(crate) location: Location,
    folder: Option<tempfile::TempDir>,
}

impl Database {
    /// A file in a folder of its own.
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { location: Location::Sqlite(folder.path().join("test.sqlite")), folder: Some(folder) }
    }

    /// A new database on the runner's server.
    pub(crate) async fn postgres() -> Self {
        let name = format!("t_{}", ClockAndRng::system().new_id().simple());
        let server = server();
        run(&server, format!("CREATE DATABASE {name}")).await;
        let (base, _) = server.rsplit_once('/').expect("postgres://user@host:port/database");
        Self { location: Location::Postgres(Secret::from(format!("{base}/{name}"))), folder: None }
    }

    /// Removes the database, despite open connections.
    pub(crate) async fn remove(self) {
        match (&self.location, self.folder) {
            (Location::Postgres(url), _) => {
                let (_, name) = url.expose().rsplit_once('/').expect("made by us");
                run(&server(), format!("DROP DATABASE {name} WITH (FORCE)")).await;
            }
            (Location::Sqlite(_), folder) => drop(folder),
        }
    }
}

/// Settings for tests under load or behind a lock: no timeout ends before the test's own.
pub(crate) fn patient(pool_size: u32) -> Settings {
    let mut settings = Settings::from(pool_size);
    let minute = Span(Duration::from_secs(60));
    let database = &mut settings.database;
    (database.acquire_timeout, database.lock_timeout, database.statement_timeout) = (minute, minute, minute);
    database.idle_transaction_timeout = minute;
    settings
}

async fn run(url: &str, statement: String) {
    let mut connection =
        PgConnection::connect(url).await.expect("the server of TRELLIS_TEST_POSTGRES accepts connections");
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.expect("the statement succeeds");
}

#[expect(clippy::disallowed_methods, reason = "the test runner sets the server's address")]
fn server() -> String {
    std::env::var("TRELLIS_TEST_POSTGRES").expect("TRELLIS_TEST_POSTGRES is not set: run cargo xtask test")
}

/// Makes two tests of each function: `name::on_sqlite` and `name::on_postgres`.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use crate::databases::Database;

            #[tokio::test(flavor = "multi_thread")]
            async fn on_sqlite() {
                let database = Database::sqlite();
                super::$name(&database.location).await;
                database.remove().await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn on_postgres() {
                let database = Database::postgres().await;
                super::$name(&database.location).await;
                database.remove().await;
            }
        }
    )+};
}

pub(crate) use on_both;
