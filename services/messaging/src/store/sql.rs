//! The statements, written once; `postgres.rs` and `sqlite.rs` include this file and contain the differences.

#[path = "sql/admission.rs"]
mod admission;
#[path = "sql/append.rs"]
mod append;
#[path = "sql/conversations.rs"]
mod conversations;
#[path = "sql/invitations.rs"]
mod invitations;
#[path = "sql/log.rs"]
mod log;
#[path = "sql/members.rs"]
mod members;
#[path = "sql/messages.rs"]
mod messages;
#[path = "sql/people.rs"]
mod people;
#[path = "sql/storage.rs"]
mod storage;

use std::collections::BTreeSet;

use async_trait::async_trait;
use kit::{
    audit::{self, AuditEntry},
    keyring::Keyring,
};
use kit_data::{
    audit::Log,
    store::{DbTimestamp, Error, Pool, Transaction, Unopened},
};
use sqlx::Row as _;
use uuid::Uuid;

use super::Db;
use crate::{
    domain::{
        AddPolicy, Admission, Body, Change, Conversation, ConversationId, Details, Entry, Epoch, Fingerprint,
        NewConversation, NewMessage, Quotas, Recent, UserId,
    },
    store::{AppendError, Appended, ChangeError, Changed, InsertError, MessagingStore, body::stored_size},
};
use admission::{Adding, Joining};
use conversations::{count, created_entry, opened};
use log::{change_entry, entry, insert_entry, lock};

/// The store on one database.
pub(in crate::store) struct Sql {
    read: Pool<Db>,
    write: Pool<Db>,
    epoch: Epoch,
    quotas: Quotas,
    audit: Log,
}

type Row = <Db as sqlx::Database>::Row;
type Tx<'a> = Transaction<'a, Db>;

impl Sql {
    pub(super) async fn new(
        read: Pool<Db>,
        write: Pool<Db>,
        quotas: Quotas,
        audit_keys: &Keyring,
    ) -> Result<Self, Unopened> {
        let unread = |e: sqlx::Error| Unopened(format!("cannot read messaging's epoch: {e}"));
        let row = sqlx::query("SELECT epoch FROM epoch").fetch_one(&read).await.map_err(unread)?;
        let epoch: i64 = row.try_get("epoch").map_err(unread)?;
        let epoch = u32::try_from(epoch).map_err(|_| Unopened(format!("messaging's epoch {epoch} is too large")))?;
        let audit = Log::new("messaging", read.clone(), write.clone(), audit_keys.clone());
        Ok(Self { read, write, epoch: Epoch(epoch), quotas, audit })
    }

    /// Begins a change that locks the rows of `people`, and a conversation's row unless it is new. Waits in each row's
    /// queue before it takes a connection: people in the order of their ids, the conversation last, so that a change
    /// that waits for people does not delay other changes of the conversation.
    async fn begin_with(&self, people: &[UserId], id: Option<ConversationId>) -> Result<Tx<'_>, Error> {
        let people: BTreeSet<Uuid> = people.iter().map(|person| person.0).collect();
        self.write.begin_on_all(people.into_iter().chain(id.map(|id| id.0))).await
    }

    /// The conversation that the request with this id opened first, if the fingerprints are equal.
    async fn first_conversation(&self, new: &NewConversation) -> Result<Conversation, InsertError> {
        let row = sqlx::query(
            "SELECT conversation_id, fingerprint FROM conversations WHERE creator_id = $1 AND request_id = $2",
        )
        .bind(new.creator.0)
        .bind(new.request_id)
        .fetch_one(&self.write)
        .await?;
        let fingerprint = Fingerprint(row.try_get("fingerprint")?);
        if fingerprint != new.fingerprint() {
            return Err(InsertError::RequestIdReused);
        }
        let id = ConversationId(row.try_get("conversation_id")?);
        let found = self.find(id, new.creator).await?;
        found.ok_or(InsertError::Left)
    }
}

