//! Audit logs, on both databases. Each service has its own pools, as in a process of its own.

mod chain;
mod erased;

use std::sync::Arc;

use kit::{
    ClockAndRng, Timestamp,
    audit::{AuditEntry, RefusalLog as _},
    keyring::Keyring,
    time::{ManualClock, SystemEntropy},
};
use kit_data::{
    audit::{
        AuditConfig, AuditDatabase, Cursor, Head, ListedRecord, Log, Reader, RecordQuery, Sealer, Verified, VerifyError,
    },
    store::{Location, Pool, postgres, sqlite},
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Postgres, SqliteConnection};
use uuid::Uuid;

use crate::databases::{on_both, patient};

on_both!(
    record_is_stored_with_its_transaction_only,
    filter_and_pages_select_records,
    refusals_are_stored_once_with_their_number,
    a_page_of_records_reads_an_index,
);

enum Pools {
    Postgres(Pool<Postgres>),
    Sqlite(sqlite::Pools),
}

/// A process of a service with an audit log.
struct Process {
    pools: Pools,
    log: Log,
    sealer: Sealer,
    clock: Arc<ManualClock>,
    location: Location,
}

impl Process {
    async fn start(location: &Location) -> Self {
        Self::with(location, Keyring::default()).await
    }

    async fn with(location: &Location, keys: Keyring) -> Self {
        let settings = patient(8);
        let pools = match location {
            Location::Postgres(url) => {
                let migrator = sqlx::migrate!("tests/data/audit_migrations/postgres");
                Pools::Postgres(postgres::open(url, "letters", &settings, &migrator).await.unwrap())
            }
            Location::Sqlite(path) => {
                let migrator = sqlx::migrate!("tests/data/audit_migrations/sqlite");
                Pools::Sqlite(sqlite::open(path, &settings, &migrator).await.unwrap())
            }
        };
        let log = match &pools {
            Pools::Postgres(pool) => Log::new("letters", pool.clone(), pool.clone(), keys),
            Pools::Sqlite(pools) => Log::new("letters", pools.read.clone(), pools.write.clone(), keys),
        };
        let clock = Arc::new(ManualClock::new(ClockAndRng::system().now()));
        let clock_rng = ClockAndRng { clock: clock.clone(), entropy: Arc::new(SystemEntropy::default()) };
        let sealer = Sealer::new(log.clone(), AuditConfig::default(), clock_rng);
        Self { pools, log, sealer, clock, location: location.clone() }
    }

    /// Writes a record in a transaction of its own.
    async fn record(&self, entry: AuditEntry) {
        self.transact(Some(entry), None, true).await;
    }

    async fn erase(&self, person: Uuid) {
        self.transact(None, Some(person), true).await;
    }

    async fn transact(&self, entry: Option<AuditEntry>, erased: Option<Uuid>, commit: bool) {
        match &self.pools {
            Pools::Postgres(pool) => transact(&self.log, pool, entry, erased, commit).await,
            Pools::Sqlite(pools) => transact(&self.log, &pools.write, entry, erased, commit).await,
        }
    }

    async fn reader(&self) -> Reader {
        Reader::connect(&self.location, "letters", Keyring::default()).await.unwrap()
    }

    async fn list(&self, filter: &str) -> Vec<ListedRecord> {
        self.reader().await.list(&RecordQuery::new(filter, false, 1_000).unwrap()).await.unwrap()
    }

    async fn verify(&self, anchor: Option<&Head>) -> Result<Verified, VerifyError> {
        self.reader().await.verify(anchor, &mut |_, _| {}).await
    }

    /// Changes the tables as someone with access to the database.
    async fn tamper(&self, statement: &str) {
        let statement = AssertSqlSafe(statement.to_owned());
        match &self.location {
            Location::Postgres(url) => {
                let mut connection = PgConnection::connect(url.expose()).await.unwrap();
                connection.execute("SET search_path TO letters").await.unwrap();
                connection.execute(statement).await.unwrap();
            }
            Location::Sqlite(path) => {
                let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
                connection.execute(statement).await.unwrap();
            }
        }
    }
}

async fn transact<D: AuditDatabase>(
    log: &Log,
    pool: &Pool<D>,
    entry: Option<AuditEntry>,
    erased: Option<Uuid>,
    commit: bool,
) {
    let mut tx = pool.begin().await.unwrap();
    if let Some(person) = erased {
        log.erase(&mut tx, person, Timestamp::from_micros(0)).await.unwrap();
    }
    if let Some(entry) = entry {
        log.record(&mut tx, entry).await.unwrap();
    }
    if commit { tx.commit().await } else { tx.rollback().await }.unwrap();
}

/// A record about a letter.
fn letter(number: usize) -> AuditEntry {
    AuditEntry::new(format!("letters/{number}"))
}

fn targets(records: &[ListedRecord]) -> Vec<&str> {
    records.iter().map(|record| record.facts.target.as_str()).collect()
}

