//! The only writer of SQLite, while another process holds the lock of the file.

use std::{borrow::Cow, time::Duration};

use kit::{config::Span, context::with_deadline};
use kit_data::store::{Error, Location, Pool, Settings, sqlite};
use sqlx::{Connection as _, Executor as _, Sqlite, SqliteConnection, migrate::Migrator};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::{databases::Database, eventually::MOMENT};

/// The time until a deadline, and from there to the release of the lock.
const A_WHILE: Duration = Duration::from_millis(300);
const INSERT: &str = "INSERT INTO notes VALUES ('a note')";

/// Waits that are as short as those of the bulkhead. Only they can end a wait within the bound of the test.
fn settings() -> Settings {
    let mut settings = Settings::from(1);
    let database = &mut settings.database;
    database.acquire_timeout = Span(Duration::from_millis(200));
    database.lock_timeout = Span(Duration::from_millis(300));
    database.statement_timeout = Span(Duration::from_secs(3600));
    settings
}

async fn insert_on(pool: Pool<Sqlite>, row: u128) -> Result<(), Error> {
    let mut tx = pool.begin_on(Uuid::from_u128(row)).await?;
    tx.execute(INSERT).await?;
    Ok(tx.commit().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn lock_of_another_process_is_reported_and_stores_nothing() {
    let database = Database::sqlite();
    let Location::Sqlite(path) = &database.location else { panic!("a SQLite file") };
    let migrator = Migrator { migrations: Cow::Borrowed(&[]), ..Migrator::DEFAULT };
    let pools = sqlite::open(path, &settings(), &migrator).await.unwrap();
    pools.write.execute("CREATE TABLE notes (text TEXT NOT NULL)").await.unwrap();

    let mut other = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    // One change waits for the lock of the file, others for the writer, and others for changes of the same row.
    let rows = (0..4).chain([9; 6]);
    let mut changes: Vec<_> = rows.map(|row| tokio::spawn(insert_on(pools.write.clone(), row))).collect();
    let single = pools.write.clone();
    changes.push(tokio::spawn(async move { Ok(single.execute(INSERT).await.map(drop)?) }));
    for change in changes {
        let error = timeout(MOMENT, change).await.expect("the wait is bounded").unwrap().unwrap_err();
        let status = Status::from(error);
        let details = status.get_error_details();
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(details.error_info().unwrap().reason, "LOCKED", "{status:?}");
        assert!(details.retry_info().is_some());
    }
    // Reads do not wait for a writer.
    let count =
        async || -> i64 { sqlx::query_scalar("SELECT count(*) FROM notes").fetch_one(&pools.read).await.unwrap() };
    assert_eq!(count().await, 0);

    other.execute("ROLLBACK").await.unwrap();
    insert_on(pools.write.clone(), 1).await.expect("the writer is free");
    sleep(Duration::from_millis(500)).await;
    assert_eq!(count().await, 1, "no earlier change is stored later");
    drop(pools);
    database.remove().await;
}

/// The caller already has the error of its change.
#[tokio::test(flavor = "multi_thread")]
async fn change_is_not_stored_after_its_deadline() {
    let database = Database::sqlite();
    let Location::Sqlite(path) = &database.location else { panic!("a SQLite file") };
    let migrator = Migrator { migrations: Cow::Borrowed(&[]), ..Migrator::DEFAULT };
    let mut settings = settings();
    // Only the deadline can prevent the change: the waits end after the lock is released.
    settings.database.acquire_timeout = Span(MOMENT);
    settings.database.lock_timeout = Span(MOMENT);
    let write = sqlite::open(path, &settings, &migrator).await.unwrap().write;
    write.execute("CREATE TABLE notes (text TEXT NOT NULL)").await.unwrap();
    let mut other = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();

    let single = async |pool: Pool<Sqlite>| Ok(pool.execute(INSERT).await.map(drop)?);
    let returning = async |pool: Pool<Sqlite>| {
        Ok(sqlx::query("INSERT INTO notes VALUES ('a note') RETURNING text").fetch_one(&pool).await.map(drop)?)
    };
    let late_commit = async |pool: Pool<Sqlite>, deadline: Instant| {
        let mut tx = pool.begin().await?;
        tx.execute(INSERT).await?;
        sleep_until(deadline + A_WHILE).await;
        Ok(tx.commit().await?)
    };
    for kind in ["transaction", "single", "returning", "late commit"] {
        let (pool, deadline) = (write.clone(), Instant::now() + A_WHILE);
        let is_locked = kind != "late commit";
        if is_locked {
            other.execute("BEGIN IMMEDIATE").await.unwrap();
        }
        let change = async {
            match kind {
                "transaction" => insert_on(pool, 1).await,
                "single" => single(pool).await,
                "returning" => returning(pool).await,
                _ => late_commit(pool, deadline).await,
            }
        };
        let release = async {
            sleep_until(deadline + A_WHILE).await;
            if is_locked {
                other.execute("ROLLBACK").await.unwrap();
            }
        };
        let (result, ()): (Result<(), Error>, ()) = tokio::join!(with_deadline(Some(deadline), change), release);
        let status = Status::from(result.expect_err(kind));
        assert_eq!(status.get_error_details().error_info().unwrap().reason, "LOCKED", "{kind}: {status:?}");
    }
    // The writer is free again, and writes before a deadline.
    let soon = Some(Instant::now() + MOMENT);
    with_deadline(soon, insert_on(write.clone(), 1)).await.unwrap();
    with_deadline(soon, write.execute(INSERT)).await.unwrap();
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM notes").fetch_one(&write).await.unwrap();
    assert_eq!(count, 2);
    drop(write);
    database.remove().await;
}

/// A start waits for a process that is about to end.
#[tokio::test(flavor = "multi_thread")]
async fn migrations_wait_longer_than_changes() {
    let database = Database::sqlite();
    let Location::Sqlite(path) = &database.location else { panic!("a SQLite file") };
    let migrator = sqlx::migrate!("tests/data/migrations/sqlite");
    let empty = Migrator { migrations: Cow::Borrowed(&[]), ..Migrator::DEFAULT };
    drop(sqlite::open(path, &settings(), &empty).await.unwrap());
    let mut other = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let settings = settings();
    let (opened, ()) = tokio::join!(sqlite::open(path, &settings, &migrator), async {
        sleep(Duration::from_secs(2)).await;
        other.execute("ROLLBACK").await.unwrap();
    });
    opened.unwrap();
    database.remove().await;
}