#[async_trait]
impl MessagingStore for Sql {
    fn audit(&self) -> &Log {
        &self.audit
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn readers(&self) -> u32 {
        self.read.max_connections()
    }

    async fn find_by_request(&self, creator: UserId, request_id: Uuid) -> Result<Option<ConversationId>, Error> {
        let row = sqlx::query("SELECT conversation_id FROM conversations WHERE creator_id = $1 AND request_id = $2")
            .bind(creator.0)
            .bind(request_id)
            .fetch_optional(&self.read)
            .await?;
        Ok(row.map(|row| row.try_get("conversation_id").map(ConversationId)).transpose()?)
    }

    async fn insert(&self, new: &NewConversation, admission: &Admission) -> Result<Conversation, InsertError> {
        // No other transaction can wait for the row of a new conversation.
        let mut tx = self.begin_with(&new.members, None).await?;
        let inserted = sqlx::query(
            "INSERT INTO conversations (conversation_id, creator_id, owner_id, request_id, fingerprint, title, \
             add_policy, revision, create_time, update_time, last_seq, message_count, member_count) \
             VALUES ($1, $2, $2, $3, $4, $5, $7, 1, $6, $6, 1, 0, 1) \
             ON CONFLICT (creator_id, request_id) DO NOTHING",
        )
        .bind(new.id.0)
        .bind(new.creator.0)
        .bind(new.request_id)
        .bind(new.fingerprint().0)
        .bind(&new.title)
        .bind(DbTimestamp(new.create_time))
        .bind(AddPolicy::AllMembers.as_str())
        .execute(&mut *tx)
        .await?;
        if inserted.rows_affected() == 0 {
            tx.rollback().await?;
            audit::unchanged();
            return self.first_conversation(new).await;
        }
        let adding = Adding {
            conversation: new.id,
            actor: new.creator,
            now: new.create_time,
            direct: new.is_direct(),
            admission,
        };
        let mut members = adding.open(&mut tx, &new.others(), Joining { seq: 1, read_no: 0 }).await?;
        members.sort();
        let entry = created_entry(new, &members);
        sqlx::query("UPDATE conversations SET member_count = $2, stored_bytes = $3 WHERE conversation_id = $1")
            .bind(new.id.0)
            .bind(count(&members))
            .bind(stored_size(&entry.body))
            .execute(&mut *tx)
            .await?;
        if !new.title.is_empty() {
            self.charge(&mut tx, new.creator, stored_size(&entry.body)).await?;
        }
        insert_entry(&mut tx, &entry).await?;
        self.audit.record(&mut tx, AuditEntry::new(new.id.name())).await?;
        tx.commit().await?;
        Ok(opened(new, &members))
    }

    async fn find(&self, id: ConversationId, member: UserId) -> Result<Option<Conversation>, Error> {
        Ok(self.read(&[id], member).await?.pop())
    }

    async fn find_all(&self, ids: &[ConversationId], member: UserId) -> Result<Vec<Conversation>, Error> {
        self.read(ids, member).await
    }

    async fn head(&self, id: ConversationId, member: UserId) -> Result<Option<i64>, Error> {
        let row = sqlx::query(
            "SELECT c.last_seq FROM conversations c JOIN members m ON m.conversation_id = c.conversation_id \
             WHERE c.conversation_id = $1 AND m.user_id = $2",
        )
        .bind(id.0)
        .bind(member.0)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.map(|row| row.try_get("last_seq")).transpose()?)
    }

    async fn list(&self, member: UserId, page: Recent) -> Result<Vec<Conversation>, Error> {
        let (time, id) = page.after;
        let rows = sqlx::query(
            "SELECT c.conversation_id FROM members m JOIN conversations c ON c.conversation_id = m.conversation_id \
             WHERE m.user_id = $1 AND (c.update_time < $2 OR (c.update_time = $2 AND c.conversation_id < $3)) \
             ORDER BY c.update_time DESC, c.conversation_id DESC LIMIT $4",
        )
        .bind(member.0)
        .bind(DbTimestamp(time))
        .bind(id.0)
        .bind(i64::try_from(page.size).unwrap_or(i64::MAX).saturating_add(1))
        .fetch_all(&self.read)
        .await?;
        let id = |row: &Row| row.try_get("conversation_id").map(ConversationId);
        self.read(&rows.iter().map(id).collect::<Result<Vec<_>, _>>()?, member).await
    }

