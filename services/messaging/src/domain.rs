//! Types and rules of conversations.

mod cursor;
mod page;

use std::{collections::BTreeSet, fmt};

use kit::Timestamp;
use ring::digest::{Context, SHA256};
use uuid::Uuid;

pub use cursor::{BadCursor, Cursor, Epoch};
pub use page::{BadToken, Page};

/// The id of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConversationId(pub Uuid);

/// The id of a user: an account in auth, a profile in users, and here only an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(pub Uuid);

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// The id.
    pub id: ConversationId,
    /// What it is called; may be empty.
    pub title: String,
    /// Who is in it, by id.
    pub members: Vec<UserId>,
    /// When it was opened.
    pub create_time: Timestamp,
    /// The number of its newest entry.
    pub last_seq: i64,
    /// How many of its entries count as messages.
    pub message_count: i64,
}

/// One entry of a conversation's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The conversation.
    pub conversation: ConversationId,
    /// Its place in the log: 1, 2, 3 and so on, without a gap.
    pub seq: i64,
    /// Who caused it.
    pub author: UserId,
    /// When it was stored.
    pub create_time: Timestamp,
    /// What happened.
    pub body: Body,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Somebody said something.
    Message(Message),
    /// Somebody opened the conversation.
    Created {
        /// Who was in it.
        members: Vec<UserId>,
        /// What it was called.
        title: String,
    },
}

/// Something said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The id.
    pub id: Uuid,
    /// The sender's own id for it.
    pub client_id: Uuid,
    /// Its number among the messages.
    pub number: i64,
    /// The text.
    pub text: String,
}

/// A conversation that is about to be opened.
#[derive(Debug, Clone)]
pub struct NewConversation {
    /// The id.
    pub id: ConversationId,
    /// Who opens it.
    pub creator: UserId,
    /// The creator's own id for the request.
    pub request_id: Uuid,
    /// Everybody in it, the creator included: sorted, each once.
    pub members: Vec<UserId>,
    /// What it is called.
    pub title: String,
    /// When.
    pub create_time: Timestamp,
}

impl NewConversation {
    /// The creator is a member, and nobody is one twice.
    pub fn everybody(creator: UserId, others: impl IntoIterator<Item = UserId>) -> Vec<UserId> {
        others.into_iter().chain([creator]).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What a repeat of the request must agree with.
    pub fn fingerprint(&self) -> Fingerprint {
        let members = self.members.iter().map(|member| member.0.into_bytes());
        Fingerprint::of(members.map(Vec::from).chain([self.title.clone().into_bytes()]))
    }
}

/// A message that is about to be stored.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Where.
    pub conversation: ConversationId,
    /// Who says it.
    pub author: UserId,
    /// The id.
    pub id: Uuid,
    /// The sender's own id for it.
    pub client_id: Uuid,
    /// The text.
    pub text: String,
    /// When.
    pub create_time: Timestamp,
}

impl NewMessage {
    /// What a repeat of the request must agree with.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of([self.text.clone().into_bytes()])
    }
}

/// A hash of what a request asked for, kept with its id: a repeat answers the first result, and another
/// request under the same id is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(pub Vec<u8>);

impl Fingerprint {
    fn of(parts: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            // The length keeps two parts from reading as one.
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(&part);
        }
        Self(context.finish().as_ref().to_vec())
    }
}
