//! The statements for both databases. `postgres.rs` and `sqlite.rs` include this module and define what differs.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use kit::Timestamp;
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::{
    super::{Backlog, Claim, Claimed, Database, Filter, Listed, NewRow, Next, State, Statements, Wanted},
    AMONG, Db, LOCK,
};
use crate::store::{DbTimestamp, Error, Pool};

type Connection = <Db as sqlx::Database>::Connection;
type Row = <Db as sqlx::Database>::Row;

/// The statements on one database.
pub(super) struct Sql {
    read: Pool<Db>,
    write: Pool<Db>,
}

#[async_trait]
impl Statements for Sql {
    async fn claim(&self, claim: &Claim) -> Result<Vec<Claimed>, Error> {
        let Claim { now, until, limit, wanted } = claim;
        // The statement consists of constants only.
        let mut claim = sqlx::query(AssertSqlSafe(self::claim(wanted.len())))
            .bind(DbTimestamp(*now))
            .bind(DbTimestamp(*until))
            .bind(limit);
        for Wanted { kind, version, limit } in wanted {
            claim = claim.bind(kind).bind(version).bind(limit);
        }
        claim.fetch_all(&self.write).await?.iter().map(claimed).collect()
    }

    async fn renew(&self, id: Uuid, claim: i64, now: Timestamp, until: Timestamp) -> Result<bool, Error> {
        let renewed = sqlx::query(
            "UPDATE jobs SET update_time = $3, due_time = $4 \
             WHERE job_id = $1 AND claims = $2 AND state = 'running'",
        )
        .bind(id)
        .bind(claim)
        .bind(DbTimestamp(now))
        .bind(DbTimestamp(until))
        .execute(&self.write)
        .await?;
        Ok(renewed.rows_affected() > 0)
    }

    async fn put_back(&self, id: Uuid, claim: i64, next: &Next) -> Result<bool, Error> {
        let changed = sqlx::query(
            "UPDATE jobs SET state = $3, attempts = $4, update_time = $5, due_time = $6, failure = $7 \
             WHERE job_id = $1 AND claims = $2 AND state = 'running'",
        )
        .bind(id)
        .bind(claim)
        .bind(next.state.as_str())
        .bind(next.attempts)
        .bind(DbTimestamp(next.now))
        .bind(DbTimestamp(next.due))
        .bind(&next.failure)
        .execute(&self.write)
        .await?;
        Ok(changed.rows_affected() > 0)
    }

    async fn remove(&self, id: Uuid, claim: i64) -> Result<bool, Error> {
        let removed = sqlx::query("DELETE FROM jobs WHERE job_id = $1 AND claims = $2 AND state = 'running'")
            .bind(id)
            .bind(claim)
            .execute(&self.write)
            .await?;
        Ok(removed.rows_affected() > 0)
    }

    async fn schedule(&self, new: &NewRow) -> Result<(), Error> {
        // A shorter interval of a new release takes effect at once.
        let schedule = sqlx::query(
            "INSERT INTO jobs (job_id, kind, version, payload, schedule, create_time, update_time, due_time) \
             VALUES ($1, $2, $3, $4, $5, $6, $6, $7) ON CONFLICT (schedule) DO UPDATE \
             SET update_time = excluded.update_time, due_time = excluded.due_time \
             WHERE jobs.state = 'waiting' AND jobs.due_time > excluded.due_time",
        );
        bound(schedule, new).execute(&self.write).await?;
        Ok(())
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, Error> {
        let rows = sqlx::query(
            "SELECT kind, state, count(*) AS jobs, max(update_time) AS update_time, \
             min(CASE WHEN schedule IS NULL THEN create_time END) AS oldest FROM jobs GROUP BY kind, state",
        )
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(backlog).collect()
    }

    async fn rescue(&self, after: Timestamp, now: Timestamp, until: Timestamp) -> Result<u64, Error> {
        let rescue = sqlx::query(
            "UPDATE jobs SET update_time = $2, due_time = CASE WHEN state = 'running' THEN $3 ELSE $2 END \
             WHERE update_time > $1 AND state <> 'dead'",
        )
        .bind(DbTimestamp(after))
        .bind(DbTimestamp(now))
        .bind(DbTimestamp(until));
        Ok(rescue.execute(&self.write).await?.rows_affected())
    }
}

impl Database for Db {
    fn insert<'a>(connection: &'a mut Connection, new: &'a NewRow) -> BoxFuture<'a, sqlx::Result<()>> {
        let insert = sqlx::query(
            "INSERT INTO jobs (job_id, kind, version, payload, schedule, create_time, update_time, due_time) \
             VALUES ($1, $2, $3, $4, $5, $6, $6, $7)",
        );
        Box::pin(async move { bound(insert, new).execute(connection).await.map(drop) })
    }

    fn statements(read: Pool<Self>, write: Pool<Self>) -> Arc<dyn Statements> {
        Arc::new(Sql { read, write })
    }

    fn claim_statement(kinds: usize) -> String {
        claim(kinds)
    }

    fn list<'a>(connection: &'a mut Connection, filter: &'a Filter) -> BoxFuture<'a, Result<Vec<Listed>, Error>> {
        Box::pin(async move {
            let rows = sqlx::query(AssertSqlSafe(format!(
                "{LISTED} WHERE ($1 = '' OR state = $1) AND ($2 = '' OR kind = $2) ORDER BY create_time, job_id LIMIT $3"
            )))
            .bind(filter.state.map_or("", State::as_str))
            .bind(filter.kind.as_deref().unwrap_or_default())
            .bind(i64::from(filter.limit))
            .fetch_all(connection)
            .await?;
            rows.iter().map(listed).collect()
        })
    }

