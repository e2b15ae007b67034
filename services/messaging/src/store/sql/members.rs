//! Who is in a conversation, and how far they have read.

use async_trait::async_trait;
use kit::store::Error;
use sqlx::Row as _;

use super::{
    super::{count_conversation, insert_members},
    Row, Sql, Tx, begin,
    log::{change_entry, insert_entry, lock},
};
use crate::{
    domain::{Body, Change, ConversationId, Entry, MARKED_MEMBERS, MOST_MEMBERS, UserId},
    store::{ChangeError, Changed, Members},
};

#[async_trait]
impl Members for Sql {
    async fn add(&self, change: Change, person: UserId, limit: u32) -> Result<Changed, ChangeError> {
        let mut tx = begin(&self.write).await?;
        let locked = lock(&mut tx, &change).await?;
        let row = sqlx::query(
            "SELECT count(*) AS everybody, count(CASE WHEN user_id = $2 THEN 1 END) AS person FROM members \
             WHERE conversation_id = $1",
        )
        .bind(change.conversation.0)
        .bind(person.0)
        .fetch_one(&mut *tx)
        .await?;
        let (everybody, is_in): (i64, i64) = (row.try_get("everybody")?, row.try_get("person")?);
        if is_in > 0 {
            return Ok(Changed::Already);
        }
        if everybody >= MOST_MEMBERS {
            return Err(ChangeError::TooManyMembers);
        }
        if count_conversation(&mut tx, &[person], limit).await? == 0 {
            return Err(ChangeError::TooManyConversations);
        }
        insert_members(&mut tx, change.conversation.0, &[person], locked.seq, locked.message_count).await?;
        insert_entry(&mut tx, &change_entry(&change, locked.seq, Body::Added { person })).await?;
        tx.commit().await?;
        Ok(Changed::Now(locked.seq))
    }

    async fn remove(&self, change: Change, person: UserId) -> Result<Changed, ChangeError> {
        let mut tx = begin(&self.write).await?;
        let locked = lock(&mut tx, &change).await?;
        if person != change.actor && locked.owner != change.actor {
            return Err(ChangeError::NotOwner);
        }
        let removed = sqlx::query("DELETE FROM members WHERE conversation_id = $1 AND user_id = $2")
            .bind(change.conversation.0)
            .bind(person.0)
            .execute(&mut *tx)
            .await?;
        if removed.rows_affected() == 0 {
            return Ok(Changed::Already);
        }
        sqlx::query("UPDATE people SET conversation_count = conversation_count - 1 WHERE user_id = $1")
            .bind(person.0)
            .execute(&mut *tx)
            .await?;
        let owner = if person == locked.owner { succeed(&mut tx, &change).await? } else { locked.owner };
        insert_entry(&mut tx, &change_entry(&change, locked.seq, Body::Removed { person, owner })).await?;
        tx.commit().await?;
        Ok(Changed::Now(locked.seq))
    }

    async fn mark_read(&self, id: ConversationId, member: UserId, number: i64) -> Result<Option<(i64, i64)>, Error> {
        // Never back, and never past the newest message.
        sqlx::query(
            "UPDATE members SET read_no = (SELECT CASE WHEN message_count < $3 THEN message_count ELSE $3 END \
             FROM conversations WHERE conversation_id = $1) \
             WHERE conversation_id = $1 AND user_id = $2 AND read_no < $3 \
             AND read_no < (SELECT message_count FROM conversations WHERE conversation_id = $1)",
        )
        .bind(id.0)
        .bind(member.0)
        .bind(number)
        .execute(&self.write)
        .await?;
        let row = sqlx::query(
            "SELECT c.message_count, m.read_no FROM members m \
             JOIN conversations c ON c.conversation_id = m.conversation_id \
             WHERE m.conversation_id = $1 AND m.user_id = $2",
        )
        .bind(id.0)
        .bind(member.0)
        .fetch_optional(&self.read)
        .await?;
        let numbers =
            |row: Row| -> Result<_, sqlx::Error> { Ok((row.try_get("message_count")?, row.try_get("read_no")?)) };
        Ok(row.map(numbers).transpose()?)
    }

    async fn read_marks(&self, id: ConversationId, member: UserId) -> Result<Vec<(UserId, i64)>, Error> {
        let rows = sqlx::query(
            "SELECT user_id, read_no FROM members WHERE conversation_id = $1 AND EXISTS \
             (SELECT 1 FROM members WHERE conversation_id = $1 AND user_id = $2) ORDER BY user_id LIMIT $3",
        )
        .bind(id.0)
        .bind(member.0)
        .bind(i64::try_from(MARKED_MEMBERS + 1).unwrap_or(i64::MAX))
        .fetch_all(&self.read)
        .await?;
        if rows.len() > MARKED_MEMBERS {
            return Ok(Vec::new());
        }
        let mark =
            |row: &Row| -> Result<_, sqlx::Error> { Ok((UserId(row.try_get("user_id")?), row.try_get("read_no")?)) };
        Ok(rows.iter().map(mark).collect::<Result<_, _>>()?)
    }

    async fn contacts(&self, member: UserId, limit: u32) -> Result<Vec<UserId>, Error> {
        let rows = sqlx::query(
            "SELECT DISTINCT other.user_id FROM members mine \
             JOIN members other ON other.conversation_id = mine.conversation_id \
             WHERE mine.user_id = $1 AND other.user_id <> $1 LIMIT $2",
        )
        .bind(member.0)
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await?;
        Ok(rows.iter().map(|row| row.try_get("user_id").map(UserId)).collect::<Result<_, _>>()?)
    }
}

/// Makes the member who joined first the owner. Where nobody is left the owner stays who it was: nobody sees it.
async fn succeed(tx: &mut Tx<'_>, change: &Change) -> Result<UserId, ChangeError> {
    let row = sqlx::query(
        "UPDATE conversations SET owner_id = COALESCE((SELECT user_id FROM members WHERE conversation_id = $1 \
         ORDER BY join_seq, user_id LIMIT 1), owner_id) WHERE conversation_id = $1 RETURNING owner_id",
    )
    .bind(change.conversation.0)
    .fetch_one(&mut **tx)
    .await?;
    Ok(UserId(row.try_get("owner_id")?))
}

/// Who has read everything has read their own message too.
pub(super) async fn read_own(tx: &mut Tx<'_>, entry: &Entry) -> Result<(), sqlx::Error> {
    let Body::Message(message) = &entry.body else { return Ok(()) };
    sqlx::query("UPDATE members SET read_no = $3 WHERE conversation_id = $1 AND user_id = $2 AND read_no = $3 - 1")
        .bind(entry.conversation.0)
        .bind(entry.author.0)
        .bind(message.number)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
