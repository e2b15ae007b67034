//! The store of conversations.

mod body;
mod people;
mod postgres;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use kit::Timestamp;
use kit_data::{
    audit::Log,
    store::{Error, Location, Settings, Unopened},
};
use uuid::Uuid;

use crate::domain::{
    Admission, Change, Conversation, ConversationId, Details, Entry, Epoch, Member, MembersPage, NewConversation,
    NewMessage, Quotas, ReadPosition, Recent, UserId,
};
pub use people::{AdmitError, BlockError, Invitations, People};

/// The statements of the service.
///
/// A statement that reads a conversation also checks the reader's membership, in the same snapshot. When a read takes
/// several statements, those that start after the reader's removal return nothing.
///
/// A change locks the conversation's row first. A statement that starts after the lock is held checks the actor's
/// membership.
#[async_trait]
pub trait MessagingStore: Members + Messages + Invitations + People {
    /// The audit log of the service. Each change of members and invitations is recorded in its transaction.
    fn audit(&self) -> &Log;

    /// The epoch of this store's history.
    fn epoch(&self) -> Epoch;

    /// The number of connections for reads. Further reads wait for a connection.
    fn readers(&self) -> u32;

    /// The conversation that `creator` opened with the request `request_id`, whatever its other fields were.
    async fn find_by_request(&self, creator: UserId, request_id: Uuid) -> Result<Option<ConversationId>, Error>;

    /// Stores a conversation, its members, invitations and its first entry, in one transaction. Under concurrency a
    /// unique key ensures one conversation for each request, and locks of the users' rows ensure the added users' rules
    /// and bounds.
    async fn insert(&self, new: &NewConversation, admission: &Admission) -> Result<Conversation, InsertError>;

    /// The conversation, if `member` is a member of it.
    async fn find(&self, id: ConversationId, member: UserId) -> Result<Option<Conversation>, Error>;

    /// Like `find` for several conversations, in the order of `ids`. Takes two statements for any number of ids.
    async fn find_all(&self, ids: &[ConversationId], member: UserId) -> Result<Vec<Conversation>, Error>;

    /// The newest entry's number, if `member` is a member of the conversation.
    async fn head(&self, id: ConversationId, member: UserId) -> Result<Option<i64>, Error>;

    /// A page of the conversations of `member`, and one more when there are more. Takes three statements for any page
    /// size; the first reads all conversations of the member, which are bounded, to find the newest. Omits
    /// conversations that the member leaves between the statements.
    async fn list(&self, member: UserId, page: Recent) -> Result<Vec<Conversation>, Error>;

    /// Changes a conversation's details, if its revision is the one that the actor read. Equal details change nothing.
    /// Only the owner may change `add_policy`.
    async fn update(&self, change: Change, details: &Details) -> Result<Changed, ChangeError>;

    /// Appends a message, in one transaction. `seq` and `message_no` are assigned under the conversation's row lock, so
    /// that neither has a gap. The client's id stays unique forever; a repeat returns the first entry.
    async fn append(&self, new: &NewMessage) -> Result<Appended, AppendError>;

    /// The newest entries before the entry number `before`, newest first, without edits and deletions: their effect is
    /// in the message. None if `member` is not a member.
    async fn list_history(
        &self,
        id: ConversationId,
        member: UserId,
        before: i64,
        limit: usize,
    ) -> Result<Vec<Entry>, Error>;

    /// The entries after the entry number `after`, in order; none if `member` is not a member.
    async fn list_entries(
        &self,
        id: ConversationId,
        member: UserId,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Entry>, Error>;

    /// The conversations that `member` has not accepted.
    async fn requests(&self, member: UserId) -> Result<Vec<ConversationId>, Error>;

    /// Every conversation of `member` with the number of its newest entry.
    async fn heads(&self, member: UserId) -> Result<Vec<(ConversationId, i64)>, Error>;

    /// Whether the database is reachable.
    async fn is_reachable(&self) -> bool;
}

/// The members of a conversation. Each change is an entry of the log, in the same transaction.
#[async_trait]
pub trait Members: Send + Sync {
    /// Adds `person`, or invites them. Earlier messages count as read by a new member. Checks all rules and bounds
    /// under the locks of the conversation's row and the users' rows.
    async fn add(&self, change: Change, person: UserId, admission: &Admission) -> Result<Changed, ChangeError>;

    /// Removes `person`, or withdraws their invitation. Only the owner may remove others and withdraw invitations that
    /// another member sent. When the owner leaves, the member who joined first becomes the owner.
    async fn remove(&self, change: Change, person: UserId) -> Result<Changed, ChangeError>;

    /// Moves the read mark of `member` to `number`, never back and never past the newest message. Returns the read
    /// position and which members see a change. `None`: not a member.
    async fn mark_read(
        &self,
        id: ConversationId,
        member: UserId,
        number: i64,
    ) -> Result<Option<(ReadPosition, Marked)>, Error>;

    /// A page of the members in the order in which they joined, and one more when there are more; none if `member` is
    /// not a member.
    async fn list_members(&self, id: ConversationId, member: UserId, page: MembersPage) -> Result<Vec<Member>, Error>;

