//! Lists, accepts and declines invitations.

use async_trait::async_trait;
use kit::{Timestamp, audit};
use kit_data::store::{DbTimestamp, Error};
use sqlx::Row as _;

use super::{
    Row, Sql, Tx,
    admission::{self, count_membership},
    members::{self, count_member},
    of_invitation, of_member,
};
use crate::{
    domain::{Admission, Body, Change, ConversationId, Invitation, MembershipKind, Recent, UserId},
    store::{ChangeError, Changed, Invitations},
};

#[async_trait]
impl Invitations for Sql {
    async fn list_invitations(&self, invitee: UserId, page: Recent, now: Timestamp) -> Result<Vec<Invitation>, Error> {
        let (time, id) = page.after;
        let rows = sqlx::query(
            "SELECT i.conversation_id, i.inviter_id, i.create_time, i.expire_time, c.title, c.member_count \
             FROM invitations i JOIN conversations c ON c.conversation_id = i.conversation_id \
             WHERE i.invitee_id = $1 AND i.expire_time > $2 AND (i.create_time, i.conversation_id) < ($3, $4) \
             AND NOT EXISTS (SELECT 1 FROM blocks WHERE user_id = $1 AND blocked_id = i.inviter_id) \
             ORDER BY i.create_time DESC, i.conversation_id DESC LIMIT $5",
        )
        .bind(invitee.0)
        .bind(DbTimestamp(now))
        .bind(DbTimestamp(time))
        .bind(id.0)
        .bind(i64::try_from(page.size).unwrap_or(i64::MAX).saturating_add(1))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(invitation).collect()
    }

    async fn invited(&self, id: ConversationId, inviter: UserId, now: Timestamp) -> Result<Vec<UserId>, Error> {
        let rows = sqlx::query(
            "SELECT invitee_id FROM invitations WHERE conversation_id = $1 AND inviter_id = $2 AND expire_time > $3 \
             ORDER BY invitee_id",
        )
        .bind(id.0)
        .bind(inviter.0)
        .bind(DbTimestamp(now))
        .fetch_all(&self.read)
        .await?;
        Ok(rows.iter().map(|row| row.try_get("invitee_id").map(UserId)).collect::<Result<_, _>>()?)
    }

    async fn accept(&self, change: Change, admission: &Admission) -> Result<Changed, ChangeError> {
        let mut tx = self.begin_with(&[change.actor], Some(change.conversation)).await?;
        let held = members::hold(&mut tx, change.conversation).await?;
        if take_request(&mut tx, &change).await? {
            admission::accept(&mut tx, change.actor, admission).await?;
            self.audit.record(&mut tx, of_member(change.conversation, change.actor)).await?;
            tx.commit().await?;
            return Ok(Changed::Already);
        }
        if members::membership_kind(&mut tx, &change, change.actor).await?.is_some() {
            audit::unchanged();
            return Ok(Changed::Already);
        }
        let inviter = take_invitation(&mut tx, &change).await?.ok_or(ChangeError::NoInvitation)?;
        // A block in a conversation of two ends the invitations of the blocked user: an accepted one would make it a group.
        if members::is_blocked(&mut tx, change.conversation, inviter, held.member_count).await? {
            tx.commit().await?;
            return Err(ChangeError::NoInvitation);
        }
        count_member(&mut tx, &change).await?;
        admission::accept(&mut tx, change.actor, admission).await?;
        let seq = members::advance(&mut tx, &change, &held, Body::Added { person: change.actor }).await?;
        join(&mut tx, &change, seq, held.message_count).await?;
        self.audit.record(&mut tx, of_member(change.conversation, change.actor)).await?;
        tx.commit().await?;
        Ok(Changed::Now(seq))
    }

    async fn decline(&self, change: Change) -> Result<(), Error> {
        // Other statements that delete the invitation hold the conversation's row.
        let mut tx = self.write.begin_on(change.conversation.0).await?;
        let declined = sqlx::query("DELETE FROM invitations WHERE conversation_id = $1 AND invitee_id = $2")
            .bind(change.conversation.0)
            .bind(change.actor.0)
            .execute(&mut *tx)
            .await?;
        if declined.rows_affected() > 0 {
            self.audit.record(&mut tx, of_invitation(change.conversation, change.actor)).await?;
            tx.commit().await?;
        } else {
            audit::unchanged();
        }
        Ok(())
    }

