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

impl ConversationId {
    /// The name of the resource in audit records.
    pub fn name(self) -> String {
        format!("conversations/{}", self.0)
    }
}

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
    /// The title; may be empty.
    pub title: String,
    /// The number of members.
    pub member_count: i64,
    /// The first members in the order in which they joined, at most [`FIRST_MEMBERS`].
    pub members: Vec<Member>,
    /// The owner. Only the owner may remove others.
    pub owner: UserId,
    /// Which members may add others.
    pub add_policy: AddPolicy,
    /// Counts the changes of its details. The etag contains it.
    pub revision: i64,
    /// When it was opened.
    pub create_time: Timestamp,
    /// When its newest entry was stored.
    pub update_time: Timestamp,
    /// The number of its newest entry.
    pub last_seq: i64,
    /// The number of its messages.
    pub message_count: i64,
    /// The reader's membership.
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

/// The reader's membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// The number of the last message that the user has read.
    pub read_no: i64,
    /// The number of later messages that are not erased.
    pub unread: i64,
    /// Whether the user is the conversation's owner.
    pub is_owner: bool,
    /// How the user became a member.
    pub membership_kind: MembershipKind,
    /// The member who added the user or sent the request.
    pub added_by: Option<UserId>,
}

impl Membership {
    /// The membership of the user who opens a conversation.
    pub const OPENER: Self =
        Self { read_no: 0, unread: 0, is_owner: true, membership_kind: MembershipKind::Own, added_by: None };
}

/// The details of a conversation that a request changes. `None`: no change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// The title.
    pub title: Option<String>,
    /// Which members may add others.
    pub add_policy: Option<AddPolicy>,
}

impl Details {
    /// A change of the title.
    pub fn titled(title: &str) -> Self {
        Self { title: Some(title.to_owned()), add_policy: None }
    }
}

/// How far a member has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPosition {
    /// The number of the last message that the member has read.
    pub number: i64,
    /// The number of later messages that are not erased.
    pub unread: i64,
}

/// How many members a conversation includes. `ListMembers` returns all of them.
pub const FIRST_MEMBERS: usize = 8;
/// The largest number of members with which streams carry read marks. Larger conversations would cause too many events.
pub const MARKED_MEMBERS: usize = 100;
/// The maximum number of members. The contract has the same bound for a new conversation.
pub const MOST_MEMBERS: i64 = 1_000;
/// The maximum number of contacts that `ListContacts` returns.
pub const MOST_CONTACTS: u32 = 10_000;

/// Quotas of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Stored bytes of one conversation.
    pub conversation_bytes: u64,
    /// Stored bytes of the messages, edits and titles of one user.
    pub user_bytes: u64,
    /// Edits of one message. An erasure rewrites all of them under the conversation's lock.
    pub edits_per_message: u32,
    /// Membership rows that a search for the contacts of a user may read.
    pub contact_rows: u32,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { conversation_bytes: 1 << 30, user_bytes: 10 << 30, edits_per_message: 500, contact_rows: 100_000 }
    }
}

/// One entry of a conversation's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The conversation.
    pub conversation: ConversationId,
    /// Its sequence number in the log: 1, 2, 3 and so on, without a gap.
    pub seq: i64,
    /// The user who caused it.
    pub author: UserId,
    /// When it was stored.
    pub create_time: Timestamp,
    /// The event.
    pub body: Body,
}

/// The event that an entry records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A member sent a message.
    Message(Message),
    /// A user opened the conversation.
    Created {
        /// The first members at that time, at most [`FIRST_MEMBERS`].
        members: Vec<UserId>,
        /// The number of members at that time.
        member_count: i64,
        /// The title at that time.
        title: String,
    },
    /// The author changed a message.
    Edited {
        /// The message's id.
        message: Uuid,
        /// The message's number.
        number: i64,
        /// The text after the edit. Empty: the message was erased later.
        text: String,
        /// The message's revision after the edit.
        revision: i64,
    },
    /// The author or the owner erased a message.
    Deleted {
        /// The message's id.
        message: Uuid,
        /// The message's number.
        number: i64,
    },
    /// A user became a member.
    Added {
        /// The user.
        person: UserId,
    },
    /// A member left or was removed.
    Removed {
        /// The user.
        person: UserId,
        /// The owner from then on.
        owner: UserId,
    },
    /// A member changed the conversation's details.
    Updated {
        /// The title from then on.
        title: String,
        /// Whether this change changed the title.
        title_changed: bool,
        /// Which members may add others from then on.
        add_policy: AddPolicy,
        /// The conversation's revision from then on.
        revision: i64,
    },
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The id.
    pub id: Uuid,
    /// The id that the author's client chose.
    pub client_id: Uuid,
    /// Its number among the conversation's messages.
    pub number: i64,
    /// The current text; empty if the message is erased.
    pub text: String,
    /// When the text last changed.
    pub edit_time: Option<Timestamp>,
    /// When the message was erased.
    pub delete_time: Option<Timestamp>,
    /// Counts its changes. The etag contains it.
    pub revision: i64,
}

