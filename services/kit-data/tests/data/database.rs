//! The connection pool on a real PostgreSQL, with stalled transactions, cancelled calls and an unavailable server.

mod link;

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use kit::{
    config::{Secret, Span},
    context::with_deadline,
};
use kit_data::store::{Config, Error, Location, Pool, Settings, postgres};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Postgres, Row as _, migrate::Migrator};
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::{
    databases::Database,
    eventually::{MOMENT, eventually},
};
use link::Link;

const SIZE: u32 = 4;

/// A database with one table of one row, and a pool on it.
struct TestDatabase {
    database: Database,
    pool: Pool<Postgres>,
}

impl TestDatabase {
    async fn new(change: impl FnOnce(&mut Config)) -> Self {
        let database = Database::postgres().await;
        let pool = open(url(&database), change).await;
        pool.execute("CREATE TABLE rooms (id INT PRIMARY KEY, n INT NOT NULL)").await.unwrap();
        pool.execute("INSERT INTO rooms VALUES (1, 0), (2, 0)").await.unwrap();
        Self { database, pool }
    }

    /// A connection outside of the pool, like that of another process.
    async fn other(&self) -> PgConnection {
        let mut other = PgConnection::connect(url(&self.database)).await.unwrap();
        other.execute("SET search_path = kit_test").await.unwrap();
        other
    }

    async fn change(&self, room: i32) -> Result<(), Error> {
        sqlx::query("UPDATE rooms SET n = n + 1 WHERE id = $1").bind(room).execute(&self.pool).await?;
        Ok(())
    }
}

fn url(database: &Database) -> &str {
    let Location::Postgres(url) = &database.location else { panic!("a PostgreSQL database") };
    url.expose()
}

async fn open(url: &str, change: impl FnOnce(&mut Config)) -> Pool<Postgres> {
    let mut settings = Settings::from(SIZE);
    change(&mut settings.database);
    let migrator = Migrator { migrations: Cow::Borrowed(&[]), ..Migrator::DEFAULT };
    postgres::open(&Secret::from(url.to_owned()), "kit_test", &settings, &migrator).await.unwrap()
}

fn millis(n: u64) -> Span {
    Span(Duration::from_millis(n))
}

/// How many connections this database has ever had.
async fn sessions(other: &mut PgConnection) -> i64 {
    let row = sqlx::query("SELECT sessions FROM pg_stat_database WHERE datname = current_database()");
    row.fetch_one(other).await.unwrap().try_get(0).unwrap()
}

