//! Adds users to conversations within their rules, blocks and bounds.
//!
//! Lock order: the conversation's row, then users' rows in the order of their ids. A change never waits for locked
//! invitations of other conversations, because their holders may wait for users' rows. A user's rule, blocks and counts
//! change only under the lock of the user's row; statements that start after the lock is held read them.

use std::collections::{HashMap, HashSet};

use kit::Timestamp;
use kit_data::store::{DbTimestamp, Error};
use sqlx::{AssertSqlSafe, Row as _};

use super::{
    super::{AMONG, DELETE_EXPIRED, EACH, Ids, among},
    Row, Tx,
};
use crate::{
    domain::{Acquaintance, AddRule, Admission, ConversationId, MembershipKind, UserId, Way},
    store::AdmitError,
};

/// An addition of users to a conversation.
pub(super) struct Adding<'a> {
    pub(super) conversation: ConversationId,
    pub(super) actor: UserId,
    pub(super) now: Timestamp,
    /// Whether the conversation has only two members.
    pub(super) direct: bool,
    pub(super) admission: &'a Admission,
}

/// A user's row, locked until the transaction ends.
struct Person {
    conversation_count: i64,
    added_count: i64,
    rule: Option<AddRule>,
    is_deleted: bool,
}

/// The entry with which users join, and their first read mark.
#[derive(Clone, Copy)]
pub(super) struct Joining {
    pub(super) seq: i64,
    pub(super) read_no: i64,
}

