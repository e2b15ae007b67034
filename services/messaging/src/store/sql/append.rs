//! Appends messages.

use kit_data::store::DbTimestamp;
use sqlx::Row as _;

use super::{
    Sql, Tx,
    invitations::accept_by_reply,
    log::{entry, insert_entry},
    members::{is_blocked, read_own},
    messages::message_entry,
};
use crate::{
    domain::{Entry, Fingerprint, MembershipKind, NewMessage},
    store::{AppendError, Appended, body::stored_size},
};

impl Sql {
    pub(super) async fn append_message(&self, new: &NewMessage) -> Result<Appended, AppendError> {
        let mut tx = self.begin_with(&[new.author], Some(new.conversation)).await?;
        // The numbers have their own columns and do not change the body's size.
        let size = stored_size(&message_entry(new, 0, 0).body);
        // Locks the conversation's row, assigns both numbers and counts the bytes. A repeat rolls this back.
        let numbers = sqlx::query(
            "UPDATE conversations SET last_seq = last_seq + 1, message_count = message_count + 1, update_time = $2, \
             stored_bytes = stored_bytes + $3 WHERE conversation_id = $1 \
             RETURNING last_seq, message_count, stored_bytes, member_count",
        )
        .bind(new.conversation.0)
        .bind(DbTimestamp(new.create_time))
        .bind(size)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(AppendError::NotFound)?;
        let entry = message_entry(new, numbers.try_get("last_seq")?, numbers.try_get("message_count")?);
        // Starts after the lock is held, so that it sees whether the author is still a member: see `log::lock`.
        let membership_kind = read_own(&mut tx, new, numbers.try_get("message_count")?).await?;
        if membership_kind.ok_or(AppendError::NotFound)? == MembershipKind::Requested {
            accept_by_reply(&mut tx, new.conversation, new.author).await?;
        }
        let claimed = sqlx::query(
            "INSERT INTO client_messages (conversation_id, author_id, client_message_id, fingerprint, seq) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (conversation_id, author_id, client_message_id) DO NOTHING",
        )
        .bind(new.conversation.0)
        .bind(new.author.0)
        .bind(new.client_id)
        .bind(new.fingerprint().0)
        .bind(entry.seq)
        .execute(&mut *tx)
        .await?;
        if claimed.rows_affected() == 0 {
            // Under the lock: the author is a member, and no other transaction can change the entry.
            let entry = first_entry(&mut tx, new).await?;
            tx.rollback().await?;
            return Ok(Appended { entry, is_new: false });
        }
        if is_blocked(&mut tx, new.conversation, new.author, numbers.try_get("member_count")?).await? {
            return Err(AppendError::NotAccepted);
        }
        self.require_room(numbers.try_get("stored_bytes")?)?;
        self.charge(&mut tx, new.author, size).await?;
        insert_entry(&mut tx, &entry).await?;
        tx.commit().await?;
        Ok(Appended { entry, is_new: true })
    }
}

/// The entry that was first stored under the client's id, if the fingerprints are equal.
async fn first_entry(tx: &mut Tx<'_>, new: &NewMessage) -> Result<Entry, AppendError> {
    let row = sqlx::query(
        "SELECT c.fingerprint, e.conversation_id, e.seq, e.message_no, e.author_id, e.create_time, e.body \
         FROM client_messages c JOIN entries e ON e.conversation_id = c.conversation_id AND e.seq = c.seq \
         WHERE c.conversation_id = $1 AND c.author_id = $2 AND c.client_message_id = $3",
    )
    .bind(new.conversation.0)
    .bind(new.author.0)
    .bind(new.client_id)
    .fetch_one(&mut **tx)
    .await?;
    let fingerprint = Fingerprint(row.try_get("fingerprint")?);
    if fingerprint != new.fingerprint() {
        return Err(AppendError::RequestIdReused);
    }
    Ok(entry(&row)?)
}
