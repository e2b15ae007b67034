//! Who is in a conversation, and how far they have read.

use async_trait::async_trait;
use kit::store::Error;
use sqlx::{AssertSqlSafe, Row as _};

use super::{
    super::{AMONG, among, count_conversation, insert_members},
    Row, Sql, Tx, begin,
    log::{change_entry, insert_entry, lock},
};
use crate::{
    domain::{
        Body, Change, ConversationId, MARKED_MEMBERS, MOST_CONTACT_ROWS, MOST_MEMBERS, NewMessage, ReadPosition, UserId,
    },
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
            let barred = any_barred(&mut tx, &[person]).await?;
            return Err(if barred { ChangeError::MemberUnknown } else { ChangeError::TooManyConversations });
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
        let owner = if person == locked.owner { succeed(&mut tx, &change, person).await? } else { locked.owner };
        insert_entry(&mut tx, &change_entry(&change, locked.seq, Body::Removed { person, owner })).await?;
        tx.commit().await?;
        Ok(Changed::Now(locked.seq))
    }

    async fn mark_read(
        &self,
        id: ConversationId,
        member: UserId,
        number: i64,
    ) -> Result<Option<(ReadPosition, bool)>, Error> {
        let Some((read, position)) = self.position(id, member, number).await? else { return Ok(None) };
        if position.number == read {
            return Ok(Some((position, false)));
        }
        // The membership is the row that the statement locks: removed meanwhile, it matches no row. Never back.
        let marked =
            sqlx::query("UPDATE members SET read_no = $3 WHERE conversation_id = $1 AND user_id = $2 AND read_no < $3")
                .bind(id.0)
                .bind(member.0)
                .bind(position.number)
                .execute(&self.write)
                .await?;
        if marked.rows_affected() > 0 {
            return Ok(Some((position, true)));
        }
        Ok(self.position(id, member, number).await?.map(|(_, position)| (position, false)))
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
            "SELECT DISTINCT user_id FROM (SELECT other.user_id FROM members mine \
             JOIN members other ON other.conversation_id = mine.conversation_id \
             WHERE mine.user_id = $1 AND other.user_id <> $1 ORDER BY mine.conversation_id LIMIT $3) AS seen LIMIT $2",
        )
        .bind(member.0)
        .bind(i64::from(limit))
        .bind(i64::from(MOST_CONTACT_ROWS))
        .fetch_all(&self.read)
        .await?;
        Ok(rows.iter().map(|row| row.try_get("user_id").map(UserId)).collect::<Result<_, _>>()?)
    }

    async fn bar(&self, person: UserId) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO people (user_id, conversation_count, is_deleted) VALUES ($1, 0, TRUE) \
             ON CONFLICT (user_id) DO UPDATE SET is_deleted = TRUE",
        )
        .bind(person.0)
        .execute(&self.write)
        .await?;
        Ok(())
    }
}

impl Sql {
    /// What `member` has read, and the position after reading up to `number`: never back, and never past the newest
    /// message. All of one moment. `None`: not a member.
    async fn position(
        &self,
        id: ConversationId,
        member: UserId,
        number: i64,
    ) -> Result<Option<(i64, ReadPosition)>, Error> {
        let row = sqlx::query(
            "SELECT c.message_count, m.read_no, (SELECT count(*) FROM entries e WHERE e.conversation_id = $1 \
             AND e.erased_no > CASE WHEN m.read_no < $3 THEN $3 ELSE m.read_no END) AS erased FROM members m \
             JOIN conversations c ON c.conversation_id = m.conversation_id \
             WHERE m.conversation_id = $1 AND m.user_id = $2",
        )
        .bind(id.0)
        .bind(member.0)
        .bind(number)
        .fetch_optional(&self.read)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let (count, read): (i64, i64) = (row.try_get("message_count")?, row.try_get("read_no")?);
        let (number, erased) = (number.min(count).max(read), row.try_get::<i64, _>("erased")?);
        Ok(Some((read, ReadPosition { number, unread: count - number - erased })))
    }
}

/// Whether the account of one of `people` is deleted.
pub(super) async fn any_barred(tx: &mut Tx<'_>, people: &[UserId]) -> Result<bool, sqlx::Error> {
    // `AMONG` is one of this program's own texts.
    let statement = AssertSqlSafe(format!("SELECT 1 FROM people WHERE user_id {AMONG} AND is_deleted LIMIT 1"));
    let barred = sqlx::query(statement).bind(among(people.iter().map(|id| id.0))).fetch_optional(&mut **tx).await?;
    Ok(barred.is_some())
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
