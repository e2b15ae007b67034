//! Members of conversations and their read marks.

use async_trait::async_trait;
use kit::{
    Timestamp,
    audit::{self, AuditEntry},
};
use kit_data::store::{DbTimestamp, Error};
use sqlx::Row as _;

use super::{
    Sql, Tx,
    admission::{Adding, Joining, count_membership},
    conversations::{parse_add_policy, parse_member, parse_membership_kind},
    log::{change_entry, insert_entry},
    of_invitation, of_member,
};
use crate::{
    domain::{
        AddPolicy, Admission, Body, Change, ConversationId, MARKED_MEMBERS, MOST_MEMBERS, Member, MembersPage,
        MembershipKind, NewMessage, ReadPosition, UserId,
    },
    store::{ChangeError, Changed, Marked, Members, body::stored_size},
};

#[async_trait]
impl Members for Sql {
    async fn add(&self, change: Change, person: UserId, admission: &Admission) -> Result<Changed, ChangeError> {
        let mut tx = self.begin_with(&[change.actor, person], Some(change.conversation)).await?;
        let held = hold(&mut tx, change.conversation).await?;
        let own = membership_kind(&mut tx, &change, change.actor).await?.ok_or(ChangeError::NotFound)?;
        if membership_kind(&mut tx, &change, person).await?.is_some() {
            audit::unchanged();
            return Ok(Changed::Already);
        }
        if held.add_policy == AddPolicy::OwnerOnly && held.owner != change.actor {
            return Err(ChangeError::NotOwner);
        }
        if own == MembershipKind::Requested {
            return Err(ChangeError::Pending);
        }
        let Change { conversation, actor, now, .. } = change;
        if is_blocked(&mut tx, conversation, actor, held.member_count).await? {
            return Err(ChangeError::NotAccepted);
        }
        let adding = Adding { conversation, actor, now, direct: false, admission };
        let joining = Joining { seq: held.last_seq + 1, read_no: held.message_count };
        let body = Body::Added { person };
        self.require_room(held.stored_bytes + stored_size(&body))?;
        if adding.admit(&mut tx, &[person], joining).await?.is_empty() {
            self.audit.record(&mut tx, of_invitation(conversation, person)).await?;
            tx.commit().await?;
            return Ok(Changed::Invited);
        }
        count_member(&mut tx, &change).await?;
        let seq = advance(&mut tx, &change, &held, body).await?;
        self.audit.record(&mut tx, of_member(conversation, person)).await?;
        tx.commit().await?;
        Ok(Changed::Now(seq))
    }

    async fn remove(&self, change: Change, person: UserId) -> Result<Changed, ChangeError> {
        let mut tx = self.begin_with(&[person], Some(change.conversation)).await?;
        let held = hold(&mut tx, change.conversation).await?;
        membership_kind(&mut tx, &change, change.actor).await?.ok_or(ChangeError::NotFound)?;
        // A blocked owner of two must not get rid of the other member. Every member may leave.
        if person != change.actor && is_blocked(&mut tx, change.conversation, change.actor, held.member_count).await? {
            return Err(ChangeError::NotAccepted);
        }
        let is_owner = held.owner == change.actor;
        let removed = if is_owner || person == change.actor { delete(&mut tx, &change, person).await? } else { None };
        let Some(was) = removed else {
            let taken = withdraw_invitation(&mut tx, &change, person, is_owner).await?;
            if taken {
                self.audit.record(&mut tx, of_invitation(change.conversation, person)).await?;
            } else if is_owner {
                audit::unchanged();
            }
            tx.commit().await?;
            return if is_owner || taken { Ok(Changed::Already) } else { Err(ChangeError::NotOwner) };
        };
        count_membership(&mut tx, &[person], was, -1).await?;
        sqlx::query("UPDATE conversations SET member_count = member_count - 1 WHERE conversation_id = $1")
            .bind(change.conversation.0)
            .execute(&mut *tx)
            .await?;
        let owner = if person == held.owner { transfer_ownership(&mut tx, &change, person).await? } else { held.owner };
        let seq = advance(&mut tx, &change, &held, Body::Removed { person, owner }).await?;
        self.audit.record(&mut tx, of_member(change.conversation, person)).await?;
        tx.commit().await?;
        Ok(Changed::Now(seq))
    }

    async fn mark_read(
        &self,
        id: ConversationId,
        member: UserId,
        number: i64,
    ) -> Result<Option<(ReadPosition, Marked)>, Error> {
        let Some((read, position)) = self.position(id, member, number).await? else { return Ok(None) };
        if position.number == read {
            return Ok(Some((position, Marked::Unchanged)));
        }
        let turn = self.write.turn(member.0).await?;
        // The statement locks the membership's row: it matches no row if the member was removed or the mark is not
        // lower.
        let marked = sqlx::query(
            "UPDATE members SET read_no = $3 WHERE conversation_id = $1 AND user_id = $2 AND read_no < $3 \
             RETURNING standing",
        )
        .bind(id.0)
        .bind(member.0)
        .bind(position.number)
        .fetch_optional(&self.write)
        .await?;
        drop(turn);
        if let Some(row) = marked {
            let is_request = parse_membership_kind(&row)? == MembershipKind::Requested;
            return Ok(Some((position, if is_request { Marked::Privately } else { Marked::Publicly })));
        }
        Ok(self.position(id, member, number).await?.map(|(_, position)| (position, Marked::Unchanged)))
    }