    /// The read marks of `member` and of the members who have accepted the conversation. None if `member` is not a
    /// member, or if there are more than [`MARKED_MEMBERS`](crate::domain::MARKED_MEMBERS) members.
    async fn read_marks(&self, id: ConversationId, member: UserId) -> Result<Vec<(UserId, i64)>, Error>;

    /// Users who share a conversation with `member`, oldest conversations first: at most `limit`, from at most
    /// [`Quotas::contact_rows`] memberships.
    async fn contacts(&self, member: UserId, limit: u32) -> Result<Vec<UserId>, Error>;

    /// Marks the account of `person` as deleted, so that no conversation can add it, and erases the person's fields in the
    /// audit log. Waits for additions that hold the person's row.
    async fn bar(&self, person: UserId, now: Timestamp) -> Result<(), Error>;
}

/// Changes of stored messages. Each change is an entry of the log, in the same transaction.
#[async_trait]
pub trait Messages: Send + Sync {
    /// The message, if `member` is a member of its conversation.
    async fn find_message(&self, id: ConversationId, member: UserId, message: Uuid) -> Result<Option<Entry>, Error>;

    /// Changes the text of the actor's own message. An equal text changes nothing.
    async fn edit(&self, change: Change, message: Uuid, text: &str) -> Result<Changed, ChangeError>;

    /// Erases the text of a message and its earlier texts, permanently. Only the message's author and the
    /// conversation's owner may, and in a conversation of two not the member whom the other one has blocked.
    async fn erase(&self, change: Change, message: Uuid) -> Result<Changed, ChangeError>;
}

/// Who sees that a read mark has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marked {
    /// The mark has not changed.
    Unchanged,
    /// The reader has not accepted the conversation: only the reader's own devices see the mark.
    Privately,
    /// All members see the mark.
    Publicly,
}

/// The outcome of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// Changed. The entry of the change has this number.
    Now(i64),
    /// The requested state was in place already.
    Already,
    /// The user got an invitation.
    Invited,
}

/// Why a change failed.
#[derive(Debug)]
pub enum ChangeError {
    /// There is no such conversation, or the actor is not a member of it.
    NotFound,
    /// The conversation has no such message.
    NoMessage,
    /// There is no invitation for the actor.
    NoInvitation,
    /// The actor has not accepted the conversation.
    Pending,
    /// The actor is not the conversation's owner.
    NotOwner,
    /// The actor is not the message's author.
    NotAuthor,
    /// The revision is not the one that the actor read.
    OtherRevision,
    /// The message is erased.
    Erased,
    /// The message has [`Quotas::edits_per_message`] edits already.
    TooManyEdits,
    /// The conversation's log would exceed [`Quotas::conversation_bytes`].
    StorageFull,
    /// The author's stored bytes would exceed [`Quotas::user_bytes`].
    UserStorageFull,
    /// The other of two members has blocked the actor.
    NotAccepted,
    /// The conversation is full.
    TooManyMembers,
    /// A user cannot be added.
    Admit(AdmitError),
    /// The store failed.
    Store(Error),
}

impl From<AdmitError> for ChangeError {
    fn from(error: AdmitError) -> Self {
        match error {
            AdmitError::Store(error) => Self::Store(error),
            error => Self::Admit(error),
        }
    }
}

impl<E: Into<Error>> From<E> for ChangeError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

/// The outcome of an append.
#[derive(Debug)]
pub struct Appended {
    /// The entry, as stored by this request or by the first one with its id.
    pub entry: Entry,
    /// Whether this request stored it.
    pub is_new: bool,
}

/// Why a conversation was not stored.
#[derive(Debug)]
pub enum InsertError {
    /// Another conversation was opened with the request's id.
    RequestIdReused,
    /// The request opened a conversation that its creator has left.
    Left,
    /// The creator's stored bytes would exceed [`Quotas::user_bytes`].
    UserStorageFull,
    /// A user cannot be added.
    Admit(AdmitError),
    /// The store failed.
    Store(Error),
}

impl From<AdmitError> for InsertError {
    fn from(error: AdmitError) -> Self {
        match error {
            AdmitError::Store(error) => Self::Store(error),
            error => Self::Admit(error),
        }
    }
}

/// Why a message was not stored.
#[derive(Debug)]
pub enum AppendError {
    /// There is no such conversation, or the author is not a member of it.
    NotFound,
    /// Another message has the client's id.
    RequestIdReused,
    /// The conversation's log would exceed [`Quotas::conversation_bytes`].
    StorageFull,
    /// The author's stored bytes would exceed [`Quotas::user_bytes`].
    UserStorageFull,
    /// The other of two members has blocked the author.
    NotAccepted,
    /// The store failed.
    Store(Error),
}

impl<E: Into<Error>> From<E> for InsertError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

impl<E: Into<Error>> From<E> for AppendError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

/// Opens the store and applies its migrations.
pub async fn open(
    location: &Location,
    settings: impl Into<Settings>,
    quotas: Quotas,
) -> Result<Arc<dyn MessagingStore>, Unopened> {
    let settings = settings.into();
    Ok(match location {
        Location::Postgres(url) => Arc::new(postgres::open(url, &settings, quotas).await?),
        Location::Sqlite(path) => Arc::new(sqlite::open(path, &settings, quotas).await?),
    })
}
