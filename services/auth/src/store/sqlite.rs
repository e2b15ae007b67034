//! The store on SQLite.

#[path = "sql.rs"]
mod sql;

use std::path::Path;

use kit::{Timestamp, error::chain};
use kit_data::store::{Settings, Unopened, sqlite};
use sqlx::Sqlite as Db;

/// Without locks, here and below: a write transaction in SQLite is the only writer.
const LOCK_SESSION: &str = "SELECT account_id, create_time, auth_time, expire_time, revoke_time, second_factor FROM sessions \
     WHERE session_id = $1";

const HOLD_SESSION: &str = sql::session::IN_FORCE;

const LOCK_ACCOUNT: &str = "SELECT account_id FROM accounts WHERE account_id = $1";

const HOLD_ACCOUNT: &str = "SELECT account_id FROM accounts WHERE account_id = $1 AND password_no = $2 \
     AND state = 'active' AND NOT second_factor";

const LOCK_ACTIVE: &str = "SELECT account_id FROM accounts WHERE account_id = $1 AND state = 'active'";

const LOCK_ADMINS: &str = "SELECT code_hash, code_expire_time FROM admin_setup WHERE singleton = 1";

const INSERT_SESSION: &str = "INSERT INTO sessions (session_id, account_id, create_time, auth_time, last_use_time, \
     expire_time, user_agent, address, second_factor) SELECT $1, account_id, $4, $4, $4, $5, $6, $7, $8 FROM accounts \
     WHERE account_id = $2 AND password_no = $3 AND state = 'active' AND (NOT second_factor OR $8)";

/// Deletes at most `$2` of the due rows.
fn delete_some(table: &str, key: &str, due: &str) -> String {
    format!("DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {due} LIMIT $2)")
}

/// See [`super::offer_admin`].
pub(super) async fn offer_admin(path: &Path, code_hash: &[u8], expire_time: Timestamp) -> Result<(), Unopened> {
    let mut connection = sqlite::connect(path).await?;
    let offered = sql::admin::offer(code_hash, expire_time).execute(&mut connection).await;
    offered.map(drop).map_err(|error| Unopened(format!("the code cannot be stored: {}", chain(&error))))
}

pub(super) async fn open(path: &Path, settings: &Settings) -> Result<sql::Sql, Unopened> {
    let pools = sqlite::open(path, settings, &sqlx::migrate!("migrations/sqlite")).await?;
    Ok(sql::Sql::new(pools.read, pools.write, &settings.audit_keys))
}
