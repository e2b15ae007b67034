//! The store on PostgreSQL.

#[path = "sql.rs"]
mod sql;

use kit::config::Secret;
use kit_data::{
    audit::Log,
    store::{Settings, Unopened, postgres},
};

pub(super) use sql::Sql;
pub(super) use sqlx::Postgres as Db;

/// `$1`: the ids as an array.
const FIND_ALL: &str = "SELECT user_id, handle, display_name, state, create_time, revision FROM users \
     WHERE user_id = ANY($1)";

/// `$3`: the ids as an array.
const LIST_AMONG: &str = "SELECT user_id, handle, display_name, state, create_time, revision, handle AS key FROM users \
     WHERE user_id = ANY($3) AND handle > $1 AND state = 'active' ORDER BY handle LIMIT $2";

/// `$6`: the ids as an array.
const SEARCH_AMONG: &str = "SELECT u.user_id, u.handle, u.display_name, u.state, u.create_time, u.revision, m.key \
     FROM (SELECT p.user_id, (SELECT min(t.term) FROM search_terms t \
     WHERE t.user_id = p.user_id AND t.term >= $1 AND t.term < $2) AS key \
     FROM (SELECT unnest($6::uuid[]) AS user_id UNION SELECT user_id FROM users WHERE handle = $7) AS p) AS m \
     JOIN users u ON u.user_id = m.user_id \
     WHERE (m.key, m.user_id) > ($3, $4) AND u.state = 'active' ORDER BY m.key, m.user_id LIMIT $5";

/// `$2`: the terms as an array.
const INSERT_TERMS: &str = "INSERT INTO search_terms (term, user_id) SELECT unnest($2::text[]), $1";

/// Skips profiles that another process is indexing.
const STALE: &str = "SELECT user_id, handle, display_name, state, create_time, revision FROM users \
     WHERE terms_revision <> revision ORDER BY user_id LIMIT $1 FOR UPDATE SKIP LOCKED";

/// `$1`: the user's id.
const OWN_HANDLE: &str = "SELECT handle FROM users WHERE user_id = $1 AND state = 'active' FOR UPDATE";

fn bind_ids(ids: impl Iterator<Item = uuid::Uuid>) -> Vec<uuid::Uuid> {
    ids.collect()
}

fn bind_terms(terms: Vec<String>) -> Vec<String> {
    terms
}

pub(super) async fn open(url: &Secret, settings: &Settings) -> Result<Sql, Unopened> {
    let pool = postgres::open(url, "users", settings, &sqlx::migrate!("migrations/postgres")).await?;
    let audit = Log::new("users", pool.clone(), pool.clone(), settings.audit_keys.clone());
    Ok(Sql { read: pool.clone(), write: pool, audit })
}