    async fn is_request(&self, id: ConversationId, user: UserId) -> Result<bool, Error> {
        let row =
            sqlx::query("SELECT 1 FROM members WHERE conversation_id = $1 AND user_id = $2 AND standing = 'requested'")
                .bind(id.0)
                .bind(user.0)
                .fetch_optional(&self.read)
                .await?;
        Ok(row.is_some())
    }

    async fn pending_from(&self, user: UserId, other: UserId) -> Result<Vec<ConversationId>, Error> {
        let rows = sqlx::query(
            "SELECT conversation_id FROM members WHERE user_id = $1 AND added_by = $2 AND standing = 'requested' \
             UNION SELECT conversation_id FROM invitations WHERE invitee_id = $1 AND inviter_id = $2",
        )
        .bind(user.0)
        .bind(other.0)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.iter().map(|row| row.try_get("conversation_id").map(ConversationId)).collect::<Result<_, _>>()?)
    }

    async fn forget_user(&self, user: UserId) -> Result<(), Error> {
        let _turn = self.write.turn(user.0).await?;
        for statement in [
            "DELETE FROM invitations WHERE invitee_id = $1 OR inviter_id = $1",
            "DELETE FROM blocks WHERE user_id = $1 OR blocked_id = $1",
            "UPDATE people SET add_rule = NULL WHERE user_id = $1",
        ] {
            sqlx::query(statement).bind(user.0).execute(&self.write).await?;
        }
        Ok(())
    }
}

/// Accepts a request. Returns false if the conversation is no request of the actor.
async fn take_request(tx: &mut Tx<'_>, change: &Change) -> Result<bool, sqlx::Error> {
    let taken = sqlx::query(
        "UPDATE members SET standing = 'own' WHERE conversation_id = $1 AND user_id = $2 AND standing = 'requested'",
    )
    .bind(change.conversation.0)
    .bind(change.actor.0)
    .execute(&mut **tx)
    .await?;
    Ok(taken.rows_affected() > 0)
}

/// Deletes the actor's invitation. Returns its sender, if there is a valid one.
async fn take_invitation(tx: &mut Tx<'_>, change: &Change) -> Result<Option<UserId>, sqlx::Error> {
    let row = sqlx::query(
        "DELETE FROM invitations WHERE conversation_id = $1 AND invitee_id = $2 AND expire_time > $3 \
         RETURNING inviter_id",
    )
    .bind(change.conversation.0)
    .bind(change.actor.0)
    .bind(DbTimestamp(change.now))
    .fetch_optional(&mut **tx)
    .await?;
    row.map(|row| row.try_get("inviter_id").map(UserId)).transpose()
}

async fn join(tx: &mut Tx<'_>, change: &Change, seq: i64, read_no: i64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO members (conversation_id, user_id, join_seq, read_no, standing) VALUES ($1, $2, $3, $4, 'own')",
    )
    .bind(change.conversation.0)
    .bind(change.actor.0)
    .bind(seq)
    .bind(read_no)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// A reply accepts a request. The user's bound does not refuse this; it applies to the next conversation that they
/// open.
pub(super) async fn accept_by_reply(
    tx: &mut Tx<'_>,
    conversation: ConversationId,
    author: UserId,
) -> Result<(), sqlx::Error> {
    let taken = sqlx::query(
        "UPDATE members SET standing = 'own' WHERE conversation_id = $1 AND user_id = $2 AND standing = 'requested'",
    )
    .bind(conversation.0)
    .bind(author.0)
    .execute(&mut **tx)
    .await?;
    if taken.rows_affected() > 0 {
        count_membership(tx, &[author], MembershipKind::Own, 1).await?;
    }
    Ok(())
}

fn invitation(row: &Row) -> Result<Invitation, Error> {
    let (create_time, expire_time): (DbTimestamp, DbTimestamp) =
        (row.try_get("create_time")?, row.try_get("expire_time")?);
    Ok(Invitation {
        conversation: ConversationId(row.try_get("conversation_id")?),
        title: row.try_get("title")?,
        member_count: row.try_get("member_count")?,
        inviter: UserId(row.try_get("inviter_id")?),
        create_time: create_time.0,
        expire_time: expire_time.0,
    })
}
