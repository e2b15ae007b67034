//! The statements for both databases. `postgres.rs` and `sqlite.rs` include this module and define what differs.

use std::fmt::Write as _;

use kit::{Timestamp, audit::Facts};
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::{
    super::{AuditDatabase, Done, StoredKey},
    Db, LOCK, SNAPSHOT, contains,
};
use crate::{
    audit::{
        Head, RecordQuery,
        chain::{Ends, RecordRow},
        query::{Bind, Condition},
    },
    store::DbTimestamp,
};

type DbConnection = <Db as sqlx::Database>::Connection;
type DbRow = <Db as sqlx::Database>::Row;
type Statement<'q> = sqlx::query::Query<'q, Db, <Db as sqlx::Database>::Arguments>;

/// The columns of a record.
const COLUMNS: &str = "event_id, create_time, action, principal_kind, principal, session, peer, target, code, reason, \
     calls, trace_id, person_id, personal, seq, hash";

impl AuditDatabase for Db {
    fn insert<'a>(connection: &'a mut DbConnection, row: &'a RecordRow) -> Done<'a, ()> {
        let Facts { id, time, action, principal_kind, principal, session, peer, .. } = &row.facts;
        let Facts { target, code, reason, calls, trace_id, person, .. } = &row.facts;
        let insert = sqlx::query(
            "INSERT INTO audit_events (event_id, create_time, action, principal_kind, principal, session, peer, target, \
             code, reason, calls, trace_id, person_id, personal) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        )
        .bind(id)
        .bind(DbTimestamp(*time))
        .bind(action)
        .bind(principal_kind)
        .bind(principal)
        .bind(session)
        .bind(peer)
        .bind(target)
        .bind(code)
        .bind(reason)
        .bind(calls)
        .bind(trace_id)
        .bind(*person)
        .bind(&row.personal);
        Box::pin(async move { insert.execute(connection).await.map(drop) })
    }

    fn find_key(connection: &mut DbConnection, person: Uuid) -> Done<'_, Option<StoredKey>> {
        Box::pin(async move {
            let find = sqlx::query("SELECT key FROM audit_keys WHERE person_id = $1").bind(person);
            let Some(row) = find.fetch_optional(connection).await? else { return Ok(None) };
            Ok(Some(row.try_get::<Option<Vec<u8>>, _>("key")?.map_or(StoredKey::Erased, StoredKey::Key)))
        })
    }

    fn insert_key<'a>(connection: &'a mut DbConnection, person: Uuid, key: &'a [u8], now: Timestamp) -> Done<'a, ()> {
        let insert = sqlx::query(
            "INSERT INTO audit_keys (person_id, key, create_time) VALUES ($1, $2, $3) ON CONFLICT (person_id) DO NOTHING",
        )
        .bind(person)
        .bind(key)
        .bind(DbTimestamp(now));
        Box::pin(async move { insert.execute(connection).await.map(drop) })
    }

