//! The events of the outbox of an earlier release become jobs.

use kit::Timestamp;
use kit_data::store::{DbTimestamp, Location, OlderSchema, Settings, Unopened, newest, postgres, sqlite};
use sqlx::migrate::Migrator;
use uuid::Uuid;

use crate::{
    database::{execute, jobs, rows},
    databases::{Database, on_both, patient},
    store::open,
};

on_both!(events_of_the_outbox_become_jobs, command_that_reads_migrates_nothing);

const POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");
const SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");

/// The events of the outbox, with the columns of their jobs.
const EVENTS: &str = "SELECT outbox_id AS job_id, kind, create_time, create_time AS update_time, \
     next_attempt_time AS due_time, attempt_count AS attempts FROM outbox ORDER BY job_id";

/// The jobs that wait as if no process had claimed them yet.
const JOBS: &str = "SELECT job_id, kind, create_time, update_time, due_time, attempts FROM jobs WHERE schedule IS NULL \
     AND version = 1 AND state = 'waiting' AND claims = 0 AND lost_leases = 0 AND failure = '' ORDER BY job_id";

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
              '2026-01-02 03:04:05.000006Z', 3, '2026-01-02 03:09:05.000007Z'), \
             ('01900000-0000-7000-8000-000000000002', 'account.abandoned', '01900000-0000-7000-8000-00000000000b', \
              '2026-02-03 04:05:06Z', 0, '2026-02-03 04:05:07Z')"
        }
        Location::Sqlite(_) => {
            "INSERT INTO outbox (outbox_id, kind, subject, create_time, attempt_count, next_attempt_time) VALUES \
             (x'01900000000070008000000000000001', 'account.deleted', x'0190000000007000800000000000000a', 5, 3, 70), \
             (x'01900000000070008000000000000002', 'account.abandoned', x'0190000000007000800000000000000b', 8, 0, 90)"
        }
    };
    execute(location, insert).await;
    let before = rows(location, EVENTS).await;
    drop(open(location).await);
    assert_eq!(rows(location, JOBS).await, before);
    assert_eq!(before.iter().map(|row| row.attempts).collect::<Vec<_>>(), [3, 0]);
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
         ('01900000-0000-7000-8000-000000000001', 'account.deleted', '01900000-0000-7000-8000-00000000000a', \
          '2026-01-02 03:04:05Z', '2026-01-02 03:04:06Z')";
    execute(&database.location, insert).await;
    let [row] = &rows(&database.location, JOBS).await[..] else { panic!("one job") };
    let seconds = |after: i64| DbTimestamp(Timestamp::from_micros((1_767_323_045 + after) * 1_000_000));
    assert_eq!((row.create_time, row.update_time, row.due_time), (seconds(0), seconds(0), seconds(1)));
    assert_eq!((row.id, row.attempts), (Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001), 0));
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
        assert!(newest(&migrator) >= 2);
        assert!(migrator.iter().any(|migration| migration.sql.as_str().contains(table)));
    }
}

/// `trellis keys peppers` of a newer version beside the processes of an older one.
async fn command_that_reads_migrates_nothing(location: &Location) {
    let reading = Settings { older_schema: OlderSchema::Refuse, ..patient(2) };
    let refused = |opened: Result<_, Unopened>| opened.err().map(|error| error.to_string()).unwrap_or_default();
    let missing = refused(auth::store::open(location, reading.clone()).await.map(drop));
    assert!(!missing.is_empty(), "there is no schema yet");
    open_earlier(location).await;
    for _ in 0..2 {
        let older = refused(auth::store::open(location, reading.clone()).await.map(drop));
        assert!(older.contains("it lacks migration 2; "), "{older}");
    }
    drop(open(location).await);
    drop(auth::store::open(location, reading).await.unwrap());
}
