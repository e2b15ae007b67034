//! The events of the outbox of an earlier release become jobs.

use kit_data::store::{Location, Settings, newest, postgres, sqlite};
use sqlx::migrate::Migrator;
use uuid::Uuid;

use crate::{
    database::{execute, jobs},
    databases::{Database, on_both},
    store::open,
};

on_both!(events_of_the_outbox_become_jobs);

const POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");
const SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");

/// The first migration only.
fn first(of: &Migrator) -> Migrator {
    Migrator::with_migrations(of.iter().filter(|migration| migration.version == 1).cloned().collect())
}

/// Opens the database as the earlier release does.
async fn open_earlier(location: &Location) {
    let settings = Settings::from(1);
    match location {
        Location::Postgres(url) => drop(postgres::open(url, "auth", &settings, &first(&POSTGRES)).await.unwrap()),
        Location::Sqlite(path) => drop(sqlite::open(path, &settings, &first(&SQLITE)).await.unwrap()),
    }
}

async fn events_of_the_outbox_become_jobs(location: &Location) {
    open_earlier(location).await;
    let insert = match location {
        Location::Postgres(_) => {
            "INSERT INTO outbox (outbox_id, kind, subject, create_time, attempt_count, next_attempt_time) VALUES \
             ('01900000-0000-7000-8000-000000000001', 'account.deleted', '01900000-0000-7000-8000-00000000000a', \
              now(), 3, now()), \
             ('01900000-0000-7000-8000-000000000002', 'account.abandoned', '01900000-0000-7000-8000-00000000000b', \
              now(), 0, now())"
        }
        Location::Sqlite(_) => {
            "INSERT INTO outbox (outbox_id, kind, subject, create_time, attempt_count, next_attempt_time) VALUES \
             (x'01900000000070008000000000000001', 'account.deleted', x'0190000000007000800000000000000a', 5, 3, 7), \
             (x'01900000000070008000000000000002', 'account.abandoned', x'0190000000007000800000000000000b', 5, 0, 7)"
        }
    };
    execute(location, insert).await;
    drop(open(location).await);
    let account = |last: u128| Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | last);
    let expected = [("account.abandoned".to_owned(), account(0xb)), ("account.deleted".to_owned(), account(0xa))];
    assert_eq!(jobs(location).await, expected);
}

/// While processes are replaced, an earlier one still writes events.
#[tokio::test(flavor = "multi_thread")]
async fn event_of_an_earlier_process_becomes_a_job() {
    let database = Database::postgres().await;
    let store = open(&database.location).await;
    let insert = "INSERT INTO outbox (outbox_id, kind, subject, create_time, next_attempt_time) VALUES \
         (gen_random_uuid(), 'account.deleted', '01900000-0000-7000-8000-00000000000a', now(), now())";
    execute(&database.location, insert).await;
    let account = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_000a);
    assert_eq!(jobs(&database.location).await, [("account.deleted".to_owned(), account)]);
    drop(store);
    database.remove().await;
}

#[test]
fn migration_creates_the_table_of_the_library() {
    let postgres = include_str!("../../../kit-data/tests/data/migrations/postgres/0001_jobs.sql");
    let sqlite = include_str!("../../../kit-data/tests/data/migrations/sqlite/0001_jobs.sql");
    for (migrator, table) in [(POSTGRES, postgres), (SQLITE, sqlite)] {
        assert_eq!(newest(&migrator), 2);
        assert!(migrator.iter().any(|migration| migration.sql.as_str().contains(table)));
    }
}
