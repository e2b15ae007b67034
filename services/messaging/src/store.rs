//! Where conversations live.

mod body;
mod people;
mod postgres;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use kit::store::{Error, Location, Settings, Unopened};
use uuid::Uuid;

use crate::domain::{
    Admission, Change, Conversation, ConversationId, Details, Entry, Epoch, Member, MembersPage, NewConversation,
    NewMessage, Quotas, ReadPosition, Recent, UserId,
};
pub use people::{AdmitError, BlockError, Invitations, People};

/// The statements of the service.
///
/// A statement that reads what a conversation holds checks in itself that the reader is a member: it sees both at one
/// moment. Whoever reads in several statements gets nothing from those that begin after the removal.
///
/// A change locks the conversation's row first. Whether the actor is a member is checked by a statement that starts
/// after the lock is held.
#[async_trait]
pub trait MessagingStore: Members + Messages + Invitations + People {
    /// Which history this store tells.
    fn epoch(&self) -> Epoch;

    /// How many questions it answers at once; more wait for one another.
    fn readers(&self) -> u32;

    /// The conversation that `creator` opened by the request `request_id`, whatever it asked for.
    async fn find_by_request(&self, creator: UserId, request_id: Uuid) -> Result<Option<ConversationId>, Error>;

    /// Stores a conversation, its members, invitations and its first entry, in one transaction. That a request opens one
    /// conversation, and the rules and bounds of those who are added, hold under concurrency: by the unique key, and under
    /// the locks of the users' rows.
    async fn insert(&self, new: &NewConversation, admission: &Admission) -> Result<Conversation, InsertError>;

    /// The conversation, if `member` is in it.
    async fn find(&self, id: ConversationId, member: UserId) -> Result<Option<Conversation>, Error>;

    /// Those of `ids` that `member` is in, in the order of `ids`, as `find` tells them. Two statements, however many
    /// they are.
    async fn find_all(&self, ids: &[ConversationId], member: UserId) -> Result<Vec<Conversation>, Error>;

    /// The newest entry's number, if `member` is in the conversation.
    async fn head(&self, id: ConversationId, member: UserId) -> Result<Option<i64>, Error>;

    /// A page of the conversations of `member`, and one more when there are more. Three statements, however long
    /// the page is; the first reads all of them (at most as many as one may be in) to find the newest. What the
    /// member leaves between the statements is left out.
    async fn list(&self, member: UserId, page: Recent) -> Result<Vec<Conversation>, Error>;

    /// Changes a conversation's details, if its revision is the one that was read. The same again changes nothing. Who may
    /// add members is the owner's choice.
    async fn update(&self, change: Change, details: &Details) -> Result<Changed, ChangeError>;

    /// Appends a message, in one transaction. The conversation's row lock gives out `seq` and `message_no`, so
    /// that neither has a gap; the client's id is unique for good, so that a repeat answers the first entry.
    async fn append(&self, new: &NewMessage) -> Result<Appended, AppendError>;

    /// The newest messages numbered below `before`, newest first; none for who is not a member.
    async fn list_messages(
        &self,
        id: ConversationId,
        member: UserId,
        before: i64,
        limit: usize,
    ) -> Result<Vec<Entry>, Error>;

    /// The entries past `after`, in order; none for who is not a member.
    async fn list_entries(
        &self,
        id: ConversationId,
        member: UserId,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Entry>, Error>;

    /// Every conversation of `member` with the number of its newest entry.
    async fn heads(&self, member: UserId) -> Result<Vec<(ConversationId, i64)>, Error>;

    /// Whether the database answers.
    async fn answers(&self) -> bool;
}

/// Who is in a conversation. Each change is an entry of the log, in the same transaction.
#[async_trait]
pub trait Members: Send + Sync {
    /// Adds `person`, who counts as having read what was said before, or invites them. All rules and bounds hold under the
    /// lock of the conversation's row and those of the users' rows.
    async fn add(&self, change: Change, person: UserId, admission: &Admission) -> Result<Changed, ChangeError>;

    /// Removes `person`, or takes back their invitation; only the owner may remove others, and take back what another
    /// member has sent. When the owner goes, the member who joined first becomes the owner.
    async fn remove(&self, change: Change, person: UserId) -> Result<Changed, ChangeError>;

    /// Says that `member` has read up to `number`, never back and never past the newest message: how far they have read
    /// now, and whether that has changed. `None`: not a member.
    async fn mark_read(
        &self,
        id: ConversationId,
        member: UserId,
        number: i64,
    ) -> Result<Option<(ReadPosition, bool)>, Error>;

    /// A page of the members in the order in which they joined, and one more when there are more; none for who is not
    /// a member.
    async fn list_members(&self, id: ConversationId, member: UserId, page: MembersPage) -> Result<Vec<Member>, Error>;

    /// How far everybody in it has read, if `member` is in it and not too many are. Without those who have not accepted it.
    async fn read_marks(&self, id: ConversationId, member: UserId) -> Result<Vec<(UserId, i64)>, Error>;

    /// The people whom `member` shares a conversation with, from the oldest conversations first: at most `limit`, among
    /// at most [`Quotas::contact_rows`] memberships.
    async fn contacts(&self, member: UserId, limit: u32) -> Result<Vec<UserId>, Error>;

    /// Keeps the account of `person`, which is deleted, out of all conversations from now on. Additions that hold the
    /// person's row are waited for.
    async fn bar(&self, person: UserId) -> Result<(), Error>;
}

/// Messages after they were sent. Each change is an entry of the log, in the same transaction.
#[async_trait]
pub trait Messages: Send + Sync {
    /// The message, if `member` is in its conversation.
    async fn find_message(&self, id: ConversationId, member: UserId, message: Uuid) -> Result<Option<Entry>, Error>;

    /// Changes the text of the actor's own message. The same text again changes nothing.
    async fn edit(&self, change: Change, message: Uuid, text: &str) -> Result<Changed, ChangeError>;

    /// Erases the text of a message, and the texts that it had before. The author and the owner may; what is
    /// erased stays so.
    async fn erase(&self, change: Change, message: Uuid) -> Result<Changed, ChangeError>;
}

/// The outcome of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// The log has reached this entry.
    Now(i64),
    /// It was so already.
    Already,
    /// A user has an invitation.
    Invited,
}

/// Why something was not changed.
#[derive(Debug)]
pub enum ChangeError {
    /// There is no such conversation, or the actor is not in it.
    NotFound,
    /// There is no such message in it.
    NoMessage,
    /// There is no invitation for the actor.
    NoInvitation,
    /// The actor has not accepted the conversation.
    Pending,
    /// Only the owner may.
    NotOwner,
    /// Only the author may.
    NotAuthor,
    /// It has changed since it was read.
    OtherRevision,
    /// The message is erased.
    Erased,
    /// The message was edited too often.
    TooManyEdits,
    /// The conversation's log takes as many bytes as it may.
    StorageFull,
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
    /// The entry, as stored now or at the first time.
    pub entry: Entry,
    /// Whether it is new.
    pub is_new: bool,
}

/// Why a conversation was not stored.
#[derive(Debug)]
pub enum InsertError {
    /// The request's id was used for another conversation.
    RequestIdReused,
    /// The request opened a conversation that its creator is not in any more.
    Left,
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
    /// There is no such conversation, or the author is not in it.
    NotFound,
    /// The client's id was used for another message.
    RequestIdReused,
    /// The conversation's log takes as many bytes as it may.
    StorageFull,
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

/// Opens the store and brings it up to date.
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
