//! The store on SQLite.

#[path = "sql.rs"]
mod sql;

use std::path::Path;

use kit::store::{Unopened, sqlite};
use sqlx::{Pool, Transaction};
use uuid::Uuid;

use crate::domain::UserId;

pub(super) type Db = sqlx::Sqlite;

/// "is one of `among`", which is bound as `$1`: one statement for any number of ids. SQLite has no arrays, but reads
/// one that is written as JSON.
const AMONG: &str = "IN (SELECT unhex(value) FROM json_each($1))";

/// Joins the membership `own` of the user `$2`.
const MEMBERSHIP: &str = "JOIN members own ON own.conversation_id = c.conversation_id AND own.user_id = $2";

/// Joins the first members `m` of each conversation `c`: as many as [`crate::domain::FIRST_MEMBERS`].
const FIRST_MEMBERS: &str = "JOIN members m ON m.conversation_id = c.conversation_id AND m.user_id IN \
     (SELECT user_id FROM members WHERE conversation_id = c.conversation_id ORDER BY join_seq, user_id LIMIT 8)";

fn among(ids: impl Iterator<Item = Uuid>) -> String {
    let quoted: Vec<String> = ids.map(|id| format!("\"{}\"", id.simple())).collect();
    format!("[{}]", quoted.join(","))
}

pub(super) async fn open(path: &Path) -> Result<sql::Sql, Unopened> {
    let pools = sqlite::open(path, &sqlx::migrate!("migrations/sqlite")).await?;
    sql::Sql::new(pools.read, pools.write).await
}

/// IMMEDIATE: a transaction that reads first and writes then would get BUSY at once when another has written.
async fn begin(pool: &Pool<Db>) -> sqlx::Result<Transaction<'static, Db>> {
    pool.begin_with("BEGIN IMMEDIATE").await
}

/// Counts a conversation for each of `people`; the answer is for how many there was room. SQLite works in this
/// process: a statement for each costs no round trip.
async fn count_conversation(tx: &mut Transaction<'_, Db>, people: &[UserId], limit: u32) -> sqlx::Result<u64> {
    let mut counted = 0;
    for person in people {
        let done = sqlx::query(
            "INSERT INTO people (user_id, conversation_count) VALUES ($1, 1) \
             ON CONFLICT (user_id) DO UPDATE SET conversation_count = people.conversation_count + 1 \
             WHERE people.conversation_count < $2",
        )
        .bind(person.0)
        .bind(i64::from(limit))
        .execute(&mut **tx)
        .await?;
        counted += done.rows_affected();
    }
    Ok(counted)
}

async fn insert_members(
    tx: &mut Transaction<'_, Db>,
    conversation: Uuid,
    people: &[UserId],
    join_seq: i64,
    read_no: i64,
) -> sqlx::Result<()> {
    for person in people {
        sqlx::query("INSERT INTO members (conversation_id, user_id, join_seq, read_no) VALUES ($1, $2, $3, $4)")
            .bind(conversation)
            .bind(person.0)
            .bind(join_seq)
            .bind(read_no)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}