    fn find(connection: &mut Connection, id: Uuid) -> BoxFuture<'_, Result<Option<Listed>, Error>> {
        Box::pin(async move {
            let find = AssertSqlSafe(format!("{LISTED} WHERE job_id = $1"));
            let found = sqlx::query(find).bind(id).fetch_optional(connection).await?;
            found.as_ref().map(listed).transpose()
        })
    }

    fn retry(connection: &mut Connection, id: Uuid, now: Timestamp) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(change(connection, format!("{MAKE_DUE} AND {UNCLAIMED}"), id, now))
    }

    fn take_back(connection: &mut Connection, id: Uuid, now: Timestamp) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(change(connection, MAKE_DUE.to_owned(), id, now))
    }

    fn delete(connection: &mut Connection, id: Uuid, now: Timestamp) -> BoxFuture<'_, Result<bool, Error>> {
        // A recurring job is a schedule of the program: without its row it would not run until the next start.
        let delete = format!("DELETE FROM jobs WHERE job_id = $1 AND schedule IS NULL AND {UNCLAIMED}");
        Box::pin(change(connection, delete, id, now))
    }
}

/// Reads jobs for the operator.
const LISTED: &str =
    "SELECT job_id, kind, version, payload, schedule, state, create_time, due_time, attempts, failure FROM jobs";

/// Makes the job $1 due at $2. It ends a claim that is in force: each change of an attempt requires the state running and
/// the number of its own claim, and the next claim has a new number.
const MAKE_DUE: &str =
    "UPDATE jobs SET state = 'waiting', attempts = 0, update_time = $2, due_time = $2 WHERE job_id = $1";

/// No claim is in force at $2.
const UNCLAIMED: &str = "(state <> 'running' OR due_time < $2)";

/// Changes one job for the operator. Returns whether it did. `statement` consists of constants only.
async fn change(connection: &mut Connection, statement: String, id: Uuid, now: Timestamp) -> Result<bool, Error> {
    let change = sqlx::query(AssertSqlSafe(statement)).bind(id).bind(DbTimestamp(now));
    Ok(change.execute(connection).await?.rows_affected() > 0)
}

/// Moves jobs to the state running. A lease has expired if the job is running already.
const CLAIM: &str = "UPDATE jobs SET lost_leases = CASE WHEN state = 'running' THEN lost_leases + 1 ELSE 0 END, \
     state = 'running', claims = claims + 1, attempts = attempts + 1, update_time = $1, due_time = $2 WHERE job_id";

/// Claims due jobs of `kinds` kinds in one statement. Each kind is one range of the index `jobs_due`, so that many due
/// jobs of one kind do not delay the others. PostgreSQL skips rows that another worker is claiming.
fn claim(kinds: usize) -> String {
    let due_of = |kind: usize| {
        let (name, version, limit) = (4 + 3 * kind, 5 + 3 * kind, 6 + 3 * kind);
        format!(
            "SELECT job_id, due_time FROM (SELECT job_id, due_time FROM jobs \
             WHERE kind = ${name} AND state <> 'dead' AND due_time <= $1 AND version <= ${version} \
             ORDER BY due_time, job_id LIMIT ${limit}{LOCK}) AS kind{kind}"
        )
    };
    let due: Vec<String> = (0..kinds).map(due_of).collect();
    format!(
        "{CLAIM} {AMONG} (SELECT job_id FROM ({due}) AS due ORDER BY due_time, job_id LIMIT $3)) \
         RETURNING job_id, kind, version, payload, create_time, claims, attempts, lost_leases",
        due = due.join(" UNION ALL ")
    )
}

type Query<'q> = sqlx::query::Query<'q, Db, <Db as sqlx::Database>::Arguments>;

fn bound<'q>(insert: Query<'q>, new: &'q NewRow) -> Query<'q> {
    insert
        .bind(new.id)
        .bind(new.kind)
        .bind(new.version)
        .bind(&new.payload)
        .bind(new.schedule)
        .bind(DbTimestamp(new.now))
        .bind(DbTimestamp(new.due))
}

fn claimed(row: &Row) -> Result<Claimed, Error> {
    let create_time: DbTimestamp = row.try_get("create_time")?;
    Ok(Claimed {
        id: row.try_get("job_id")?,
        kind: row.try_get("kind")?,
        version: row.try_get("version")?,
        payload: row.try_get("payload")?,
        create_time: create_time.0,
        claims: row.try_get("claims")?,
        attempts: row.try_get("attempts")?,
        lost_leases: row.try_get("lost_leases")?,
    })
}

fn backlog(row: &Row) -> Result<Backlog, Error> {
    let (oldest, update_time): (Option<DbTimestamp>, DbTimestamp) =
        (row.try_get("oldest")?, row.try_get("update_time")?);
    Ok(Backlog {
        kind: row.try_get("kind")?,
        state: state(row)?,
        jobs: row.try_get("jobs")?,
        oldest: oldest.map(|at| at.0),
        update_time: update_time.0,
    })
}

fn listed(row: &Row) -> Result<Listed, Error> {
    let (create_time, due_time): (DbTimestamp, DbTimestamp) = (row.try_get("create_time")?, row.try_get("due_time")?);
    Ok(Listed {
        id: row.try_get("job_id")?,
        kind: row.try_get("kind")?,
        version: row.try_get("version")?,
        payload: row.try_get("payload")?,
        is_recurring: row.try_get::<Option<String>, _>("schedule")?.is_some(),
        state: state(row)?,
        create_time: create_time.0,
        due_time: due_time.0,
        attempts: row.try_get("attempts")?,
        failure: row.try_get("failure")?,
    })
}

fn state(row: &Row) -> Result<State, Error> {
    let text: String = row.try_get("state")?;
    State::parse(&text).ok_or(Error::Corrupt(format!("jobs.state {text:?}")))
}
