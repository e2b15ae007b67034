//! Who is in a conversation, and how far they have read.

use async_trait::async_trait;
use kit::store::Error;
use sqlx::Row as _;

use super::{
    super::{count_conversation, insert_members},
    Row, Sql, Tx, begin,
    conversations::shown_member,
    log::{change_entry, insert_entry, lock},
};
use crate::{
    domain::{Body, Change, ConversationId, MARKED_MEMBERS, MOST_MEMBERS, Member, MembersPage, NewMessage, UserId},
    store::{ChangeError, Changed, Members},
};

#[async_trait]
impl Members for Sql {
    async fn add(&self, change: Change, person: UserId, limit: u32) -> Result<Changed, ChangeError> {
        let mut tx = begin(&self.write).await?;
        let locked = lock(&mut tx, &change).await?;
        if is_member(&mut tx, &change, person).await? {
            return Ok(Changed::Already);
        }
        count_member(&mut tx, &change).await?;
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
        sqlx::query("UPDATE conversations SET member_count = member_count - 1 WHERE conversation_id = $1")
            .bind(change.conversation.0)
            .execute(&mut *tx)
            .await?;
        let owner = if person == locked.owner { succeed(&mut tx, &change, person).await? } else { locked.owner };
        insert_entry(&mut tx, &change_entry(&change, locked.seq, Body::Removed { person, owner })).await?;
        tx.commit().await?;
        Ok(Changed::Now(locked.seq))
    }

    async fn mark_read(&self, id: ConversationId, member: UserId, number: i64) -> Result<Option<(i64, i64)>, Error> {
        let Some((count, read)) = self.numbers(id, member).await? else { return Ok(None) };
        // Never past the newest message, as counted before: the count only grows.
        let number = number.min(count);
        if number <= read {
            return Ok(Some((count, read)));
        }
        // The membership is the row that the statement locks: removed meanwhile, it matches no row. Never back.
        let marked =
            sqlx::query("UPDATE members SET read_no = $3 WHERE conversation_id = $1 AND user_id = $2 AND read_no < $3")
                .bind(id.0)
                .bind(member.0)
                .bind(number)
                .execute(&self.write)
                .await?;
        if marked.rows_affected() > 0 { Ok(Some((count, number))) } else { self.numbers(id, member).await }
    }

    async fn list_members(&self, id: ConversationId, member: UserId, page: MembersPage) -> Result<Vec<Member>, Error> {
        let rows = sqlx::query(
            "SELECT user_id, join_seq, read_no FROM members WHERE conversation_id = $1 \
             AND (join_seq, user_id) > ($3, $4) AND EXISTS \
             (SELECT 1 FROM members WHERE conversation_id = $1 AND user_id = $2) \
             ORDER BY join_seq, user_id LIMIT $5",
        )
        .bind(id.0)
        .bind(member.0)
        .bind(page.after.0)
        .bind(page.after.1.0)
        .bind(i64::try_from(page.size).unwrap_or(i64::MAX).saturating_add(1))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(shown_member).collect()
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

impl Sql {
    /// How many messages there are, and the number of the last one that `member` has read. `None`: not a member.
    async fn numbers(&self, id: ConversationId, member: UserId) -> Result<Option<(i64, i64)>, Error> {
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
}

/// Whether `person` is in it, under the conversation's lock.
async fn is_member(tx: &mut Tx<'_>, change: &Change, person: UserId) -> Result<bool, ChangeError> {
    let row = sqlx::query("SELECT 1 FROM members WHERE conversation_id = $1 AND user_id = $2")
        .bind(change.conversation.0)
        .bind(person.0)
        .fetch_optional(&mut **tx)
        .await?;
    Ok(row.is_some())
}

/// Counts one more member, if there is room.
async fn count_member(tx: &mut Tx<'_>, change: &Change) -> Result<(), ChangeError> {
    let counted = sqlx::query(
        "UPDATE conversations SET member_count = member_count + 1 WHERE conversation_id = $1 AND member_count < $2",
    )
    .bind(change.conversation.0)
    .bind(MOST_MEMBERS)
    .execute(&mut **tx)
    .await?;
    if counted.rows_affected() == 0 { Err(ChangeError::TooManyMembers) } else { Ok(()) }
}

/// Makes the member who joined first the owner after `former`, who stays the owner of a conversation without members.
async fn succeed(tx: &mut Tx<'_>, change: &Change, former: UserId) -> Result<UserId, ChangeError> {
    let first =
        sqlx::query("SELECT user_id FROM members WHERE conversation_id = $1 ORDER BY join_seq, user_id LIMIT 1")
            .bind(change.conversation.0)
            .fetch_optional(&mut **tx)
            .await?;
    let Some(first) = first else { return Ok(former) };
    let owner = UserId(first.try_get("user_id")?);
    sqlx::query("UPDATE conversations SET owner_id = $2 WHERE conversation_id = $1")
        .bind(change.conversation.0)
        .bind(owner.0)
        .execute(&mut **tx)
        .await?;
    Ok(owner)
}

/// Marks everything up to the author's own message, numbered `number`, as read by the author. `false`: the author is
/// not a member. The conversation's row must be locked.
pub(super) async fn read_own(tx: &mut Tx<'_>, new: &NewMessage, number: i64) -> Result<bool, sqlx::Error> {
    let marked = sqlx::query("UPDATE members SET read_no = $3 WHERE conversation_id = $1 AND user_id = $2")
        .bind(new.conversation.0)
        .bind(new.author.0)
        .bind(number)
        .execute(&mut **tx)
        .await?;
    Ok(marked.rows_affected() > 0)
}
