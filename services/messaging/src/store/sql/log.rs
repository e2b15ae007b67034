//! Stores and reads log entries, and locks a conversation for a change.

use kit_data::store::{DbTimestamp, Error};
use sqlx::Row as _;

use super::{Row, Tx};
use crate::{
    domain::{Body, Change, ConversationId, Entry, UserId},
    store::{ChangeError, body},
};

/// A conversation whose row is locked until the transaction ends. `seq` is the number of the next entry.
pub(super) struct Locked {
    pub(super) seq: i64,
    pub(super) owner: UserId,
    pub(super) revision: i64,
    pub(super) title: String,
    pub(super) stored_bytes: i64,
    pub(super) member_count: i64,
}

/// Locks the conversation's row, assigns the number of the next entry, then checks that the actor is a member. A
/// change without an effect rolls the number back.
///
/// This takes two statements. A statement that waits for a row lock keeps the snapshot from before the wait and reads
/// only the locked row again, so its conditions on other tables see the state before the wait. Everything that depends
/// on the lock is in statements that start after it is held.
pub(super) async fn lock(tx: &mut Tx<'_>, change: &Change) -> Result<Locked, ChangeError> {
    let row = sqlx::query(
        "UPDATE conversations SET last_seq = last_seq + 1, update_time = $2 WHERE conversation_id = $1 \
         RETURNING last_seq, owner_id, revision, title, stored_bytes, member_count",
    )
    .bind(change.conversation.0)
    .bind(DbTimestamp(change.now))
    .fetch_optional(&mut **tx)
    .await?
    .ok_or(ChangeError::NotFound)?;
    sqlx::query("SELECT 1 FROM members WHERE conversation_id = $1 AND user_id = $2")
        .bind(change.conversation.0)
        .bind(change.actor.0)
        .fetch_optional(&mut **tx)
        .await?
        .ok_or(ChangeError::NotFound)?;
    Ok(Locked {
        seq: row.try_get("last_seq")?,
        owner: UserId(row.try_get("owner_id")?),
        revision: row.try_get("revision")?,
        title: row.try_get("title")?,
        stored_bytes: row.try_get("stored_bytes")?,
        member_count: row.try_get("member_count")?,
    })
}

/// The log entry of a change.
pub(super) fn change_entry(change: &Change, seq: i64, body: Body) -> Entry {
    Entry { conversation: change.conversation, seq, author: change.actor, create_time: change.now, body }
}

pub(super) async fn insert_entry(tx: &mut Tx<'_>, entry: &Entry) -> Result<(), sqlx::Error> {
    let (message_no, message_id) = match &entry.body {
        Body::Message(message) => (Some(message.number), Some(message.id)),
        _ => (None, None),
    };
    let (target_no, erased_no) = match &entry.body {
        Body::Edited { number, .. } => (Some(*number), None),
        Body::Deleted { number, .. } => (None, Some(*number)),
        _ => (None, None),
    };
    sqlx::query(
        "INSERT INTO entries (conversation_id, seq, message_no, message_id, target_no, erased_no, author_id, \
         create_time, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(entry.conversation.0)
    .bind(entry.seq)
    .bind(message_no)
    .bind(message_id)
    .bind(target_no)
    .bind(erased_no)
    .bind(entry.author.0)
    .bind(DbTimestamp(entry.create_time))
    .bind(body::encode(&entry.body))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Adds to the bytes of a conversation whose row is locked. The sum is at least 0, as that of a user's bytes.
pub(super) async fn count_bytes(tx: &mut Tx<'_>, id: ConversationId, bytes: i64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE conversations SET stored_bytes = CASE WHEN stored_bytes + $2 > 0 THEN stored_bytes + $2 ELSE 0 END \
         WHERE conversation_id = $1",
    )
    .bind(id.0)
    .bind(bytes)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Replaces the body of an entry.
pub(super) async fn rewrite_entry(tx: &mut Tx<'_>, entry: &Entry) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE entries SET body = $3 WHERE conversation_id = $1 AND seq = $2")
        .bind(entry.conversation.0)
        .bind(entry.seq)
        .bind(body::encode(&entry.body))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) fn entry(row: &Row) -> Result<Entry, Error> {
    let create_time: DbTimestamp = row.try_get("create_time")?;
    let stored: Vec<u8> = row.try_get("body")?;
    Ok(Entry {
        conversation: ConversationId(row.try_get("conversation_id")?),
        seq: row.try_get("seq")?,
        author: UserId(row.try_get("author_id")?),
        create_time: create_time.0,
        body: body::decode(&stored, row.try_get("message_no")?)?,
    })
}
