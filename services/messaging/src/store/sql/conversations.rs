//! Reads conversations as their members see them, in batches.

use std::collections::{HashMap, hash_map};

use futures_util::TryStreamExt as _;
use kit_data::store::{DbTimestamp, Error};
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::{
    super::{AMONG, FIRST_MEMBERS, MEMBERSHIP, among},
    Row, Sql,
    log::entry,
};
use crate::domain::{
    self, AddPolicy, Body, Conversation, ConversationId, Entry, Member, Membership, MembershipKind, NewConversation,
    UserId,
};

impl Sql {
    /// Those of `ids` that `member` is a member of, in the order of `ids`. Takes two statements for any number of ids.
    pub(super) async fn read(&self, ids: &[ConversationId], member: UserId) -> Result<Vec<Conversation>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = self.read_with_members(ids, member).await?;
        self.read_last_messages(&mut found, member).await?;
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    /// One statement, so that members and numbers come from one snapshot.
    async fn read_with_members(
        &self,
        ids: &[ConversationId],
        member: UserId,
    ) -> Result<HashMap<ConversationId, Conversation>, Error> {
        // `MEMBERSHIP`, `FIRST_MEMBERS` and `AMONG` are constants.
        let statement = AssertSqlSafe(format!(
            "SELECT c.conversation_id, c.title, c.owner_id, c.revision, c.create_time, c.update_time, c.last_seq, \
             c.message_count, c.member_count, c.add_policy, own.read_no AS own_read_no, own.standing, own.added_by, \
             m.user_id, m.join_seq, \
             CASE WHEN m.standing = 'requested' AND m.user_id <> $2 THEN 0 ELSE m.read_no END AS read_no FROM conversations c {MEMBERSHIP} {FIRST_MEMBERS} WHERE c.conversation_id {AMONG} \
             ORDER BY c.conversation_id, m.join_seq, m.user_id"
        ));
        let mut rows = sqlx::query(statement).bind(among(ids.iter().map(|id| id.0))).bind(member.0).fetch(&self.read);
        let mut found = HashMap::with_capacity(ids.len());
        while let Some(row) = rows.try_next().await? {
            let id = ConversationId(row.try_get("conversation_id")?);
            let into: &mut Conversation = match found.entry(id) {
                hash_map::Entry::Occupied(known) => known.into_mut(),
                hash_map::Entry::Vacant(new) => new.insert(conversation(&row, id, member)?),
            };
            into.members.push(parse_member(&row)?);
        }
        Ok(found)
    }

    /// Reads the newest message, whose number equals the message count, and the number of unread messages: those after
    /// the read mark, without erased ones. Drops conversations that the member has left since the first statement:
    /// their newest message may have changed.
    async fn read_last_messages(
        &self,
        of: &mut HashMap<ConversationId, Conversation>,
        member: UserId,
    ) -> Result<(), Error> {
        let statement = AssertSqlSafe(format!(
            "SELECT e.conversation_id, e.seq, e.message_no, e.author_id, e.create_time, e.body, c.message_count - \
             (SELECT m.read_no + (SELECT count(*) FROM entries d WHERE d.conversation_id = m.conversation_id \
             AND d.erased_no > m.read_no) FROM members m \
             WHERE m.conversation_id = c.conversation_id AND m.user_id = $2) AS unread FROM conversations c \
             JOIN entries e ON e.conversation_id = c.conversation_id AND e.message_no = c.message_count \
             WHERE c.conversation_id {AMONG}"
        ));
        let ids = among(of.keys().map(|id| id.0));
        let rows = sqlx::query(statement).bind(ids).bind(member.0).fetch_all(&self.read).await?;
        for row in rows {
            let last = entry(&row)?;
            // `unread` is NULL when the user is no longer a member.
            let (conversation, unread) = (of.get_mut(&last.conversation), row.try_get::<Option<i64>, _>("unread")?);
            if let (Some(conversation), Some(unread)) = (conversation, unread) {
                conversation.last_message = Some(last);
                conversation.own.unread = unread;
            }
        }
        of.retain(|_, conversation| conversation.message_count == 0 || conversation.last_message.is_some());
        Ok(())
    }
}

/// The conversation's row and the reader's membership.
fn conversation(row: &Row, id: ConversationId, reader: UserId) -> Result<Conversation, Error> {
    let (create_time, update_time): (DbTimestamp, DbTimestamp) =
        (row.try_get("create_time")?, row.try_get("update_time")?);
    let owner = UserId(row.try_get("owner_id")?);
    Ok(Conversation {
        id,
        title: row.try_get("title")?,
        member_count: row.try_get("member_count")?,
        members: Vec::new(),
        owner,
        add_policy: parse_add_policy(row)?,
        revision: row.try_get("revision")?,
        create_time: create_time.0,
        update_time: update_time.0,
        last_seq: row.try_get("last_seq")?,
        message_count: row.try_get("message_count")?,
        own: membership(row, owner == reader)?,
        last_message: None,
    })
}

fn membership(row: &Row, is_owner: bool) -> Result<Membership, Error> {
    let added_by: Option<Uuid> = row.try_get("added_by")?;
    let (read_no, membership_kind) = (row.try_get("own_read_no")?, parse_membership_kind(row)?);
    Ok(Membership { read_no, unread: 0, is_owner, membership_kind, added_by: added_by.map(UserId) })
}

/// The kind of a membership.
pub(super) fn parse_membership_kind(row: &Row) -> Result<MembershipKind, Error> {
    let text: String = row.try_get("standing")?;
    MembershipKind::parse(&text).ok_or_else(|| Error::Corrupt(format!("members.standing {text:?}")))
}

/// Which members may add others.
pub(super) fn parse_add_policy(row: &Row) -> Result<AddPolicy, Error> {
    let text: String = row.try_get("add_policy")?;
    AddPolicy::parse(&text).ok_or_else(|| Error::Corrupt(format!("conversations.add_policy {text:?}")))
}

/// A member from its row.
pub(super) fn parse_member(row: &Row) -> Result<Member, Error> {
    Ok(Member {
        user: UserId(row.try_get("user_id")?),
        join_seq: row.try_get("join_seq")?,
        read_no: row.try_get("read_no")?,
    })
}

/// The number of members.
pub(super) fn count(members: &[UserId]) -> i64 {
    i64::try_from(members.len()).unwrap_or(i64::MAX)
}

/// The first entry of a conversation with these members.
pub(super) fn created_entry(new: &NewConversation, members: &[UserId]) -> Entry {
    Entry {
        conversation: new.id,
        seq: 1,
        author: new.creator,
        create_time: new.create_time,
        body: Body::Created {
            members: members.iter().copied().take(domain::FIRST_MEMBERS).collect(),
            member_count: count(members),
            title: new.title.clone(),
        },
    }
}

/// A new conversation, as its creator sees it.
pub(super) fn opened(new: &NewConversation, members: &[UserId]) -> Conversation {
    let shown = |user: &UserId| Member { user: *user, join_seq: 1, read_no: 0 };
    Conversation {
        id: new.id,
        title: new.title.clone(),
        member_count: count(members),
        members: members.iter().take(domain::FIRST_MEMBERS).map(shown).collect(),
        owner: new.creator,
        add_policy: AddPolicy::AllMembers,
        revision: 1,
        create_time: new.create_time,
        update_time: new.create_time,
        last_seq: 1,
        message_count: 0,
        own: Membership::OPENER,
        last_message: None,
    }
}
