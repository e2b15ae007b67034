//! Types and rules of conversations.

mod admission;
mod blocked_page;
mod cursor;
mod members_page;
mod page;
mod recent;

use std::{collections::BTreeSet, fmt};

use kit::Timestamp;
use ring::digest::{Context, SHA256};
use uuid::Uuid;

pub use admission::{Acquaintance, AddPolicy, AddRule, Admission, Invitation, MembershipKind, Way};
pub use blocked_page::BlockedPage;
pub use cursor::{BadCursor, Cursor, Epoch};
pub use members_page::MembersPage;
pub use page::{BadToken, Page};
pub use recent::Recent;

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
    /// How many are in it.
    pub member_count: i64,
    /// The first of them in the order in which they joined, at most [`FIRST_MEMBERS`].
    pub members: Vec<Member>,
    /// Who may remove others.
    pub owner: UserId,
    /// Which members may add others.
    pub add_policy: AddPolicy,
    /// Counts the changes of its details: what an etag tells.
    pub revision: i64,
    /// When it was opened.
    pub create_time: Timestamp,
    /// When its newest entry was stored.
    pub update_time: Timestamp,
    /// The number of its newest entry.
    pub last_seq: i64,
    /// How many of its entries count as messages.
    pub message_count: i64,
    /// The membership of the user who asks.
    pub own: Membership,
    /// The newest message.
    pub last_message: Option<Entry>,
}

/// A member, as the others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The user.
    pub user: UserId,
    /// The number of the entry with which the user joined.
    pub join_seq: i64,
    /// The number of the last message that the user has read.
    pub read_no: i64,
}

/// The membership of the user who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// The number of the last message that the user has read.
    pub read_no: i64,
    /// How many messages after that one are not erased.
    pub unread: i64,
    /// Whether the conversation is theirs.
    pub is_owner: bool,
    /// How they came to be a member.
    pub membership_kind: MembershipKind,
    /// The member who added or asked them.
    pub added_by: Option<UserId>,
}

impl Membership {
    /// Of the user who opens a conversation.
    pub const OPENER: Self =
        Self { read_no: 0, unread: 0, is_owner: true, membership_kind: MembershipKind::Own, added_by: None };
}

/// What can be changed of a conversation. `None`: it stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// The title.
    pub title: Option<String>,
    /// Which members may add others.
    pub add_policy: Option<AddPolicy>,
}

impl Details {
    /// Another title.
    pub fn titled(title: &str) -> Self {
        Self { title: Some(title.to_owned()), add_policy: None }
    }
}

/// How far a member has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPosition {
    /// The number of the last message that was read.
    pub number: i64,
    /// How many messages after that one are not erased.
    pub unread: i64,
}

/// How many members a conversation shows by itself; a list of members has the others.
pub const FIRST_MEMBERS: usize = 8;
/// Where read marks are shown: with more members they would cost more than they tell.
pub const MARKED_MEMBERS: usize = 100;
/// How many may be in one conversation; the contract says so of those who open one.
pub const MOST_MEMBERS: i64 = 1_000;
/// How many contacts a directory is shown.
pub const MOST_CONTACTS: u32 = 10_000;

/// Bounds of what the store keeps and reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Stored bytes of one conversation.
    pub conversation_bytes: u64,
    /// Edits of one message. An erasure rewrites all of them under the conversation's lock.
    pub edits_per_message: u32,
    /// Memberships that are read to find the contacts of a user.
    pub contact_rows: u32,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { conversation_bytes: 1 << 30, edits_per_message: 500, contact_rows: 100_000 }
    }
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
        /// The first of those who were in it, at most [`FIRST_MEMBERS`].
        members: Vec<UserId>,
        /// How many were in it.
        member_count: i64,
        /// What it was called.
        title: String,
    },
    /// The author changed a message.
    Edited {
        /// Which.
        message: Uuid,
        /// Its number.
        number: i64,
        /// The text from then on; empty once the message was erased.
        text: String,
        /// The message's revision from then on.
        revision: i64,
    },
    /// Somebody erased a message.
    Deleted {
        /// Which.
        message: Uuid,
        /// Its number.
        number: i64,
    },
    /// Somebody came in.
    Added {
        /// Who.
        person: UserId,
    },
    /// Somebody is out.
    Removed {
        /// Who.
        person: UserId,
        /// Who is the owner from then on.
        owner: UserId,
    },
    /// The conversation has other details.
    Updated {
        /// The title from then on.
        title: String,
        /// Which members may add others from then on.
        add_policy: AddPolicy,
        /// The conversation's revision from then on.
        revision: i64,
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
    /// The text as it is now; empty once it was erased.
    pub text: String,
    /// When the text was changed last.
    pub edit_time: Option<Timestamp>,
    /// When the message was erased.
    pub delete_time: Option<Timestamp>,
    /// Counts its changes: what an etag tells.
    pub revision: i64,
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
    /// The creator and all whom they add: sorted, each once. Some may only get an invitation.
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

    /// The members besides the creator.
    pub fn others(&self) -> Vec<UserId> {
        self.members.iter().copied().filter(|member| *member != self.creator).collect()
    }

    /// Whether it is a talk of two.
    pub fn is_direct(&self) -> bool {
        self.members.len() == 2
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

/// A change that somebody asks for, of a thing that may have changed since they read it.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// Where.
    pub conversation: ConversationId,
    /// Who asks.
    pub actor: UserId,
    /// The revision that they read; `None`: whatever it is.
    pub revision: Option<i64>,
    /// When.
    pub now: Timestamp,
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