/// A conversation to store.
#[derive(Debug, Clone)]
pub struct NewConversation {
    /// The id.
    pub id: ConversationId,
    /// The user who opens it.
    pub creator: UserId,
    /// The id that the creator's client chose for the request.
    pub request_id: Uuid,
    /// The creator and all users whom they add, sorted and without duplicates. Some may only get an invitation.
    pub members: Vec<UserId>,
    /// The title.
    pub title: String,
    /// The current time.
    pub create_time: Timestamp,
}

impl NewConversation {
    /// The creator and the others, sorted and without duplicates.
    pub fn all_members(creator: UserId, others: impl IntoIterator<Item = UserId>) -> Vec<UserId> {
        others.into_iter().chain([creator]).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The members without the creator.
    pub fn others(&self) -> Vec<UserId> {
        self.members.iter().copied().filter(|member| *member != self.creator).collect()
    }

    /// Whether it is a conversation of two.
    pub fn is_direct(&self) -> bool {
        self.members.len() == 2
    }

    /// A hash of the fields that a repeat of the request must match.
    pub fn fingerprint(&self) -> Fingerprint {
        let members = self.members.iter().map(|member| member.0.into_bytes());
        Fingerprint::of(members.map(Vec::from).chain([self.title.clone().into_bytes()]))
    }
}

/// A message to store.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// The conversation.
    pub conversation: ConversationId,
    /// The author.
    pub author: UserId,
    /// The id.
    pub id: Uuid,
    /// The id that the author's client chose.
    pub client_id: Uuid,
    /// The text.
    pub text: String,
    /// The current time.
    pub create_time: Timestamp,
}

impl NewMessage {
    /// A hash of the fields that a repeat of the request must match.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of([self.text.clone().into_bytes()])
    }
}

/// A change that a user requests.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// The conversation.
    pub conversation: ConversationId,
    /// The user who requests the change.
    pub actor: UserId,
    /// The revision that the actor read; `None`: any.
    pub revision: Option<i64>,
    /// The current time.
    pub now: Timestamp,
}

/// A hash of a request's fields, stored with the request's id. A repeat returns the first result; a different request
/// with the same id fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(pub Vec<u8>);

impl Fingerprint {
    fn of(parts: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            // The length separates the parts.
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(&part);
        }
        Self(context.finish().as_ref().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(of: &Fingerprint) -> String {
        of.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Stored with each request's id, forever: with other bytes a repeat would be taken for another request.
    #[test]
    fn fingerprints_have_their_golden_bytes() {
        let (id, create_time) = (ConversationId(Uuid::from_u128(9)), Timestamp::from_micros(1));
        let [one, two] = [1, 2].map(|n| UserId(Uuid::from_u128(n)));
        let message = NewMessage {
            conversation: id,
            author: one,
            id: Uuid::from_u128(3),
            client_id: Uuid::from_u128(4),
            text: "hi".to_owned(),
            create_time,
        };
        let conversation = NewConversation {
            id,
            creator: one,
            request_id: Uuid::from_u128(5),
            members: NewConversation::all_members(two, [one]),
            title: "Tea".to_owned(),
            create_time,
        };
        assert_eq!(hex(&message.fingerprint()), "4c55bfa9bf6f8cfa15e60d96e973e4bb303886449c0100edb3b243eac7189366");
        assert_eq!(
            hex(&conversation.fingerprint()),
            "1a90241915edce2f7cf3e5ae6352755b682514fdec4612e4cd8dc50210e372e5"
        );
    }
}
