//! Reads and changes stored messages.

use async_trait::async_trait;
use kit_data::store::Error;
use sqlx::Row as _;
use uuid::Uuid;

use super::{
    Sql, Tx,
    log::{change_entry, count_bytes, entry, insert_entry, lock, rewrite_entry},
    members::is_blocked,
    storage::free,
};
use crate::{
    domain::{Body, Change, ConversationId, Entry, Message, NewMessage, UserId},
    store::{
        ChangeError, Changed, Messages, MessagingStore as _,
        body::{self, stored_size},
    },
};

#[async_trait]
impl Messages for Sql {
    async fn find_message(&self, id: ConversationId, member: UserId, message: Uuid) -> Result<Option<Entry>, Error> {
        let row = sqlx::query(
            "SELECT conversation_id, seq, message_no, author_id, create_time, body FROM entries \
             WHERE message_id = $3 AND conversation_id = $1 AND EXISTS \
             (SELECT 1 FROM members WHERE conversation_id = $1 AND user_id = $2)",
        )
        .bind(id.0)
        .bind(member.0)
        .bind(message)
        .fetch_optional(&self.read)
        .await?;
        row.as_ref().map(entry).transpose()
    }

    async fn edit(&self, change: Change, message: Uuid, text: &str) -> Result<Changed, ChangeError> {
        let mut tx = self.begin_with(&[change.actor], Some(change.conversation)).await?;
        let locked = lock(&mut tx, &change).await?;
        let (stored, current) = read(&mut tx, &change, message).await?;
        if stored.author != change.actor {
            return Err(ChangeError::NotAuthor);
        }
        if current.delete_time.is_some() {
            return Err(ChangeError::Erased);
        }
        if current.text == text {
            return Ok(Changed::Already);
        }
        if change.revision.is_some_and(|revision| revision != current.revision) {
            return Err(ChangeError::OtherRevision);
        }
        if current.revision > i64::from(self.quotas.edits_per_message) {
            return Err(ChangeError::TooManyEdits);
        }
        if is_blocked(&mut tx, change.conversation, change.actor, locked.member_count).await? {
            return Err(ChangeError::NotAccepted);
        }
        let (number, revision) = (current.number, current.revision + 1);
        let edited = Message { text: text.to_owned(), edit_time: Some(change.now), revision, ..current };
        let edited = Body::Message(edited);
        let body = Body::Edited { message, number, text: text.to_owned(), revision };
        let more = stored_size(&edited) - stored_size(&stored.body) + stored_size(&body);
        if more > 0 {
            self.require_room(locked.stored_bytes + more)?;
            self.charge(&mut tx, change.actor, more).await?;
        } else {
            free(&mut tx, change.actor, -more).await?;
        }
        count_bytes(&mut tx, change.conversation, more).await?;
        rewrite_entry(&mut tx, &Entry { body: edited, ..stored }).await?;
        insert_entry(&mut tx, &change_entry(&change, locked.seq, body)).await?;
        tx.commit().await?;
        Ok(Changed::Now(locked.seq))
    }

    async fn erase(&self, change: Change, message: Uuid) -> Result<Changed, ChangeError> {
        // The bytes of the message count for its author, whose row changes.
        let author = self.author_of(&change, message).await?;
        let mut tx = self.begin_with(&[author], Some(change.conversation)).await?;
        let locked = lock(&mut tx, &change).await?;
        let (stored, current) = read(&mut tx, &change, message).await?;
        if stored.author != change.actor && locked.owner != change.actor {
            return Err(ChangeError::NotAuthor);
        }
        if current.delete_time.is_some() {
            return Ok(Changed::Already);
        }
        if is_blocked(&mut tx, change.conversation, change.actor, locked.member_count).await? {
            return Err(ChangeError::NotAccepted);
        }
        let (number, revision) = (current.number, current.revision + 1);
        let edits = erase_edits(&mut tx, &change, &current, revision).await?;
        let erased = Message { text: String::new(), delete_time: Some(change.now), revision, ..current };
        let (erased, body) = (Body::Message(erased), Body::Deleted { message, number });
        let freed = stored_size(&stored.body) - stored_size(&erased) + edits;
        count_bytes(&mut tx, change.conversation, stored_size(&body) - freed).await?;
        free(&mut tx, author, freed).await?;
        rewrite_entry(&mut tx, &Entry { body: erased, ..stored }).await?;
        insert_entry(&mut tx, &change_entry(&change, locked.seq, body)).await?;
        tx.commit().await?;
        Ok(Changed::Now(locked.seq))
    }
}

impl Sql {
    /// The author of the message, who never changes. Only members learn whether a message exists.
    async fn author_of(&self, change: &Change, message: Uuid) -> Result<UserId, ChangeError> {
        if let Some(found) = self.find_message(change.conversation, change.actor, message).await? {
            return Ok(found.author);
        }
        let head = self.head(change.conversation, change.actor).await?;
        Err(head.map_or(ChangeError::NotFound, |_| ChangeError::NoMessage))
    }
}

/// Reads the message. The conversation's row must be locked.
async fn read(tx: &mut Tx<'_>, change: &Change, message: Uuid) -> Result<(Entry, Message), ChangeError> {
    let row = sqlx::query(
        "SELECT conversation_id, seq, message_no, author_id, create_time, body FROM entries \
         WHERE message_id = $2 AND conversation_id = $1",
    )
    .bind(change.conversation.0)
    .bind(message)
    .fetch_optional(&mut **tx)
    .await?
    .ok_or(ChangeError::NoMessage)?;
    let stored = entry(&row)?;
    match stored.body.clone() {
        Body::Message(message) => Ok((stored, message)),
        _ => Err(ChangeError::Store(Error::Corrupt("an entry with a message_id is not a message".to_owned()))),
    }
}

/// Erases the texts of the entries that edited the message: replaces all of them with the same edit to an empty text,
/// in one statement. Returns the bytes that this frees, a negative number if the empty edits are longer.
async fn erase_edits(tx: &mut Tx<'_>, change: &Change, of: &Message, revision: i64) -> Result<i64, ChangeError> {
    let erased = body::encode(&Body::Edited { message: of.id, number: of.number, text: String::new(), revision });
    let row = sqlx::query(
        "SELECT CAST(coalesce(sum(length(body) - $3), 0) AS BIGINT) AS freed FROM entries \
         WHERE conversation_id = $1 AND target_no = $2",
    )
    .bind(change.conversation.0)
    .bind(of.number)
    .bind(i64::try_from(erased.len()).unwrap_or(i64::MAX))
    .fetch_one(&mut **tx)
    .await?;
    sqlx::query("UPDATE entries SET body = $3 WHERE conversation_id = $1 AND target_no = $2")
        .bind(change.conversation.0)
        .bind(of.number)
        .bind(erased)
        .execute(&mut **tx)
        .await?;
    Ok(row.try_get("freed")?)
}

/// The log entry of a new message.
pub(super) fn message_entry(new: &NewMessage, seq: i64, number: i64) -> Entry {
    let message = Message {
        id: new.id,
        client_id: new.client_id,
        number,
        text: new.text.clone(),
        edit_time: None,
        delete_time: None,
        revision: 1,
    };
    Entry {
        conversation: new.conversation,
        seq,
        author: new.author,
        create_time: new.create_time,
        body: Body::Message(message),
    }
}
