//! The store on SQLite.

#[path = "sql.rs"]
mod sql;

use std::path::Path;

use kit::store::{Settings, Unopened, sqlite};

pub(super) use sql::Sql;

pub(super) type Db = sqlx::Sqlite;

/// `$1`: the ids as a JSON array of hexadecimal texts. SQLite has no array parameter.
const FIND_ALL: &str = "SELECT user_id, handle, display_name, state, create_time, revision FROM users \
     WHERE user_id IN (SELECT unhex(value) FROM json_each($1))";

/// `$4`: the ids likewise.
const LIST_AMONG: &str = "SELECT user_id, handle, display_name, state, create_time, revision FROM users \
     WHERE (user_id IN (SELECT unhex(value) FROM json_each($4)) OR handle = $2) \
     AND handle > $1 AND handle >= $2 AND handle < $3 AND state = 'active' ORDER BY handle LIMIT $5";

/// `$1`: whose. A transaction of SQLite is the only writer from its first statement.
const OWN_HANDLE: &str = "SELECT handle FROM users WHERE user_id = $1 AND state = 'active'";

type Ids = String;

fn bind_ids(ids: impl Iterator<Item = uuid::Uuid>) -> Ids {
    let quoted: Vec<String> = ids.map(|id| format!("\"{}\"", id.simple())).collect();
    format!("[{}]", quoted.join(","))
}

pub(super) async fn open(path: &Path, settings: &Settings) -> Result<Sql, Unopened> {
    let pools = sqlite::open(path, settings, &sqlx::migrate!("migrations/sqlite")).await?;
    Ok(Sql { read: pools.read, write: pools.write })
}