impl Adding<'_> {
    /// Adds the actor, who opens the conversation, and `others` as their rules allow. Returns the members, without the
    /// users who got an invitation.
    pub(super) async fn open(
        &self,
        tx: &mut Tx<'_>,
        others: &[UserId],
        joining: Joining,
    ) -> Result<Vec<UserId>, AdmitError> {
        let locked = self.lock_all(tx, others).await?;
        if count(&locked, self.actor, |person| person.conversation_count) >= i64::from(self.admission.own) {
            return Err(AdmitError::TooManyConversations);
        }
        self.insert_members(tx, &[self.actor], MembershipKind::Own, joining).await?;
        let mut members = self.admit_locked(tx, &locked, others, joining).await?;
        members.push(self.actor);
        Ok(members)
    }

    /// Adds `others` as their rules allow. Returns those who became members.
    pub(super) async fn admit(
        &self,
        tx: &mut Tx<'_>,
        others: &[UserId],
        joining: Joining,
    ) -> Result<Vec<UserId>, AdmitError> {
        let locked = self.lock_all(tx, others).await?;
        self.admit_locked(tx, &locked, others, joining).await
    }

    /// Locks the rows of the actor and of `others`. Fails if one of them is deleted.
    async fn lock_all(&self, tx: &mut Tx<'_>, others: &[UserId]) -> Result<HashMap<UserId, Person>, AdmitError> {
        let locked = lock_people(tx, others.iter().copied().chain([self.actor])).await?;
        if locked.values().any(|person| person.is_deleted) {
            return Err(AdmitError::MemberUnknown);
        }
        Ok(locked)
    }

    async fn admit_locked(
        &self,
        tx: &mut Tx<'_>,
        locked: &HashMap<UserId, Person>,
        others: &[UserId],
        joining: Joining,
    ) -> Result<Vec<UserId>, AdmitError> {
        let (blocked, shared) = (self.users_who_blocked(tx, others).await?, self.users_who_share(tx, others).await?);
        let (mut added, mut requested, mut invited) = (Vec::new(), Vec::new(), Vec::new());
        for user in others {
            let rule = locked.get(user).and_then(|person| person.rule);
            let known = Acquaintance { rule, is_blocked: blocked.contains(user), is_shared: shared.contains(user) };
            match self.admission.way(known, self.direct).ok_or(AdmitError::NotAllowed)? {
                Way::Member(MembershipKind::Requested) => requested.push(*user),
                Way::Member(_) => added.push(*user),
                Way::Invited => invited.push(*user),
            }
        }
        if added.iter().any(|user| count(locked, *user, |p| p.added_count) >= i64::from(self.admission.added)) {
            return Err(AdmitError::TooManyConversations);
        }
        self.require_room(tx, &requested, &invited).await?;
        self.insert_members(tx, &added, MembershipKind::Added, joining).await?;
        self.insert_members(tx, &requested, MembershipKind::Requested, joining).await?;
        self.invite(tx, &invited).await?;
        Ok(added.into_iter().chain(requested).collect())
    }

    /// Which of `others` have blocked the actor.
    async fn users_who_blocked(&self, tx: &mut Tx<'_>, others: &[UserId]) -> Result<HashSet<UserId>, sqlx::Error> {
        let statement = AssertSqlSafe(format!("SELECT user_id FROM blocks WHERE user_id {AMONG} AND blocked_id = $2"));
        let rows = sqlx::query(statement).bind(ids(others)).bind(self.actor.0).fetch_all(&mut **tx).await?;
        rows.iter().map(|row| row.try_get("user_id").map(UserId)).collect()
    }

    /// Which of `others` are in a conversation with the actor that both have accepted.
    async fn users_who_share(&self, tx: &mut Tx<'_>, others: &[UserId]) -> Result<HashSet<UserId>, sqlx::Error> {
        let statement = AssertSqlSafe(format!(
            "SELECT DISTINCT theirs.user_id FROM members theirs \
             JOIN members mine ON mine.conversation_id = theirs.conversation_id AND mine.user_id = $2 \
             WHERE theirs.user_id {AMONG} AND theirs.standing <> 'requested' AND mine.standing <> 'requested'"
        ));
        let rows = sqlx::query(statement).bind(ids(others)).bind(self.actor.0).fetch_all(&mut **tx).await?;
        rows.iter().map(|row| row.try_get("user_id").map(UserId)).collect()
    }

    /// Checks the bounds of undecided requests and invitations, received by the others and sent by the actor.
    async fn require_room(&self, tx: &mut Tx<'_>, requested: &[UserId], invited: &[UserId]) -> Result<(), AdmitError> {
        let new = i64::try_from(requested.len() + invited.len()).unwrap_or(i64::MAX);
        if new == 0 {
            return Ok(());
        }
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM members WHERE added_by = $1 AND standing = 'requested') \
             + (SELECT count(*) FROM invitations WHERE inviter_id = $1 AND expire_time > $2) AS sent",
        )
        .bind(self.actor.0)
        .bind(DbTimestamp(self.now))
        .fetch_one(&mut **tx)
        .await?;
        let sent: i64 = row.try_get("sent")?;
        if sent.saturating_add(new) > i64::from(self.admission.sent) {
            return Err(AdmitError::TooManySent);
        }
        let requests = format!(
            "SELECT max(n) AS most FROM (SELECT count(*) AS n FROM members WHERE user_id {AMONG} \
             AND standing = 'requested' GROUP BY user_id) AS waiting"
        );
        let invitations = format!(
            "SELECT max(n) AS most FROM (SELECT count(*) AS n FROM invitations WHERE invitee_id {AMONG} \
             AND expire_time > $2 GROUP BY invitee_id) AS waiting"
        );
        let most = sqlx::query(AssertSqlSafe(requests)).bind(ids(requested)).fetch_one(&mut **tx).await?;
        require_below(&most, self.admission.requests)?;
        let query = sqlx::query(AssertSqlSafe(invitations)).bind(ids(invited)).bind(DbTimestamp(self.now));
        require_below(&query.fetch_one(&mut **tx).await?, self.admission.invitations)
    }

    async fn insert_members(
        &self,
        tx: &mut Tx<'_>,
        users: &[UserId],
        membership_kind: MembershipKind,
        joining: Joining,
    ) -> Result<(), sqlx::Error> {
        if users.is_empty() {
            return Ok(());
        }
        let statement = AssertSqlSafe(format!(
            "INSERT INTO members (conversation_id, user_id, join_seq, read_no, standing, added_by) \
             SELECT $2, e.id, $3, $4, $5, $6 FROM {EACH}"
        ));
        sqlx::query(statement)
            .bind(ids(users))
            .bind(self.conversation.0)
            .bind(joining.seq)
            .bind(joining.read_no)
            .bind(membership_kind.as_str())
            .bind((membership_kind != MembershipKind::Own).then_some(self.actor.0))
            .execute(&mut **tx)
            .await?;
        count_membership(tx, users, membership_kind, 1).await
    }

    /// Stores the invitations. An existing one does not change.
    async fn invite(&self, tx: &mut Tx<'_>, users: &[UserId]) -> Result<(), sqlx::Error> {
        if users.is_empty() {
            return Ok(());
        }
        sqlx::query(DELETE_EXPIRED).bind(ids(users)).bind(DbTimestamp(self.now)).execute(&mut **tx).await?;
        let statement = AssertSqlSafe(format!(
            "INSERT INTO invitations (conversation_id, invitee_id, inviter_id, create_time, expire_time) \
             SELECT $2, e.id, $3, $4, $5 FROM {EACH} WHERE true ON CONFLICT (conversation_id, invitee_id) DO NOTHING"
        ));
        sqlx::query(statement)
            .bind(ids(users))
            .bind(self.conversation.0)
            .bind(self.actor.0)
            .bind(DbTimestamp(self.now))
            .bind(DbTimestamp(self.now + self.admission.lifetime))
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
}

