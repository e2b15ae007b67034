//! Deletes what has expired, in small steps.

use kit::Timestamp;
use kit_data::store::{DbTimestamp, Error, Pool};
use sqlx::AssertSqlSafe;

use super::super::{Db, delete_some};

/// Deletes at most `limit` rows of one kind. Returns how many; 0: none is left.
pub(super) async fn prune_some(
    write: &Pool<Db>,
    before: Timestamp,
    used_before: Timestamp,
    limit: u32,
) -> Result<u64, Error> {
    let ended = "expire_time < $1 OR revoke_time < $1";
    let of_ended = format!("session_id IN (SELECT session_id FROM sessions WHERE {ended})");
    // Deleting a session cascades to its tokens, which may be thousands. So the tokens are deleted first.
    let steps = [
        (delete_some("refresh_tokens", "token_hash", &of_ended), before),
        (delete_some("sessions", "session_id", ended), before),
        (delete_some("refresh_tokens", "token_hash", "use_time < $1"), used_before),
    ];
    for (statement, before) in steps {
        // The statement consists of constants only.
        let delete = sqlx::query(AssertSqlSafe(statement)).bind(DbTimestamp(before)).bind(i64::from(limit));
        let deleted = delete.execute(write).await?.rows_affected();
        if deleted > 0 {
            return Ok(deleted);
        }
    }
    Ok(0)
}
