//! Handles that change their owner.

use kit::Timestamp;
use kit_data::store::DbTimestamp;
use sqlx::Row as _;

use super::{super::OWN_HANDLE, Tx};
use crate::{
    domain::{Cooling, UserId},
    store::UpdateError,
};

/// Locks the row of an active profile and returns its handle.
pub(super) async fn lock(tx: &mut Tx<'_>, id: UserId) -> sqlx::Result<Option<String>> {
    let row = sqlx::query(OWN_HANDLE).bind(id.0).fetch_optional(&mut **tx).await?;
    row.map(|row| row.try_get("handle")).transpose()
}

/// Whether `id` may keep the handle that an earlier statement of the transaction has written to its row.
///
/// That statement has waited for a transaction that held the handle. This one starts later, so that it sees a release
/// that was committed meanwhile.
pub(super) async fn take(tx: &mut Tx<'_>, handle: &str, id: UserId, now: Timestamp) -> sqlx::Result<bool> {
    let row = sqlx::query("SELECT user_id, expire_time FROM released_handles WHERE handle = $1")
        .bind(handle)
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else { return Ok(true) };
    let (owner, until): (uuid::Uuid, DbTimestamp) = (row.try_get("user_id")?, row.try_get("expire_time")?);
    if owner != id.0 && until.0 > now {
        return Ok(false);
    }
    sqlx::query("DELETE FROM released_handles WHERE handle = $1").bind(handle).execute(&mut **tx).await?;
    Ok(true)
}

/// Reserves a former handle for its owner `id`. The lock on the user's row keeps the count correct until the commit.
pub(super) async fn release(tx: &mut Tx<'_>, handle: &str, id: UserId, cooling: &Cooling) -> Result<(), UpdateError> {
    if cooling.period.is_zero() {
        return Ok(());
    }
    let row = sqlx::query("SELECT count(*) AS cooling FROM released_handles WHERE user_id = $1 AND expire_time > $2")
        .bind(id.0)
        .bind(DbTimestamp(cooling.now))
        .fetch_one(&mut **tx)
        .await?;
    if row.try_get::<i64, _>("cooling")? >= i64::from(cooling.limit) {
        return Err(UpdateError::TooManyHandles);
    }
    sqlx::query(
        "INSERT INTO released_handles (handle, user_id, expire_time) VALUES ($1, $2, $3) \
         ON CONFLICT (handle) DO UPDATE SET user_id = excluded.user_id, expire_time = excluded.expire_time",
    )
    .bind(handle)
    .bind(id.0)
    .bind(DbTimestamp(cooling.now + cooling.period))
    .execute(&mut **tx)
    .await?;
    Ok(())
}
