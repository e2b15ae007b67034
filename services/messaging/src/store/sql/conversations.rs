//! Conversations as their members see them, read many at a time.

use std::collections::{HashMap, hash_map};

use futures_util::TryStreamExt as _;
use kit::store::{Error, Stamp};
use sqlx::{AssertSqlSafe, Row as _};

use super::{
    super::{AMONG, among},
    Row, Sql,
    log::entry,
};
use crate::domain::{Conversation, ConversationId, MARKED_MEMBERS, UserId};

impl Sql {
    /// Those of `ids` that `member` is in, in the order of `ids`: two statements, however many they are.
    pub(super) async fn read(&self, ids: &[ConversationId], member: UserId) -> Result<Vec<Conversation>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = self.read_with_members(ids, member).await?;
        self.read_last_messages(&mut found, member).await?;
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    /// One statement, so that members and numbers are of one moment.
    async fn read_with_members(
        &self,
        ids: &[ConversationId],
        member: UserId,
    ) -> Result<HashMap<ConversationId, Conversation>, Error> {
        // A count and not EXISTS: of that PostgreSQL makes a join that begins with all conversations of the member.
        // `AMONG` is one of this program's own texts.
        let statement = AssertSqlSafe(format!(
            "SELECT c.conversation_id, c.title, c.owner_id, c.revision, c.create_time, c.update_time, c.last_seq, \
             c.message_count, m.user_id, m.read_no \
             FROM conversations c JOIN members m ON m.conversation_id = c.conversation_id \
             WHERE c.conversation_id {AMONG} AND \
             (SELECT count(*) FROM members WHERE conversation_id = c.conversation_id AND user_id = $2) = 1 \
             ORDER BY c.conversation_id, m.user_id"
        ));
        // Row by row: each repeats what its conversation says, and there may be a million of them.
        let mut rows = sqlx::query(statement).bind(among(ids.iter().map(|id| id.0))).bind(member.0).fetch(&self.read);
        let mut found = HashMap::with_capacity(ids.len());
        while let Some(row) = rows.try_next().await? {
            let id = ConversationId(row.try_get("conversation_id")?);
            let into: &mut Conversation = match found.entry(id) {
                hash_map::Entry::Occupied(known) => known.into_mut(),
                hash_map::Entry::Vacant(new) => new.insert(conversation(&row, id)?),
            };
            let (person, read_no) = (UserId(row.try_get("user_id")?), row.try_get("read_no")?);
            if person == member {
                into.read_no = read_no;
            }
            into.members.push(person);
            into.read_marks.push((person, read_no));
        }
        for conversation in found.values_mut().filter(|found| found.members.len() > MARKED_MEMBERS) {
            conversation.read_marks.clear();
        }
        Ok(found)
    }

    /// The newest message, which is the one whose number says how many there are, and how many are unread: those past
    /// the read mark, without the erased ones. A conversation that the member has left
    /// since the first statement is dropped: it may hold another message by now.
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
            // Without a value: not a member any more.
            let (conversation, unread) = (of.get_mut(&last.conversation), row.try_get::<Option<i64>, _>("unread")?);
            if let (Some(conversation), Some(unread)) = (conversation, unread) {
                conversation.last_message = Some(last);
                conversation.unread = unread;
            }
        }
        of.retain(|_, conversation| conversation.message_count == 0 || conversation.last_message.is_some());
        Ok(())
    }
}

/// What the conversation's own row tells.
fn conversation(row: &Row, id: ConversationId) -> Result<Conversation, Error> {
    let (create_time, update_time): (Stamp, Stamp) = (row.try_get("create_time")?, row.try_get("update_time")?);
    Ok(Conversation {
        id,
        title: row.try_get("title")?,
        members: Vec::new(),
        owner: UserId(row.try_get("owner_id")?),
        revision: row.try_get("revision")?,
        create_time: create_time.0,
        update_time: update_time.0,
        last_seq: row.try_get("last_seq")?,
        message_count: row.try_get("message_count")?,
        read_no: 0,
        unread: 0,
        last_message: None,
        read_marks: Vec::new(),
    })
}
