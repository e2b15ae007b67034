//! The statements of the outbox.

use async_trait::async_trait;
use kit::Timestamp;
use kit_data::store::{DbTimestamp, Error};
use sqlx::Row as _;
use uuid::Uuid;

use super::{super::TAKE, Row, Sql, Tx};
use crate::{
    domain::{
        AccountId,
        outbox::{Backlog, Event, Kind},
    },
    store::Outbox,
};

#[async_trait]
impl Outbox for Sql {
    async fn take(&self, now: Timestamp, until: Timestamp) -> Result<Option<Event>, Error> {
        sqlx::query(TAKE)
            .bind(DbTimestamp(now))
            .bind(DbTimestamp(until))
            .fetch_optional(&self.write)
            .await?
            .map(|row| event(&row))
            .transpose()
    }

    async fn put_back(&self, event: &Event, attempts: i64, due: Timestamp) -> Result<(), Error> {
        sqlx::query(
            "UPDATE outbox SET attempt_count = $3, next_attempt_time = $4 WHERE outbox_id = $1 AND attempt_count = $2",
        )
        .bind(event.id)
        .bind(event.attempts)
        .bind(attempts)
        .bind(DbTimestamp(due))
        .execute(&self.write)
        .await?;
        Ok(())
    }

    async fn remove(&self, event: &Event) -> Result<(), Error> {
        sqlx::query("DELETE FROM outbox WHERE outbox_id = $1").bind(event.id).execute(&self.write).await?;
        Ok(())
    }

    async fn backlog(&self) -> Result<Backlog, Error> {
        let row = sqlx::query("SELECT count(*) AS events, min(create_time) AS oldest FROM outbox")
            .fetch_one(&self.read)
            .await?;
        let oldest: Option<DbTimestamp> = row.try_get("oldest")?;
        Ok(Backlog { events: row.try_get("events")?, oldest: oldest.map(|at| at.0) })
    }
}

/// Adds an event to the outbox, in the transaction that causes it.
pub(super) async fn add_event(
    tx: &mut Tx<'_>,
    id: Uuid,
    kind: Kind,
    subject: AccountId,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO outbox (outbox_id, kind, subject, create_time, next_attempt_time) VALUES ($1, $2, $3, $4, $4)",
    )
    .bind(id)
    .bind(kind.as_str())
    .bind(subject.0)
    .bind(DbTimestamp(now))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn event(row: &Row) -> Result<Event, Error> {
    let (kind, create_time): (String, DbTimestamp) = (row.try_get("kind")?, row.try_get("create_time")?);
    Ok(Event {
        id: row.try_get("outbox_id")?,
        kind: Kind::parse(&kind).ok_or(Error::Corrupt(format!("outbox.kind {kind:?}")))?,
        subject: AccountId(row.try_get("subject")?),
        create_time: create_time.0,
        attempts: row.try_get("attempt_count")?,
    })
}
