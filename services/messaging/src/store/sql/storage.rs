//! Quotas of stored bytes: of a conversation, and of a user.

use kit_data::store::Error;
use sqlx::Row as _;

use super::{Sql, Tx};
use crate::{
    domain::UserId,
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

    /// Adds `bytes` to those that `user` has stored. Fails if the sum exceeds the quota of a user. Locks the user's row,
    /// after the conversation's.
    pub(super) async fn charge(&self, tx: &mut Tx<'_>, user: UserId, bytes: i64) -> Result<(), Full> {
        let stored = count_user_bytes(tx, user, bytes).await?;
        let quota = i64::try_from(self.quotas.user_bytes).unwrap_or(i64::MAX);
        if stored <= quota { Ok(()) } else { Err(Full::User) }
    }
}

/// Subtracts `bytes` from those that `user` has stored. Checks no quota: `bytes` is negative if the text was shorter than
/// the time of its deletion, and a full user must be able to delete it. Locks the user's row, after the conversation's.
pub(super) async fn free(tx: &mut Tx<'_>, user: UserId, bytes: i64) -> Result<(), sqlx::Error> {
    count_user_bytes(tx, user, -bytes).await.map(drop)
}

/// Adds to the bytes of a user and returns the sum, which is at least 0: processes of an older release, which counted
/// nothing, may have written the entry whose bytes are freed.
async fn count_user_bytes(tx: &mut Tx<'_>, user: UserId, bytes: i64) -> Result<i64, sqlx::Error> {
    let row = sqlx::query(
        "INSERT INTO people (user_id, conversation_count, added_count, stored_bytes) VALUES ($1, 0, 0, $2) \
         ON CONFLICT (user_id) DO UPDATE SET stored_bytes = \
         CASE WHEN people.stored_bytes + $3 > 0 THEN people.stored_bytes + $3 ELSE 0 END RETURNING stored_bytes",
    )
    .bind(user.0)
    .bind(bytes.max(0))
    .bind(bytes)
    .fetch_one(&mut **tx)
    .await?;
    row.try_get("stored_bytes")
}