    fn erase_key(connection: &mut DbConnection, person: Uuid, now: Timestamp) -> Done<'_, ()> {
        let erase = sqlx::query(
            "INSERT INTO audit_keys (person_id, key, create_time) VALUES ($1, NULL, $2) \
             ON CONFLICT (person_id) DO UPDATE SET key = NULL",
        )
        .bind(person)
        .bind(DbTimestamp(now));
        Box::pin(async move { erase.execute(connection).await.map(drop) })
    }

    fn lock_ends(connection: &mut DbConnection) -> Done<'_, Ends> {
        Box::pin(read_ends(connection, LOCK))
    }

    fn ends(connection: &mut DbConnection) -> Done<'_, Ends> {
        Box::pin(read_ends(connection, ""))
    }

    fn set_ends<'a>(connection: &'a mut DbConnection, ends: &'a Ends) -> Done<'a, ()> {
        let set = sqlx::query("UPDATE audit_head SET seq = $1, hash = $2, base_seq = $3, base_hash = $4")
            .bind(ends.head.seq)
            .bind(&ends.head.hash)
            .bind(ends.base.seq)
            .bind(&ends.base.hash);
        Box::pin(async move { set.execute(connection).await.map(drop) })
    }

    fn unsealed(connection: &mut DbConnection, limit: i64) -> Done<'_, Vec<RecordRow>> {
        Box::pin(async move {
            let statement =
                format!("SELECT {COLUMNS} FROM audit_events WHERE seq IS NULL ORDER BY create_time, event_id LIMIT $1");
            let rows = sqlx::query(AssertSqlSafe(statement)).bind(limit).fetch_all(connection).await?;
            rows.iter().map(record).collect()
        })
    }

    fn seal<'a>(connection: &'a mut DbConnection, sealed: &'a [(Uuid, Head)]) -> Done<'a, u64> {
        Box::pin(async move {
            let mut seal = sqlx::query(AssertSqlSafe(seal_statement(sealed.len())));
            for (id, head) in sealed {
                seal = seal.bind(id).bind(head.seq).bind(&head.hash);
            }
            Ok(seal.execute(connection).await?.rows_affected())
        })
    }

    fn sealed(connection: &mut DbConnection, after: i64, limit: i64) -> Done<'_, Vec<RecordRow>> {
        Box::pin(async move {
            let statement = format!("SELECT {COLUMNS} FROM audit_events WHERE seq > $1 ORDER BY seq LIMIT $2");
            let rows = sqlx::query(AssertSqlSafe(statement)).bind(after).bind(limit).fetch_all(connection).await?;
            rows.iter().map(record).collect()
        })
    }

    fn delete_through(connection: &mut DbConnection, through: i64) -> Done<'_, u64> {
        Box::pin(async move {
            let delete = sqlx::query("DELETE FROM audit_events WHERE seq <= $1").bind(through);
            Ok(delete.execute(connection).await?.rows_affected())
        })
    }

    fn list<'a>(connection: &'a mut DbConnection, query: &'a RecordQuery) -> Done<'a, Vec<RecordRow>> {
        Box::pin(async move {
            let (text, binds) = statement(query);
            let list = bound(sqlx::query(AssertSqlSafe(text)), &binds);
            list.fetch_all(connection).await?.iter().map(record).collect()
        })
    }

    fn count<'a>(connection: &'a mut DbConnection, query: &'a RecordQuery) -> Done<'a, i64> {
        Box::pin(async move {
            let mut binds = Vec::new();
            let condition = text(query.condition(), &mut binds);
            let statement = format!("SELECT count(*) AS records FROM audit_events WHERE {condition}");
            bound(sqlx::query(AssertSqlSafe(statement)), &binds).fetch_one(connection).await?.try_get("records")
        })
    }

    fn has_record<'a>(connection: &'a mut DbConnection, action: &'a str, target: &'a str) -> Done<'a, bool> {
        Box::pin(async move {
            let find = sqlx::query("SELECT event_id FROM audit_events WHERE target = $1 AND action = $2 LIMIT 1");
            Ok(find.bind(target).bind(action).fetch_optional(connection).await?.is_some())
        })
    }

    fn begin_snapshot(connection: &mut DbConnection) -> Done<'_, ()> {
        Box::pin(async move { sqlx::query(SNAPSHOT).execute(connection).await.map(drop) })
    }

    fn end_snapshot(connection: &mut DbConnection) -> Done<'_, ()> {
        Box::pin(async move { sqlx::query("COMMIT").execute(connection).await.map(drop) })
    }
}

async fn read_ends(connection: &mut DbConnection, lock: &str) -> sqlx::Result<Ends> {
    let statement = format!("SELECT seq, hash, base_seq, base_hash FROM audit_head{lock}");
    let row = sqlx::query(AssertSqlSafe(statement)).fetch_one(connection).await?;
    let head = |seq, hash| Ok::<_, sqlx::Error>(Head { seq: row.try_get(seq)?, hash: row.try_get(hash)? });
    Ok(Ends { head: head("seq", "hash")?, base: head("base_seq", "base_hash")? })
}

