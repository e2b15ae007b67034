//! The store on PostgreSQL.

#[path = "sql.rs"]
mod sql;

use kit::config::Secret;
use kit_data::store::{Settings, Unopened, postgres};
use sqlx::Postgres as Db;
use uuid::Uuid;

use self::IdArray as Ids;
use crate::domain::Quotas;

/// The condition "is one of `among`", bound as `$1`: one statement for any number of ids.
const AMONG: &str = "= ANY($1)";

/// The ids `e.id` of `among`, bound as `$1`.
const EACH: &str = "unnest($1::uuid[]) AS e(id)";

/// Deletes the invitations of the users `among`, bound as `$1`, that have expired at `$2`. Skips those that other
/// transactions have locked: these may wait for rows that this transaction has locked.
const DELETE_EXPIRED: &str = "DELETE FROM invitations WHERE (conversation_id, invitee_id) IN \
     (SELECT conversation_id, invitee_id FROM invitations WHERE invitee_id = ANY($1) AND expire_time <= $2 \
     FOR UPDATE SKIP LOCKED)";

/// The type of the bound `among`.
type IdArray = Vec<Uuid>;

/// Joins the membership `own` of the user `$2`. The LIMIT makes PostgreSQL look it up for each conversation; without it
/// the plan begins with all conversations of the user.
const MEMBERSHIP: &str = "CROSS JOIN LATERAL (SELECT read_no, standing, added_by FROM members \
     WHERE conversation_id = c.conversation_id AND user_id = $2 LIMIT 1) own";

/// Joins the first [`crate::domain::FIRST_MEMBERS`] members `m` of each conversation `c`.
const FIRST_MEMBERS: &str = "CROSS JOIN LATERAL (SELECT user_id, join_seq, read_no, standing FROM members \
     WHERE conversation_id = c.conversation_id ORDER BY join_seq, user_id LIMIT 8) m";

fn among(ids: impl Iterator<Item = Uuid>) -> IdArray {
    ids.collect()
}

pub(super) async fn open(url: &Secret, settings: &Settings, quotas: Quotas) -> Result<sql::Sql, Unopened> {
    let pool = postgres::open(url, "messaging", settings, &sqlx::migrate!("migrations/postgres")).await?;
    sql::Sql::new(pool.clone(), pool, quotas, &settings.audit_keys).await
}