    async fn list_members(&self, id: ConversationId, member: UserId, page: MembersPage) -> Result<Vec<Member>, Error> {
        let rows = sqlx::query(
            "SELECT user_id, join_seq, \
             CASE WHEN standing = 'requested' AND user_id <> $2 THEN 0 ELSE read_no END AS read_no \
             FROM members WHERE conversation_id = $1 AND (join_seq, user_id) > ($3, $4) AND EXISTS \
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
        rows.iter().map(parse_member).collect()
    }

    async fn read_marks(&self, id: ConversationId, member: UserId) -> Result<Vec<(UserId, i64)>, Error> {
        let rows = sqlx::query(
            "SELECT user_id, read_no, standing FROM members WHERE conversation_id = $1 AND EXISTS \
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
        let mut marks = Vec::with_capacity(rows.len());
        for row in &rows {
            let user = UserId(row.try_get("user_id")?);
            if user == member || parse_membership_kind(row)? != MembershipKind::Requested {
                marks.push((user, row.try_get("read_no")?));
            }
        }
        // The reader's own mark alone would reveal when the other member reads before accepting.
        if marks.len() < rows.len() && marks.len() == 1 {
            marks.clear();
        }
        Ok(marks)
    }

    async fn contacts(&self, member: UserId, limit: u32) -> Result<Vec<UserId>, Error> {
        let rows = sqlx::query(
            "SELECT DISTINCT user_id FROM (SELECT other.user_id FROM members mine \
             JOIN members other ON other.conversation_id = mine.conversation_id \
             WHERE mine.user_id = $1 AND other.user_id <> $1 \
             AND mine.standing <> 'requested' AND other.standing <> 'requested' \
             ORDER BY mine.conversation_id LIMIT $3) AS seen LIMIT $2",
        )
        .bind(member.0)
        .bind(i64::from(limit))
        .bind(i64::from(self.quotas.contact_rows))
        .fetch_all(&self.read)
        .await?;
        Ok(rows.iter().map(|row| row.try_get("user_id").map(UserId)).collect::<Result<_, _>>()?)
    }

    async fn bar(&self, person: UserId, now: Timestamp) -> Result<(), Error> {
        let mut tx = self.write.begin_on(person.0).await?;
        sqlx::query(
            "INSERT INTO people (user_id, conversation_count, added_count, is_deleted) VALUES ($1, 0, 0, TRUE) \
             ON CONFLICT (user_id) DO UPDATE SET is_deleted = TRUE",
        )
        .bind(person.0)
        .execute(&mut *tx)
        .await?;
        self.audit.erase(&mut tx, person.0, now).await?;
        self.audit.record(&mut tx, AuditEntry::new(format!("users/{person}")).person(person.0)).await?;
        tx.commit().await?;
        Ok(())
    }
}

impl Sql {
    /// The read mark of `member`, and the read mark after reading up to `number`. The second is never before the first, and
    /// never after the newest message. Both come from one snapshot. `None`: `member` is not a member.
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

/// A conversation whose row is locked until the transaction ends, without a new entry.
pub(super) struct Held {
    last_seq: i64,
    pub(super) message_count: i64,
    stored_bytes: i64,
    pub(super) member_count: i64,
    owner: UserId,
    add_policy: AddPolicy,
}

/// Locks the conversation's row. Statements that depend on its members start after this one.
pub(super) async fn hold(tx: &mut Tx<'_>, id: ConversationId) -> Result<Held, ChangeError> {
    let row = sqlx::query(
        "UPDATE conversations SET last_seq = last_seq WHERE conversation_id = $1 \
         RETURNING last_seq, message_count, stored_bytes, member_count, owner_id, add_policy",
    )
    .bind(id.0)
    .fetch_optional(&mut **tx)
    .await?
    .ok_or(ChangeError::NotFound)?;
    Ok(Held {
        last_seq: row.try_get("last_seq")?,
        message_count: row.try_get("message_count")?,
        stored_bytes: row.try_get("stored_bytes")?,
        member_count: row.try_get("member_count")?,
        owner: UserId(row.try_get("owner_id")?),
        add_policy: parse_add_policy(&row)?,
    })
}

/// Appends the entry of the change and returns its number.
pub(super) async fn advance(tx: &mut Tx<'_>, change: &Change, held: &Held, body: Body) -> Result<i64, sqlx::Error> {
    let seq = held.last_seq + 1;
    sqlx::query(
        "UPDATE conversations SET last_seq = $2, update_time = $3, stored_bytes = $4 WHERE conversation_id = $1",
    )
    .bind(change.conversation.0)
    .bind(seq)
    .bind(DbTimestamp(change.now))
    .bind(held.stored_bytes + stored_size(&body))
    .execute(&mut **tx)
    .await?;
    insert_entry(tx, &change_entry(change, seq, body)).await?;
    Ok(seq)
}

/// Which members may add others. The conversation's row must be locked.
pub(super) async fn add_policy(tx: &mut Tx<'_>, id: ConversationId) -> Result<AddPolicy, Error> {
    let row = sqlx::query("SELECT add_policy FROM conversations WHERE conversation_id = $1")
        .bind(id.0)
        .fetch_one(&mut **tx)
        .await?;
    parse_add_policy(&row)
}

/// The kind of the membership of `person`, if they are a member. The conversation's row must be locked.
pub(super) async fn membership_kind(
    tx: &mut Tx<'_>,
    change: &Change,
    person: UserId,
) -> Result<Option<MembershipKind>, ChangeError> {
    let row = sqlx::query("SELECT standing FROM members WHERE conversation_id = $1 AND user_id = $2")
        .bind(change.conversation.0)
        .bind(person.0)
        .fetch_optional(&mut **tx)
        .await?;
    Ok(row.as_ref().map(parse_membership_kind).transpose()?)
}

/// Deletes the membership of `person` and the invitations that they have sent. Returns the kind of the membership.
async fn delete(tx: &mut Tx<'_>, change: &Change, person: UserId) -> Result<Option<MembershipKind>, ChangeError> {
    let row = sqlx::query("DELETE FROM members WHERE conversation_id = $1 AND user_id = $2 RETURNING standing")
        .bind(change.conversation.0)
        .bind(person.0)
        .fetch_optional(&mut **tx)
        .await?;
    sqlx::query("DELETE FROM invitations WHERE conversation_id = $1 AND inviter_id = $2")
        .bind(change.conversation.0)
        .bind(person.0)
        .execute(&mut **tx)
        .await?;
    Ok(row.as_ref().map(parse_membership_kind).transpose()?)
}

/// Withdraws the invitation of `person` if the actor sent it or is the owner.
async fn withdraw_invitation(
    tx: &mut Tx<'_>,
    change: &Change,
    person: UserId,
    is_owner: bool,
) -> Result<bool, sqlx::Error> {
    let taken = sqlx::query(
        "DELETE FROM invitations WHERE conversation_id = $1 AND invitee_id = $2 AND (inviter_id = $3 OR $4)",
    )
    .bind(change.conversation.0)
    .bind(person.0)
    .bind(change.actor.0)
    .bind(is_owner)
    .execute(&mut **tx)
    .await?;
    Ok(taken.rows_affected() > 0)
}

/// Whether the conversation has two members and the other one has blocked `actor`. The conversation's row must be
/// locked, so that this statement sees the blocks that were stored during the wait.
pub(super) async fn is_blocked(
    tx: &mut Tx<'_>,
    id: ConversationId,
    actor: UserId,
    member_count: i64,
) -> Result<bool, sqlx::Error> {
    if member_count != 2 {
        return Ok(false);
    }
    let row = sqlx::query(
        "SELECT 1 FROM members m JOIN blocks b ON b.user_id = m.user_id AND b.blocked_id = $2 \
         WHERE m.conversation_id = $1 AND m.user_id <> $2",
    )
    .bind(id.0)
    .bind(actor.0)
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.is_some())
}

/// Counts one more member, within the bound.
pub(super) async fn count_member(tx: &mut Tx<'_>, change: &Change) -> Result<(), ChangeError> {
    let counted = sqlx::query(
        "UPDATE conversations SET member_count = member_count + 1 WHERE conversation_id = $1 AND member_count < $2",
    )
    .bind(change.conversation.0)
    .bind(MOST_MEMBERS)
    .execute(&mut **tx)
    .await?;
    if counted.rows_affected() == 0 { Err(ChangeError::TooManyMembers) } else { Ok(()) }
}

/// Makes the member who joined first the owner after `former`. Without other members, `former` remains the owner.
async fn transfer_ownership(tx: &mut Tx<'_>, change: &Change, former: UserId) -> Result<UserId, ChangeError> {
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

/// Moves the author's read mark to their own new message, `number`. Returns the kind of the membership; `None`: the
/// author is not a member. The conversation's row must be locked.
pub(super) async fn read_own(tx: &mut Tx<'_>, new: &NewMessage, number: i64) -> Result<Option<MembershipKind>, Error> {
    let row =
        sqlx::query("UPDATE members SET read_no = $3 WHERE conversation_id = $1 AND user_id = $2 RETURNING standing")
            .bind(new.conversation.0)
            .bind(new.author.0)
            .bind(number)
            .fetch_optional(&mut **tx)
            .await?;
    row.as_ref().map(parse_membership_kind).transpose()
}
