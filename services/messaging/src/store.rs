//! Where conversations live.

mod body;
mod postgres;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use kit::store::{Error, Location, Unopened};
use uuid::Uuid;

use crate::domain::{Conversation, ConversationId, Entry, Epoch, NewConversation, NewMessage, UserId};

/// The statements of the service.
#[async_trait]
pub trait MessagingStore: Send + Sync {
    /// Which history this store tells.
    fn epoch(&self) -> Epoch;

    /// The conversation that `creator` opened by the request `request_id`, whatever it asked for.
    async fn find_by_request(&self, creator: UserId, request_id: Uuid) -> Result<Option<ConversationId>, Error>;

    /// Stores a conversation, its members and its first entry, in one transaction. That a request opens one
    /// conversation, and that nobody is in more than `limit`, hold under concurrency: the unique key and the
    /// members' counts decide.
    async fn insert(&self, new: &NewConversation, limit: u32) -> Result<Conversation, InsertError>;

    /// The conversation, if `member` is in it.
    async fn find(&self, id: ConversationId, member: UserId) -> Result<Option<Conversation>, Error>;

    /// Appends a message, in one transaction. The conversation's row lock gives out `seq` and `message_no`, so
    /// that neither has a gap; the client's id is unique for good, so that a repeat answers the first entry.
    async fn append(&self, new: &NewMessage) -> Result<Appended, AppendError>;

    /// The newest messages numbered below `before`, newest first.
    async fn list_messages(&self, id: ConversationId, before: i64, limit: usize) -> Result<Vec<Entry>, Error>;

    /// The entries past `after`, in order.
    async fn list_entries(&self, id: ConversationId, after: i64, limit: usize) -> Result<Vec<Entry>, Error>;

    /// Every conversation of `member` with the number of its newest entry.
    async fn heads(&self, member: UserId) -> Result<Vec<(ConversationId, i64)>, Error>;

    /// Whether the database answers.
    async fn answers(&self) -> bool;
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
    /// Somebody is in too many conversations already.
    TooManyConversations,
    /// The store failed.
    Store(Error),
}

/// Why a message was not stored.
#[derive(Debug)]
pub enum AppendError {
    /// There is no such conversation, or the author is not in it.
    NotFound,
    /// The client's id was used for another message.
    RequestIdReused,
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
pub async fn open(location: &Location, pool_size: u32) -> Result<Arc<dyn MessagingStore>, Unopened> {
    Ok(match location {
        Location::Postgres(url) => Arc::new(postgres::open(url, pool_size).await?),
        Location::Sqlite(path) => Arc::new(sqlite::open(path).await?),
    })
}