    async fn update(&self, change: Change, details: &Details) -> Result<Changed, ChangeError> {
        let mut tx = self.begin_with(&[change.actor], Some(change.conversation)).await?;
        let locked = lock(&mut tx, &change).await?;
        let current = members::add_policy(&mut tx, change.conversation).await?;
        let title = details.title.as_ref().unwrap_or(&locked.title);
        let add_policy = details.add_policy.unwrap_or(current);
        if (title, add_policy) == (&locked.title, current) {
            return Ok(Changed::Already);
        }
        if add_policy != current && locked.owner != change.actor {
            return Err(ChangeError::NotOwner);
        }
        if change.revision.is_some_and(|revision| revision != locked.revision) {
            return Err(ChangeError::OtherRevision);
        }
        if members::is_blocked(&mut tx, change.conversation, change.actor, locked.member_count).await? {
            return Err(ChangeError::NotAccepted);
        }
        let revision = locked.revision + 1;
        let title_changed = *title != locked.title;
        let body = Body::Updated { title: title.clone(), title_changed, add_policy, revision };
        let stored_bytes = locked.stored_bytes + stored_size(&body);
        self.require_room(stored_bytes)?;
        if title_changed {
            self.charge(&mut tx, change.actor, stored_size(&body)).await?;
        }
        sqlx::query(
            "UPDATE conversations SET title = $2, add_policy = $3, revision = $4, stored_bytes = $5 \
             WHERE conversation_id = $1",
        )
        .bind(change.conversation.0)
        .bind(title)
        .bind(add_policy.as_str())
        .bind(revision)
        .bind(stored_bytes)
        .execute(&mut *tx)
        .await?;
        insert_entry(&mut tx, &change_entry(&change, locked.seq, body)).await?;
        tx.commit().await?;
        Ok(Changed::Now(locked.seq))
    }

    async fn append(&self, new: &NewMessage) -> Result<Appended, AppendError> {
        self.append_message(new).await
    }

    async fn list_history(
        &self,
        id: ConversationId,
        member: UserId,
        before: i64,
        limit: usize,
    ) -> Result<Vec<Entry>, Error> {
        let rows = sqlx::query(
            "SELECT conversation_id, seq, message_no, author_id, create_time, body FROM entries \
             WHERE conversation_id = $1 AND seq < $2 AND target_no IS NULL AND erased_no IS NULL AND EXISTS \
             (SELECT 1 FROM members WHERE conversation_id = $1 AND user_id = $3) ORDER BY seq DESC LIMIT $4",
        )
        .bind(id.0)
        .bind(before)
        .bind(member.0)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(entry).collect()
    }

    async fn list_entries(
        &self,
        id: ConversationId,
        member: UserId,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Entry>, Error> {
        let rows = sqlx::query(
            "SELECT conversation_id, seq, message_no, author_id, create_time, body FROM entries \
             WHERE conversation_id = $1 AND seq > $2 AND EXISTS \
             (SELECT 1 FROM members WHERE conversation_id = $1 AND user_id = $3) ORDER BY seq LIMIT $4",
        )
        .bind(id.0)
        .bind(after)
        .bind(member.0)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(entry).collect()
    }

    async fn requests(&self, member: UserId) -> Result<Vec<ConversationId>, Error> {
        let rows = sqlx::query("SELECT conversation_id FROM members WHERE user_id = $1 AND standing = 'requested'")
            .bind(member.0)
            .fetch_all(&self.read)
            .await?;
        Ok(rows.iter().map(|row| row.try_get("conversation_id").map(ConversationId)).collect::<Result<_, _>>()?)
    }

    async fn heads(&self, member: UserId) -> Result<Vec<(ConversationId, i64)>, Error> {
        let rows = sqlx::query(
            "SELECT c.conversation_id, c.last_seq FROM members m \
             JOIN conversations c ON c.conversation_id = m.conversation_id WHERE m.user_id = $1",
        )
        .bind(member.0)
        .fetch_all(&self.read)
        .await?;
        let head = |row: &Row| -> Result<_, sqlx::Error> {
            Ok((ConversationId(row.try_get("conversation_id")?), row.try_get("last_seq")?))
        };
        Ok(rows.iter().map(head).collect::<Result<_, _>>()?)
    }

    async fn is_reachable(&self) -> bool {
        self.read.is_reachable()
    }
}

/// The record of a change of a member.
fn of_member(conversation: ConversationId, person: UserId) -> AuditEntry {
    AuditEntry::new(format!("{}/members/{person}", conversation.name()))
}

/// The record of a change of an invitation.
fn of_invitation(conversation: ConversationId, person: UserId) -> AuditEntry {
    AuditEntry::new(format!("{}/invitations/{person}", conversation.name()))
}
