//! A fresh database of each kind for one test. Included by `#[path]` from each service's test binary.

use kit::{Ambient, config::Secret, store::Location};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;

/// An empty database, and what keeps it alive.
pub(crate) struct Fresh {
    pub(crate) location: Location,
    _folder: Option<TempDir>,
}

/// A SQLite file of its own.
pub(crate) async fn sqlite() -> Fresh {
    let folder = TempDir::new().unwrap();
    Fresh { location: Location::Sqlite(folder.path().join("test.db")), _folder: Some(folder) }
}

/// A PostgreSQL database of its own, on the tests' server.
pub(crate) async fn postgres() -> Fresh {
    #[expect(clippy::disallowed_methods, reason = "the tests' own setting")]
    let server = std::env::var("TRELLIS_TEST_POSTGRES");
    let server = server.expect("TRELLIS_TEST_POSTGRES is not set: run cargo xtask test");
    let name = format!("t_{}", Ambient::system().new_id().simple());
    let mut connection = PgConnection::connect(&server).await.expect("the tests' PostgreSQL answers");
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
    let (base, _) = server.rsplit_once('/').unwrap();
    Fresh { location: Location::Postgres(Secret::from(format!("{base}/{name}"))), _folder: None }
}

/// Runs each test, an `async fn(Fresh)` beside the macro, on both databases.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::databases::sqlite().await).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::databases::postgres().await).await;
            })*
        }
    };
}

pub(crate) use on_both;