/// The caller already has the error of its change.
#[tokio::test(flavor = "multi_thread")]
async fn change_is_not_stored_after_its_deadline() {
    const A_WHILE: Duration = Duration::from_millis(300);
    // Only the deadline can prevent the change: the waits end after the lock is released.
    let change =
        |config: &mut Config| (config.lock_timeout, config.statement_timeout) = (millis(60_000), millis(60_000));
    let db = TestDatabase::new(change).await;
    let mut other = db.other().await;
    other.execute("BEGIN").await.unwrap();
    other.execute("UPDATE rooms SET n = n WHERE id = 1").await.unwrap();
    let deadline = tokio::time::Instant::now() + A_WHILE;
    let in_transaction = async {
        let mut tx = db.pool.begin_on(Uuid::nil()).await?;
        tx.execute("UPDATE rooms SET n = n + 1 WHERE id = 1").await?;
        Ok(tx.commit().await?)
    };
    // The only statement of a change is not started after the deadline either.
    let single = async {
        tokio::time::sleep_until(deadline + A_WHILE).await;
        db.change(2).await
    };
    let release = async {
        tokio::time::sleep_until(deadline + A_WHILE).await;
        other.execute("ROLLBACK").await.unwrap();
    };
    let waiting = with_deadline(Some(deadline), in_transaction);
    let (waited, started_late, ()): (Result<(), Error>, _, _) =
        tokio::join!(waiting, with_deadline(Some(deadline), single), release);
    for result in [waited, started_late] {
        let status = Status::from(result.unwrap_err());
        assert_eq!(status.get_error_details().error_info().unwrap().reason, "LOCKED", "{status:?}");
    }
    let sum: i64 = sqlx::query_scalar("SELECT sum(n) FROM rooms").fetch_one(&db.pool).await.unwrap();
    assert_eq!(sum, 0);
    db.database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lock_wait_is_short_and_may_be_retried() {
    // Only the lock timeout can end the wait within the test's bound.
    let change = |config: &mut Config| (config.lock_timeout, config.statement_timeout) = (millis(300), millis(60_000));
    let db = TestDatabase::new(change).await;
    let mut other = db.other().await;
    let mut holding = other.begin().await.unwrap();
    holding.execute("UPDATE rooms SET n = 7 WHERE id = 1").await.unwrap();
    let error = timeout(MOMENT, db.change(1)).await.expect("the wait is bounded").unwrap_err();
    assert!(matches!(error, Error::Locked(_)), "{error:?}");
    let status = Status::from(error);
    assert_eq!(status.code(), Code::Unavailable);
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "LOCKED");
    assert!(details.retry_info().is_some() && status.metadata().contains_key("grpc-retry-pushback-ms"));
    db.change(2).await.expect("another row is not locked");
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_one_row_leave_connections_to_others() {
    let db = TestDatabase::new(|config| config.row_queue = 6).await;
    let mut other = db.other().await;
    let mut holding = other.begin().await.unwrap();
    holding.execute("UPDATE rooms SET n = 7 WHERE id = 1").await.unwrap();
    let row = Uuid::from_u128(1);
    let write = |pool: Pool<Postgres>| async move {
        let mut transaction = pool.begin_on(row).await?;
        transaction.execute("UPDATE rooms SET n = n + 1 WHERE id = 1").await?;
        Ok::<_, Error>(transaction.commit().await?)
    };
    let writers: Vec<_> = (0..12).map(|_| tokio::spawn(write(db.pool.clone()))).collect();
    eventually("some writers are refused at once", async || writers.iter().filter(|w| w.is_finished()).count() >= 4)
        .await;
    // The pool has four connections, and twelve writers wait for the row.
    let started = Instant::now();
    for _ in 0..20 {
        db.change(2).await.expect("other rows have connections");
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    holding.commit().await.unwrap();
    let mut refused = 0;
    for writer in writers {
        match writer.await.unwrap() {
            Ok(()) => {}
            Err(Error::Refused(_)) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 4, "two writers run and six wait");
    let full = Status::from(Error::Refused(kit_data::bulkhead::Refused::Full));
    assert_eq!((full.code(), full.get_error_details().retry_info().is_some()), (Code::ResourceExhausted, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_transaction_is_ended_by_the_server() {
    let db = TestDatabase::new(|config| {
        config.idle_transaction_timeout = millis(500);
        config.lock_timeout = Span(Duration::from_secs(3));
    })
    .await;
    let mut stalled = db.pool.begin().await.unwrap();
    stalled.execute("UPDATE rooms SET n = 7 WHERE id = 1").await.unwrap();
    db.change(1).await.expect("the row is unlocked before the lock timeout");
    let error = Error::from(stalled.commit().await.unwrap_err());
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn statement_whose_caller_left_is_stopped() {
    let db = TestDatabase::new(|config| config.statement_timeout = Span(Duration::from_secs(60))).await;
    let mut other = db.other().await;
    let pool = db.pool.clone();
    let calling = tokio::spawn(async move { pool.execute("SELECT pg_sleep(50)").await.map(drop) });
    let mut running = async || -> i64 {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
        sqlx::query(count).fetch_one(&mut other).await.unwrap().try_get(0).unwrap()
    };
    timeout(MOMENT, async { while running().await == 0 {} }).await.expect("the statement runs");
    calling.abort();
    // One second for the return to the pool, and one until the server checks its client.
    timeout(MOMENT, async { while running().await > 0 {} }).await.expect("the statement is stopped");
    db.change(1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_does_not_wait_for_the_pool() {
    let db = TestDatabase::new(|_| {}).await;
    let mut held = Vec::new();
    for _ in 0..SIZE {
        held.push(db.pool.begin().await.unwrap());
    }
    let error = Error::from(db.pool.execute("SELECT 1").await.unwrap_err());
    assert!(matches!(error, Error::Unavailable(_)), "no connection is left: {error:?}");
    sleep(Duration::from_secs(2)).await;
    assert!(db.pool.is_reachable());
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_calls_do_not_open_new_connections() {
    let db = TestDatabase::new(|_| {}).await;
    let mut other = db.other().await;
    let before = sessions(&mut other).await;
    for n in 0..600_u64 {
        let pool = db.pool.clone();
        let call = tokio::spawn(async move {
            let mut transaction = pool.begin().await?;
            transaction.execute("UPDATE rooms SET n = n + 1 WHERE id = 2").await?;
            Ok::<_, Error>(transaction.commit().await?)
        });
        tokio::spawn(async move {
            sleep(Duration::from_micros(n * 37 % 5_000)).await;
            call.abort();
        });
        sleep(Duration::from_millis(2)).await;
    }
    // PostgreSQL updates the counter a moment after a connection.
    sleep(Duration::from_secs(1)).await;
    let opened = sessions(&mut other).await - before;
    assert!(opened < 20, "{opened} connections for 600 calls");
    let left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    let left: i64 = sqlx::query(left).fetch_one(&mut other).await.unwrap().try_get(0).unwrap();
    assert_eq!(left, 0, "no transaction is open");
    db.change(1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_database_is_unavailable_until_it_is_writable() {
    let db = TestDatabase::new(|_| {}).await;
    let (base, name) = url(&db.database).rsplit_once('/').unwrap();
    let mut operator = PgConnection::connect(&format!("{base}/postgres")).await.unwrap();
    let mut turn = async |read_only: bool, end: bool| {
        let set = format!("ALTER DATABASE {name} SET default_transaction_read_only = {read_only}");
        operator.execute(AssertSqlSafe(set)).await.unwrap();
        let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
        if end {
            sqlx::query(all).bind(name).execute(&mut operator).await.unwrap();
        }
    };
    db.change(1).await.unwrap();
    turn(true, true).await;
    let failed = async |db: &TestDatabase| match db.change(1).await {
        Ok(()) => false,
        Err(Error::Unavailable(_)) => true,
        Err(other) => panic!("{other:?}"),
    };
    eventually("changes are refused", async || failed(&db).await).await;
    eventually("the database is not ready", async || failed(&db).await && !db.pool.is_reachable()).await;
    let started = Instant::now();
    for _ in 0..50 {
        assert!(failed(&db).await);
    }
    assert!(started.elapsed() < Duration::from_secs(1), "calls fail without the database: {:?}", started.elapsed());
    // Earlier connections remain read-only, and the pool does not use them any more.
    turn(false, false).await;
    eventually("changes succeed again", async || !failed(&db).await).await;
    for _ in 0..20 {
        db.change(1).await.unwrap();
    }
    assert!(db.pool.is_reachable());
}

#[tokio::test(flavor = "multi_thread")]
async fn database_that_is_away_is_unavailable_at_once() {
    let database = Database::postgres().await;
    let link = Link::to(url(&database)).await;
    let pool = open(&link.url, |_| {}).await;
    pool.execute("SELECT 1").await.unwrap();
    link.cut().await;
    eventually("the probe detects the outage", async || !pool.is_reachable()).await;
    let started = Instant::now();
    for _ in 0..20 {
        let error = Error::from(pool.execute("SELECT 1").await.unwrap_err());
        assert_eq!(Status::from(error).code(), Code::Unavailable);
    }
    assert!(started.elapsed() < Duration::from_secs(1), "20 calls: {:?}", started.elapsed());
    link.restore().await;
    eventually("the database is used again", async || pool.execute("SELECT 1").await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_network_costs_no_connection_for_good() {
    let database = Database::postgres().await;
    let link = Link::to(url(&database)).await;
    let pool = open(&link.url, |_| {}).await;
    link.silence(true);
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            // Like a handler whose deadline passes.
            tokio::spawn(async move {
                timeout(Duration::from_secs(3), pool.execute("SELECT 1")).await.is_ok_and(|r| r.is_ok())
            })
        })
        .collect();
    for call in calls {
        assert!(!call.await.unwrap());
    }
    link.silence(false);
    eventually("all connections of the pool are free again", async || {
        let mut held = Vec::new();
        for _ in 0..SIZE {
            let Ok(transaction) = pool.begin().await else { return false };
            held.push(transaction);
        }
        true
    })
    .await;
}

/// The connection works when the pool hands it out, and the network fails at BEGIN.
#[tokio::test(flavor = "multi_thread")]
async fn begin_has_a_time_limit() {
    let database = Database::postgres().await;
    let link = Link::to(url(&database)).await;
    let pool = open(&link.url, |config| config.acquire_timeout = millis(300)).await;
    pool.execute("SELECT 1").await.unwrap();
    link.silence_at(b"BEGIN");
    let begun = timeout(MOMENT, pool.begin()).await.expect("the wait is bounded");
    let error = begun.err().expect("BEGIN fails");
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    link.silence(false);
    eventually("its connection is free again", async || pool.begin().await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migration_may_take_longer_than_a_statement() {
    let database = Database::postgres().await;
    let slow = sqlx::migrate::Migration::new(
        1,
        "slow".into(),
        sqlx::migrate::MigrationType::Simple,
        sqlx::SqlSafeStr::into_sql_str("SELECT pg_sleep(1.5)"),
        false,
    );
    let migrator = Migrator { migrations: Cow::Owned(vec![slow]), ..Migrator::DEFAULT };
    let mut settings = Settings::from(SIZE);
    settings.database.lock_timeout = millis(200);
    settings.database.statement_timeout = millis(500);
    let url = Secret::from(url(&database).to_owned());
    // The second migration waits for the first one.
    let (one, other) = tokio::join!(
        postgres::open(&url, "kit_test", &settings, &migrator),
        postgres::open(&url, "kit_test", &settings, &migrator)
    );
    let pool = one.and(other).unwrap();
    let error = Error::from(pool.execute("SELECT pg_sleep(5)").await.unwrap_err());
    assert!(matches!(error, Error::Locked(_)), "calls have a separate limit: {error:?}");
}
