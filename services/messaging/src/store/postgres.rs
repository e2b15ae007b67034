//! The store on PostgreSQL.

#[path = "sql.rs"]
mod sql;

use kit::{
    config::Secret,
    store::{Unopened, postgres},
};
use sqlx::{Pool, Transaction};
use uuid::Uuid;

use crate::domain::UserId;

pub(super) type Db = sqlx::Postgres;

/// "is one of `among`", which is bound as `$1`: one statement for any number of ids.
const AMONG: &str = "= ANY($1)";

/// Joins the membership `own` of the user `$2`. With the limit it is looked up conversation by conversation; PostgreSQL would
/// begin with all conversations of the user.
const MEMBERSHIP: &str = "CROSS JOIN LATERAL (SELECT read_no FROM members \
     WHERE conversation_id = c.conversation_id AND user_id = $2 LIMIT 1) own";

/// Joins the first members `m` of each conversation `c`: as many as [`crate::domain::FIRST_MEMBERS`].
const FIRST_MEMBERS: &str = "CROSS JOIN LATERAL (SELECT user_id, join_seq, read_no FROM members \
     WHERE conversation_id = c.conversation_id ORDER BY join_seq, user_id LIMIT 8) m";

fn among(ids: impl Iterator<Item = Uuid>) -> Vec<Uuid> {
    ids.collect()
}

pub(super) async fn open(url: &Secret, pool_size: u32) -> Result<sql::Sql, Unopened> {
    let pool = postgres::open(url, "messaging", pool_size, &sqlx::migrate!("migrations/postgres")).await?;
    sql::Sql::new(pool.clone(), pool).await
}

async fn begin(pool: &Pool<Db>) -> sqlx::Result<Transaction<'static, Db>> {
    pool.begin().await
}

/// Counts a conversation for each of `people`; the answer is for how many there was room. In the order of ids,
/// so that two creators never wait for each other in a circle.
async fn count_conversation(tx: &mut Transaction<'_, Db>, people: &[UserId], limit: u32) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "INSERT INTO people (user_id, conversation_count) SELECT id, 1 FROM unnest($1::uuid[]) AS id ORDER BY id \
         ON CONFLICT (user_id) DO UPDATE SET conversation_count = people.conversation_count + 1 \
         WHERE people.conversation_count < $2",
    )
    .bind(ids(people))
    .bind(i64::from(limit))
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected())
}

async fn insert_members(
    tx: &mut Transaction<'_, Db>,
    conversation: Uuid,
    people: &[UserId],
    join_seq: i64,
    read_no: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO members (conversation_id, user_id, join_seq, read_no) \
         SELECT $1, id, $3, $4 FROM unnest($2::uuid[]) AS id",
    )
    .bind(conversation)
    .bind(ids(people))
    .bind(join_seq)
    .bind(read_no)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn ids(people: &[UserId]) -> Vec<Uuid> {
    people.iter().map(|id| id.0).collect()
}