/// Seals `count` records by one statement: PostgreSQL and SQLite have no other form in common that takes a list.
fn seal_statement(count: usize) -> String {
    let (mut seqs, mut hashes, mut ids) = (String::new(), String::new(), Vec::with_capacity(count));
    for at in 0..count {
        let (id, seq, hash) = (3 * at + 1, 3 * at + 2, 3 * at + 3);
        write!(seqs, " WHEN ${id} THEN ${seq}").ok();
        write!(hashes, " WHEN ${id} THEN ${hash}").ok();
        ids.push(format!("${id}"));
    }
    format!(
        "UPDATE audit_events SET seq = CASE event_id{seqs} END, hash = CASE event_id{hashes} END \
         WHERE event_id IN ({}) AND seq IS NULL",
        ids.join(", ")
    )
}

/// The statement of a page. Each condition is made of constants; values are parameters.
fn statement(query: &RecordQuery) -> (String, Vec<Bind>) {
    let mut binds = Vec::new();
    let mut condition = text(query.condition(), &mut binds);
    let (beyond, order) = if query.is_newest_first { ("<", "DESC") } else { (">", "ASC") };
    if let Some(after) = &query.after {
        let at = binds.len();
        write!(condition, " AND (create_time, event_id) {beyond} (${}, ${})", at + 1, at + 2).ok();
        binds.extend([Bind::Time(after.time), Bind::Id(after.id)]);
    }
    binds.push(Bind::Number(query.limit));
    let statement = format!(
        "SELECT {COLUMNS} FROM audit_events WHERE {condition} ORDER BY create_time {order}, event_id {order} LIMIT ${}",
        binds.len()
    );
    (statement, binds)
}

fn text(condition: &Condition, binds: &mut Vec<Bind>) -> String {
    let mut list = |parts: &[Condition], join: &str| {
        let parts: Vec<_> = parts.iter().map(|part| text(part, binds)).collect();
        format!("({})", parts.join(join))
    };
    match condition {
        Condition::True => "1 = 1".to_owned(),
        Condition::And(parts) => list(parts, " AND "),
        Condition::Or(parts) => list(parts, " OR "),
        Condition::Not(inner) => format!("NOT {}", list(std::slice::from_ref(inner), "")),
        Condition::Compare { column, operator, value } => {
            binds.push(value.clone());
            format!("{column} {operator} ${}", binds.len())
        }
        Condition::Contains { column, value } => {
            binds.push(value.clone());
            contains(column, binds.len())
        }
    }
}

fn bound<'q>(mut statement: Statement<'q>, binds: &'q [Bind]) -> Statement<'q> {
    for bind in binds {
        statement = match bind {
            Bind::Text(text) => statement.bind(text),
            Bind::Number(number) => statement.bind(*number),
            Bind::Time(time) => statement.bind(DbTimestamp(*time)),
            Bind::Id(id) => statement.bind(*id),
        };
    }
    statement
}

fn record(row: &DbRow) -> sqlx::Result<RecordRow> {
    let DbTimestamp(time) = row.try_get("create_time")?;
    let facts = Facts {
        id: row.try_get("event_id")?,
        time,
        action: row.try_get("action")?,
        principal_kind: row.try_get("principal_kind")?,
        principal: row.try_get("principal")?,
        session: row.try_get("session")?,
        peer: row.try_get("peer")?,
        target: row.try_get("target")?,
        code: row.try_get("code")?,
        reason: row.try_get("reason")?,
        calls: row.try_get("calls")?,
        trace_id: row.try_get("trace_id")?,
        person: row.try_get("person_id")?,
    };
    Ok(RecordRow { facts, personal: row.try_get("personal")?, seq: row.try_get("seq")?, hash: row.try_get("hash")? })
}
