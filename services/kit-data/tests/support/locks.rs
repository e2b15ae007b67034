//! Row locks of PostgreSQL, held by a test in a session of its own. Included by the test binaries of the services.

use std::time::Duration;

use kit_data::store::Location;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

/// The time for sessions to reach the lock; a busy machine needs far less.
const LIMIT: Duration = Duration::from_secs(60);

/// A session with an open transaction, and another one that counts sessions waiting for a lock.
pub(crate) struct Holder {
    session: PgConnection,
    /// Separate, because a transaction sees other sessions' activity as of its first query.
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

    /// Blocks all other sessions from reading and writing a table.
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
                assert!(waiting <= count, "{waiting} sessions wait instead of {count}");
                if waiting == count {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, all_wait).await.expect("the sessions reach the lock");
    }

    /// Commits, so that the waiting sessions continue in their order of arrival.
    pub(crate) async fn release(mut self) {
        self.session.execute("COMMIT").await.unwrap();
    }
}
