//! The store on SQLite.

#[path = "sql.rs"]
mod sql;

use std::path::Path;

use kit_data::store::{Settings, Unopened, sqlite};
use sqlx::Sqlite as Db;
use uuid::Uuid;

use self::IdJson as Ids;
use crate::domain::Quotas;

/// The condition "is one of `among`", bound as `$1`: one statement for any number of ids. SQLite has no arrays; the ids
/// are a JSON array.
const AMONG: &str = "IN (SELECT unhex(value) FROM json_each($1))";

/// The ids `e.id` of `among`, bound as `$1`.
const EACH: &str = "(SELECT unhex(value) AS id FROM json_each($1)) AS e";

/// Deletes the invitations of the users `among`, bound as `$1`, that have expired at `$2`.
const DELETE_EXPIRED: &str =
    "DELETE FROM invitations WHERE invitee_id IN (SELECT unhex(value) FROM json_each($1)) AND expire_time <= $2";

/// The type of the bound `among`.
type IdJson = String;

/// Joins the membership `own` of the user `$2`.
const MEMBERSHIP: &str = "JOIN members own ON own.conversation_id = c.conversation_id AND own.user_id = $2";

/// Joins the first [`crate::domain::FIRST_MEMBERS`] members `m` of each conversation `c`.
const FIRST_MEMBERS: &str = "JOIN members m ON m.conversation_id = c.conversation_id AND m.user_id IN \
     (SELECT user_id FROM members WHERE conversation_id = c.conversation_id ORDER BY join_seq, user_id LIMIT 8)";

fn among(ids: impl Iterator<Item = Uuid>) -> IdJson {
    let quoted: Vec<String> = ids.map(|id| format!("\"{}\"", id.simple())).collect();
    format!("[{}]", quoted.join(","))
}

pub(super) async fn open(path: &Path, settings: &Settings, quotas: Quotas) -> Result<sql::Sql, Unopened> {
    let pools = sqlite::open(path, settings, &sqlx::migrate!("migrations/sqlite")).await?;
    sql::Sql::new(pools.read, pools.write, quotas, &settings.audit_keys).await
}