/// Counts one more conversation that the user has accepted, within the bound.
pub(super) async fn accept(tx: &mut Tx<'_>, user: UserId, admission: &Admission) -> Result<(), AdmitError> {
    let locked = lock_people(tx, [user]).await?;
    if locked.values().any(|person| person.is_deleted) {
        return Err(AdmitError::MemberUnknown);
    }
    if count(&locked, user, |person| person.conversation_count) >= i64::from(admission.own) {
        return Err(AdmitError::TooManyConversations);
    }
    Ok(count_membership(tx, &[user], MembershipKind::Own, 1).await?)
}

/// Adds `change` to the users' counts of memberships of this kind.
pub(super) async fn count_membership(
    tx: &mut Tx<'_>,
    users: &[UserId],
    membership_kind: MembershipKind,
    change: i64,
) -> Result<(), sqlx::Error> {
    let counter = match membership_kind {
        MembershipKind::Own => "conversation_count",
        MembershipKind::Added => "added_count",
        // Requests have no counter: `require_room` counts the few rows.
        MembershipKind::Requested => return Ok(()),
    };
    let statement = AssertSqlSafe(format!("UPDATE people SET {counter} = {counter} + $2 WHERE user_id {AMONG}"));
    sqlx::query(statement).bind(ids(users)).bind(change).execute(&mut **tx).await?;
    Ok(())
}

/// Locks the row of a user. Inserts it if it is missing.
pub(super) async fn lock_person(tx: &mut Tx<'_>, user: UserId) -> Result<(), Error> {
    lock_people(tx, [user]).await.map(drop)
}

/// Locks users' rows in the order of ids, to avoid deadlocks, and reads them under the locks.
async fn lock_people(
    tx: &mut Tx<'_>,
    users: impl IntoIterator<Item = UserId>,
) -> Result<HashMap<UserId, Person>, Error> {
    let users: Vec<UserId> = users.into_iter().collect();
    let statement = AssertSqlSafe(format!(
        "INSERT INTO people (user_id, conversation_count, added_count) SELECT e.id, 0, 0 FROM {EACH} WHERE true \
         ORDER BY e.id ON CONFLICT (user_id) DO UPDATE SET conversation_count = people.conversation_count \
         RETURNING user_id, conversation_count, added_count, add_rule, is_deleted"
    ));
    let rows = sqlx::query(statement).bind(ids(&users)).fetch_all(&mut **tx).await?;
    let person = |row: &Row| -> Result<_, Error> {
        let (conversation_count, added_count) = (row.try_get("conversation_count")?, row.try_get("added_count")?);
        let user = UserId(row.try_get("user_id")?);
        let (rule, is_deleted) = (rule(row)?, row.try_get("is_deleted")?);
        Ok((user, Person { conversation_count, added_count, rule, is_deleted }))
    };
    rows.iter().map(person).collect()
}

/// The rule that a user has chosen.
pub(super) fn rule(row: &Row) -> Result<Option<AddRule>, Error> {
    let text: Option<String> = row.try_get("add_rule")?;
    let parsed = text.map(|text| AddRule::parse(&text).ok_or(Error::Corrupt(format!("people.add_rule {text:?}"))));
    parsed.transpose()
}

fn count(locked: &HashMap<UserId, Person>, user: UserId, of: impl Fn(&Person) -> i64) -> i64 {
    locked.get(&user).map_or(0, of)
}

fn require_below(row: &Row, bound: u32) -> Result<(), AdmitError> {
    let most: Option<i64> = row.try_get("most")?;
    if most.unwrap_or(0) >= i64::from(bound) { Err(AdmitError::TooManyWaiting) } else { Ok(()) }
}

fn ids(users: &[UserId]) -> Ids {
    among(users.iter().map(|user| user.0))
}
