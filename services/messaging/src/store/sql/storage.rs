//! Quotas of stored bytes: of a conversation, and of a user.
//!
//! A user is charged for what they have stored in the conversations of which they are a member: only there they can
//! delete it. Leaving and removal give the bytes back, and a return charges them again. The bytes that a user has left
//! behind are bounded too: beyond the quota of a user they stay charged. Otherwise a user who fills and leaves one
//! conversation after another could store any number of bytes.
//!
//! The conversation's row is locked, and then the user's.

use kit_data::store::Error;
use sqlx::Row as _;

use super::{Sql, Tx};
use crate::{
    domain::{ConversationId, UserId},
    store::{AppendError, ChangeError, InsertError},
};

/// Why a change may not store more bytes.
pub(super) enum Full {
    /// The conversation has reached its quota.
    Conversation,
    /// The user has reached their quota.
    User,
    /// The store failed.
    Store(Error),
}

impl From<sqlx::Error> for Full {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<Full> for ChangeError {
    fn from(full: Full) -> Self {
        match full {
            Full::Conversation => Self::StorageFull,
            Full::User => Self::UserStorageFull,
            Full::Store(error) => Self::Store(error),
        }
    }
}

impl From<Full> for AppendError {
    fn from(full: Full) -> Self {
        match full {
            Full::Conversation => Self::StorageFull,
            Full::User => Self::UserStorageFull,
            Full::Store(error) => Self::Store(error),
        }
    }
}

impl From<Full> for InsertError {
    fn from(full: Full) -> Self {
        match full {
            // A new conversation is far below its quota, which is at least 64 KiB.
            Full::Conversation | Full::User => Self::UserStorageFull,
            Full::Store(error) => Self::Store(error),
        }
    }
}

impl Sql {
    /// Fails if a log of `bytes` exceeds the quota of a conversation.
    pub(super) fn require_room(&self, bytes: i64) -> Result<(), Full> {
        let quota = i64::try_from(self.quotas.conversation_bytes).unwrap_or(i64::MAX);
        if bytes <= quota { Ok(()) } else { Err(Full::Conversation) }
    }

    /// Adds `bytes` to those that the member `user` has stored in the conversation. Fails if more bytes exceed the quota
    /// of a user.
    pub(super) async fn charge(
        &self,
        tx: &mut Tx<'_>,
        id: ConversationId,
        user: UserId,
        bytes: i64,
    ) -> Result<(), Full> {
        count_for_member(tx, id, user, bytes).await?;
        self.charge_user(tx, user, bytes).await
    }

    /// Like [`Sql::charge`], for a membership that has counted the bytes already.
    pub(super) async fn charge_user(&self, tx: &mut Tx<'_>, user: UserId, bytes: i64) -> Result<(), Full> {
        let row = sqlx::query(
            "INSERT INTO people (user_id, conversation_count, added_count, stored_bytes) VALUES ($1, 0, 0, $2) \
             ON CONFLICT (user_id) DO UPDATE SET stored_bytes = people.stored_bytes + excluded.stored_bytes \
             RETURNING stored_bytes, left_bytes",
        )
        .bind(user.0)
        .bind(bytes)
        .fetch_one(&mut **tx)
        .await?;
        let (stored, left): (i64, i64) = (row.try_get("stored_bytes")?, row.try_get("left_bytes")?);
        let quota = i64::try_from(self.quotas.user_bytes).unwrap_or(i64::MAX);
        let charged = stored.saturating_add(left.saturating_sub(quota).max(0));
        if bytes > 0 && charged > quota { Err(Full::User) } else { Ok(()) }
    }

    /// Takes `bytes`, which are freed in the conversation, off those of their author. The author may have left it.
    pub(super) async fn free(
        &self,
        tx: &mut Tx<'_>,
        id: ConversationId,
        author: UserId,
        bytes: i64,
    ) -> Result<(), Full> {
        if count_for_member(tx, id, author, -bytes).await? {
            return self.charge_user(tx, author, -bytes).await;
        }
        let former =
            "UPDATE former_members SET stored_bytes = stored_bytes - $3 WHERE conversation_id = $1 AND user_id = $2";
        sqlx::query(former).bind(id.0).bind(author.0).bind(bytes).execute(&mut **tx).await?;
        sqlx::query("UPDATE people SET left_bytes = left_bytes - $2 WHERE user_id = $1")
            .bind(author.0)
            .bind(bytes)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
}

/// Adds to the bytes of a member. Returns whether the user is a member.
async fn count_for_member(tx: &mut Tx<'_>, id: ConversationId, user: UserId, bytes: i64) -> Result<bool, sqlx::Error> {
    let counted =
        sqlx::query("UPDATE members SET stored_bytes = stored_bytes + $3 WHERE conversation_id = $1 AND user_id = $2")
            .bind(id.0)
            .bind(user.0)
            .bind(bytes)
            .execute(&mut **tx)
            .await?;
    Ok(counted.rows_affected() > 0)
}

/// Gives the bytes of a membership back that has ended.
pub(super) async fn give_back(
    tx: &mut Tx<'_>,
    id: ConversationId,
    user: UserId,
    bytes: i64,
) -> Result<(), sqlx::Error> {
    if bytes == 0 {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO former_members (conversation_id, user_id, stored_bytes) VALUES ($1, $2, $3) \
         ON CONFLICT (conversation_id, user_id) DO UPDATE \
         SET stored_bytes = former_members.stored_bytes + excluded.stored_bytes",
    )
    .bind(id.0)
    .bind(user.0)
    .bind(bytes)
    .execute(&mut **tx)
    .await?;
    move_bytes(tx, user, -bytes).await
}

/// Charges a new member for the bytes of an earlier membership, even beyond the quota: they can delete the messages
/// again.
pub(super) async fn charge_again(tx: &mut Tx<'_>, id: ConversationId, user: UserId) -> Result<(), sqlx::Error> {
    let former =
        sqlx::query("DELETE FROM former_members WHERE conversation_id = $1 AND user_id = $2 RETURNING stored_bytes")
            .bind(id.0)
            .bind(user.0)
            .fetch_optional(&mut **tx)
            .await?;
    let Some(former) = former else { return Ok(()) };
    let bytes: i64 = former.try_get("stored_bytes")?;
    count_for_member(tx, id, user, bytes).await?;
    move_bytes(tx, user, bytes).await
}

/// Moves bytes from those that the user has left behind to those that are charged.
async fn move_bytes(tx: &mut Tx<'_>, user: UserId, bytes: i64) -> Result<(), sqlx::Error> {
    let moved = "UPDATE people SET stored_bytes = stored_bytes + $2, left_bytes = left_bytes - $2 WHERE user_id = $1";
    sqlx::query(moved).bind(user.0).bind(bytes).execute(&mut **tx).await?;
    Ok(())
}