async fn record_is_stored_with_its_transaction_only(location: &Location) {
    let process = Process::start(location).await;
    process.transact(Some(letter(1)), None, false).await;
    process.transact(Some(letter(2)), None, true).await;
    let records = process.list("").await;
    assert_eq!(targets(&records), ["letters/2"]);
    let facts = &records[0].facts;
    assert_eq!((facts.principal_kind.as_str(), facts.action.as_str()), ("system", "letters.task"));
    assert_eq!(records[0].sealed, None, "a later job seals it");
}

async fn filter_and_pages_select_records(location: &Location) {
    let process = Process::start(location).await;
    for number in 0..5 {
        process.record(letter(number)).await;
    }
    process.record(AuditEntry::new("stamps/1")).await;
    for (filter, expected) in [
        ("target = \"letters/3\"", &["letters/3"][..]),
        ("target = \"letters/*\" AND NOT (target = letters/1 OR target >= \"letters/3\")", &["letters/0", "letters/2"]),
        ("target:tamp", &["stamps/1"]),
        ("target != \"letters/*\"", &["stamps/1"]),
        ("calls > 1", &[]),
        ("session:*", &[]),
        ("-session:* target:\"s/4\"", &["letters/4"]),
        ("create_time < \"2026-01-01T00:00:00Z\" OR code != OK", &[]),
    ] {
        assert_eq!(targets(&process.list(filter).await), expected, "{filter}");
    }
    let mut reader = process.reader().await;
    let mut query = RecordQuery::new("target = \"letters/*\"", true, 2).unwrap();
    let mut found = Vec::new();
    loop {
        let page = reader.list(&query).await.unwrap();
        let Some(last) = page.last() else { break };
        query.after = Some(Cursor { time: last.facts.time, id: last.facts.id });
        found.extend(page);
    }
    assert_eq!(targets(&found), ["letters/4", "letters/3", "letters/2", "letters/1", "letters/0"]);
    assert_eq!(reader.count(&query).await.unwrap(), 5, "on all pages");
}

async fn refusals_are_stored_once_with_their_number(location: &Location) {
    let process = Process::start(location).await;
    for target in ["users/1", "users/2", "users/1"] {
        let mut record = AuditEntry::new(target).by_system("a.B/C", &ClockAndRng::system());
        record.facts.code = "UNAUTHENTICATED".to_owned();
        process.log.refused(record);
    }
    assert!(process.list("").await.is_empty());
    process.sealer.finish().await;
    let mut stored: Vec<_> =
        process.list("code = UNAUTHENTICATED").await.into_iter().map(|of| (of.facts.target, of.facts.calls)).collect();
    stored.sort();
    assert_eq!(stored, [("users/1".to_owned(), 2), ("users/2".to_owned(), 1)]);
    process.sealer.finish().await;
    assert_eq!(process.list("").await.len(), 2);
    assert_eq!(process.verify(None).await.unwrap().records, 2, "they are sealed too");
}

async fn a_page_of_records_reads_an_index(location: &Location) {
    let columns = "INSERT INTO audit_events (event_id, create_time, action, principal_kind, principal, session, peer, \
                   target, code, reason, calls, trace_id, personal, seq) SELECT";
    let rest = "'a', 'user', 'u' || n, '', '', 'users/' || n, 'OK', '', 1, ''";
    let postgres =
        format!("{columns} gen_random_uuid(), now(), {rest}, '', n FROM generate_series(1, 20000) AS n; ANALYZE");
    let sqlite = format!(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2000) \
         {columns} randomblob(16), n, {rest}, x'', n FROM n; ANALYZE"
    );
    drop(Process::start(location).await);
    let page = "SELECT event_id FROM audit_events WHERE calls >= $1 AND";
    let order = "ORDER BY create_time DESC, event_id DESC LIMIT 100";
    let mut fill = (postgres.as_str(), sqlite.as_str());
    for (condition, order, index) in [
        ("1 = 1", order, "audit_events_by_time"),
        ("principal = 'u7'", order, "audit_events_by_principal"),
        ("target >= 'users/7' AND target < 'users/8'", "LIMIT 100", "audit_events_by_target"),
        (
            "seq > 7",
            "ORDER BY seq LIMIT 1000",
            match location {
                Location::Postgres(_) => "audit_events_seq_key",
                Location::Sqlite(_) => "sqlite_autoindex_audit_events_2",
            },
        ),
        // The unique index also finds the rows without a number, if they are few.
        (
            "seq IS NULL",
            "ORDER BY create_time, event_id LIMIT 128",
            match location {
                Location::Postgres(_) => "Index Scan using audit_events_",
                Location::Sqlite(_) => "(seq=?)",
            },
        ),
    ] {
        let statement = format!("{page} {condition} {order}");
        let plan = crate::plan::plan(location, "letters", fill.0, fill.1, &statement).await;
        assert!(plan.contains(index), "{condition}: {plan}");
        fill = ("SELECT 1", "SELECT 1");
    }
}
