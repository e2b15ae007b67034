//! The store on PostgreSQL.

#[path = "sql.rs"]
mod sql;

use kit::{
    config::Secret,
    store::{Settings, Unopened, postgres},
};
use uuid::Uuid;

use crate::domain::Quotas;

pub(super) type Db = sqlx::Postgres;

/// "is one of `among`", which is bound as `$1`: one statement for any number of ids.
const AMONG: &str = "= ANY($1)";

/// The ids `e.id` of `among`, which is bound as `$1`.
const EACH: &str = "unnest($1::uuid[]) AS e(id)";

/// Deletes the invitations of the users `among`, bound as `$1`, that have expired at `$2`. Those that other transactions hold
/// are left to the next one: they wait for rows that this one holds.
const DELETE_EXPIRED: &str = "DELETE FROM invitations WHERE (conversation_id, invitee_id) IN \
     (SELECT conversation_id, invitee_id FROM invitations WHERE invitee_id = ANY($1) AND expire_time <= $2 \
     FOR UPDATE SKIP LOCKED)";

/// As `among` is bound.
type Ids = Vec<Uuid>;

/// Joins the membership `own` of the user `$2`. With the limit it is looked up conversation by conversation; PostgreSQL would
/// begin with all conversations of the user.
const MEMBERSHIP: &str = "CROSS JOIN LATERAL (SELECT read_no, standing, added_by FROM members \
     WHERE conversation_id = c.conversation_id AND user_id = $2 LIMIT 1) own";

/// Joins the first members `m` of each conversation `c`: as many as [`crate::domain::FIRST_MEMBERS`].
const FIRST_MEMBERS: &str = "CROSS JOIN LATERAL (SELECT user_id, join_seq, read_no, standing FROM members \
     WHERE conversation_id = c.conversation_id ORDER BY join_seq, user_id LIMIT 8) m";

fn among(ids: impl Iterator<Item = Uuid>) -> Ids {
    ids.collect()
}

pub(super) async fn open(url: &Secret, settings: &Settings, quotas: Quotas) -> Result<sql::Sql, Unopened> {
    let pool = postgres::open(url, "messaging", settings, &sqlx::migrate!("migrations/postgres")).await?;
    sql::Sql::new(pool.clone(), pool, quotas).await
}
