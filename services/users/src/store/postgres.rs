//! The store on PostgreSQL.

#[path = "sql.rs"]
mod sql;

use kit::{
    config::Secret,
    store::{Settings, Unopened, postgres},
};

pub(super) use sql::Sql;

pub(super) type Db = sqlx::Postgres;

/// `$1`: the ids as an array.
const FIND_ALL: &str = "SELECT user_id, handle, display_name, state, create_time, revision FROM users \
     WHERE user_id = ANY($1)";

/// `$4`: the ids as an array.
const LIST_AMONG: &str = "SELECT user_id, handle, display_name, state, create_time, revision FROM users \
     WHERE (user_id = ANY($4) OR handle = $2) AND handle > $1 AND handle >= $2 AND handle < $3 \
     AND state = 'active' ORDER BY handle LIMIT $5";

/// `$1`: whose.
const OWN_HANDLE: &str = "SELECT handle FROM users WHERE user_id = $1 AND state = 'active' FOR UPDATE";

type Ids = Vec<uuid::Uuid>;

fn bind_ids(ids: impl Iterator<Item = uuid::Uuid>) -> Ids {
    ids.collect()
}

pub(super) async fn open(url: &Secret, settings: &Settings) -> Result<Sql, Unopened> {
    let pool = postgres::open(url, "users", settings, &sqlx::migrate!("migrations/postgres")).await?;
    Ok(Sql { read: pool.clone(), write: pool })
}
