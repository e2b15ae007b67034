//! Row locks of PostgreSQL, held by a test in a session of its own. Included by the test binaries of the services.

use std::time::Duration;

use kit::store::Location;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

/// How long sessions get to reach the lock. Far above what they need on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A session with an open transaction, and another one that counts who waits for a lock.
pub(crate) struct Holder {
    session: PgConnection,
    /// Apart, because a transaction sees the activity of other sessions as of its first look.
    observer: PgConnection,
}

impl Holder {
    /// Begins a transaction in `schema`.
    pub(crate) async fn begin(location: &Location, schema: &str) -> Self {
        let Location::Postgres(url) = location else { panic!("only PostgreSQL has row locks: {location:?}") };
        let mut session = PgConnection::connect(url.expose()).await.unwrap();
        let observer = PgConnection::connect(url.expose()).await.unwrap();
        session.execute(AssertSqlSafe(format!("SET search_path TO {schema}"))).await.unwrap();
        session.execute("BEGIN").await.unwrap();
        Self { session, observer }
    }

    /// Keeps everybody else from reading and writing a table.
    pub(crate) async fn lock_table(&mut self, table: &str) {
        self.session.execute(AssertSqlSafe(format!("LOCK TABLE {table}"))).await.unwrap();
    }

    /// Runs a statement in the transaction; it must match a row.
    pub(crate) async fn run(&mut self, statement: &'static str, ids: &[Uuid]) {
        let query = ids.iter().fold(sqlx::query(statement), |query, id| query.bind(*id));
        let done = query.execute(&mut self.session).await.unwrap();
        assert!(done.rows_affected() > 0, "{statement}");
    }

    /// Waits until exactly `count` other sessions of the database wait for a lock.
    pub(crate) async fn waiters(&mut self, count: i64) {
        let statement = "SELECT count(*) FROM pg_stat_activity \
             WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let all_wait = async {
            loop {
                let waiting: i64 = sqlx::query_scalar(statement).fetch_one(&mut self.observer).await.unwrap();
                assert!(waiting <= count, "{waiting} sessions wait, and not {count}");
                if waiting == count {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, all_wait).await.expect("the sessions reach the lock");
    }

    /// Commits, which lets the waiting sessions go on in the order in which they came.
    pub(crate) async fn release(mut self) {
        self.session.execute("COMMIT").await.unwrap();
    }
}
