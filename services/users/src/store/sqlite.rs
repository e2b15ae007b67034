//! The store on SQLite.

#[path = "sql.rs"]
mod sql;

use std::path::Path;

use kit_data::{
    audit::Log,
    store::{Settings, Unopened, sqlite},
};

pub(super) use sql::Sql;
pub(super) use sqlx::Sqlite as Db;

/// `$1`: the ids as a JSON array of hexadecimal texts. SQLite has no array parameter.
const FIND_ALL: &str = "SELECT user_id, handle, display_name, state, create_time, revision FROM users \
     WHERE user_id IN (SELECT unhex(value) FROM json_each($1))";

/// `$3`: the ids likewise.
const LIST_AMONG: &str = "SELECT user_id, handle, display_name, state, create_time, revision, handle AS key FROM users \
     WHERE user_id IN (SELECT unhex(value) FROM json_each($3)) AND handle > $1 AND state = 'active' \
     ORDER BY handle LIMIT $2";

/// `$6`: the ids likewise.
const SEARCH_AMONG: &str = "SELECT u.user_id, u.handle, u.display_name, u.state, u.create_time, u.revision, m.key \
     FROM (SELECT p.user_id, (SELECT min(t.term) FROM search_terms t \
     WHERE t.user_id = p.user_id AND t.term >= $1 AND t.term < $2) AS key \
     FROM (SELECT unhex(value) AS user_id FROM json_each($6) UNION SELECT user_id FROM users WHERE handle = $7) AS p) AS m \
     JOIN users u ON u.user_id = m.user_id \
     WHERE (m.key, m.user_id) > ($3, $4) AND u.state = 'active' ORDER BY m.key, m.user_id LIMIT $5";

/// `$2`: the terms as a JSON array of texts.
const INSERT_TERMS: &str = "INSERT INTO search_terms (term, user_id) SELECT value, $1 FROM json_each($2)";

const STALE: &str = "SELECT user_id, handle, display_name, state, create_time, revision FROM users \
     WHERE terms_revision <> revision ORDER BY user_id LIMIT $1";

/// `$1`: the user's id. Without a lock: a write transaction in SQLite is the only writer.
const OWN_HANDLE: &str = "SELECT handle FROM users WHERE user_id = $1 AND state = 'active'";

fn bind_ids(ids: impl Iterator<Item = uuid::Uuid>) -> String {
    let quoted: Vec<String> = ids.map(|id| format!("\"{}\"", id.simple())).collect();
    format!("[{}]", quoted.join(","))
}

/// Terms contain only letters, digits, marks and spaces, which JSON does not escape.
fn bind_terms(terms: Vec<String>) -> String {
    let quoted: Vec<String> = terms.iter().map(|term| format!("\"{term}\"")).collect();
    format!("[{}]", quoted.join(","))
}

pub(super) async fn open(path: &Path, settings: &Settings) -> Result<Sql, Unopened> {
    let pools = sqlite::open(path, settings, &sqlx::migrate!("migrations/sqlite")).await?;
    let audit = Log::new("users", pools.read.clone(), pools.write.clone(), settings.audit_keys.clone());
    Ok(Sql { read: pools.read, write: pools.write, audit })
}
