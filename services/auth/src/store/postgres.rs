//! The store on PostgreSQL.

#[path = "sql.rs"]
mod sql;

use kit::{Timestamp, config::Secret, error::chain};
use kit_data::store::{Settings, Unopened, postgres};
use sqlx::Postgres as Db;

/// Locks the session's row until the transaction ends.
const LOCK_SESSION: &str = "SELECT account_id, create_time, auth_time, expire_time, revoke_time, second_factor FROM sessions \
     WHERE session_id = $1 FOR UPDATE";

/// Waits for a concurrent change of the session's row, checks the result, and locks the row until the transaction ends.
const HOLD_SESSION: &str = "SELECT session_id FROM sessions WHERE session_id = $1 AND account_id = $2 \
     AND revoke_time IS NULL AND expire_time > $3 FOR UPDATE";

/// Locks the account's row until the transaction ends.
const LOCK_ACCOUNT: &str = "SELECT account_id FROM accounts WHERE account_id = $1 FOR UPDATE";

/// Waits for a concurrent change of the account's row, checks the result, and locks the row until the transaction ends.
const HOLD_ACCOUNT: &str = "SELECT account_id FROM accounts WHERE account_id = $1 AND password_no = $2 \
     AND state = 'active' AND NOT second_factor FOR SHARE";

/// Locks an active account's row until the transaction ends.
const LOCK_ACTIVE: &str = "SELECT account_id FROM accounts WHERE account_id = $1 AND state = 'active' FOR UPDATE";

/// Orders the changes after which no admin could be left, until the transaction ends.
const LOCK_ADMINS: &str = "SELECT code_hash, code_expire_time FROM admin_setup WHERE singleton = 1 FOR UPDATE";

/// Waits for a concurrent change of the account's row, checks the result, and locks the row until the transaction ends.
const INSERT_SESSION: &str = "INSERT INTO sessions (session_id, account_id, create_time, auth_time, last_use_time, \
     expire_time, user_agent, address, second_factor) SELECT $1, account_id, $4, $4, $4, $5, $6, $7, $8 FROM accounts \
     WHERE account_id = $2 AND password_no = $3 AND state = 'active' AND (NOT second_factor OR $8) FOR SHARE";

/// Deletes at most `$2` of the due rows and skips those that another replica is deleting. The array is evaluated once;
/// a join with the limited subquery could evaluate it again and delete more.
fn delete_some(table: &str, key: &str, due: &str) -> String {
    format!(
        "DELETE FROM {table} WHERE {key} = \
         ANY(ARRAY(SELECT {key} FROM {table} WHERE {due} LIMIT $2 FOR UPDATE SKIP LOCKED))"
    )
}

/// See [`super::offer_admin`].
pub(super) async fn offer_admin(url: &Secret, code_hash: &[u8], expire_time: Timestamp) -> Result<(), Unopened> {
    let mut connection = postgres::connect(url, "auth").await?;
    let offered = sql::admin::offer(code_hash, expire_time).execute(&mut connection).await;
    offered.map(drop).map_err(|error| Unopened(format!("the code cannot be stored: {}", chain(&error))))
}

pub(super) async fn open(url: &Secret, settings: &Settings) -> Result<sql::Sql, Unopened> {
    let pool = postgres::open(url, "auth", settings, &sqlx::migrate!("migrations/postgres")).await?;
    Ok(sql::Sql::new(pool.clone(), pool, &settings.audit_keys))
}
