//! Converts domain types to messages and domain errors to statuses.

use kit::error;
use proto::messaging::v1::{
    AddPolicy as WirePolicy, AddRule as WireRule, Conversation as WireConversation, ConversationCreated,
    ConversationUpdated, Entry as WireEntry, Invitation as WireInvitation, Member as WireMember, MemberAdded,
    MemberRemoved, Membership as WireMembership, MembershipState, Message as WireMessage, MessageDeleted,
    MessageEdited, ReadMark, ReadMarks, Role, entry,
};
use tonic::{Code, Status};

use crate::{
    domain::{
        AddPolicy, AddRule, BadCursor, Body, Conversation, ConversationId, Entry, Invitation, Member, MembershipKind,
        UserId,
    },
    store::{AdmitError, AppendError, ChangeError, InsertError},
};

pub(crate) fn conversation(conversation: Conversation, cursor: String) -> WireConversation {
    let membership = membership(&conversation);
    WireConversation {
        conversation_id: conversation.id.to_string(),
        title: conversation.title,
        members: conversation.members.iter().map(member).collect(),
        create_time: Some(conversation.create_time.into()),
        cursor,
        message_count: conversation.message_count,
        owner_id: conversation.owner.to_string(),
        member_count: count(conversation.member_count),
        membership: Some(membership),
        last_message: conversation.last_message.map(Into::into),
        update_time: Some(conversation.update_time.into()),
        etag: etag(conversation.revision),
        add_policy: add_policy(conversation.add_policy).into(),
    }
}

pub(crate) fn member(member: &Member) -> WireMember {
    WireMember { user_id: member.user.to_string(), last_read_message_no: member.read_no }
}

fn membership(of: &Conversation) -> WireMembership {
    let role = if of.own.is_owner { Role::Owner } else { Role::Member };
    let state = match of.own.membership_kind {
        MembershipKind::Own | MembershipKind::Added => MembershipState::Active,
        MembershipKind::Requested => MembershipState::Requested,
    };
    WireMembership {
        unread_count: of.own.unread,
        last_read_message_no: of.own.read_no,
        role: role.into(),
        state: state.into(),
        added_by: of.own.added_by.map_or(String::new(), |user| user.to_string()),
    }
}

pub(crate) fn invitation(invitation: &Invitation) -> WireInvitation {
    WireInvitation {
        conversation_id: invitation.conversation.to_string(),
        title: invitation.title.clone(),
        member_count: count(invitation.member_count),
        inviter_id: invitation.inviter.to_string(),
        create_time: Some(invitation.create_time.into()),
        expire_time: Some(invitation.expire_time.into()),
    }
}

pub(crate) fn add_rule(rule: AddRule) -> WireRule {
    match rule {
        AddRule::Anyone => WireRule::Anyone,
        AddRule::Contacts => WireRule::Contacts,
        AddRule::NoOne => WireRule::NoOne,
    }
}

fn add_policy(policy: AddPolicy) -> WirePolicy {
    match policy {
        AddPolicy::AllMembers => WirePolicy::AllMembers,
        AddPolicy::OwnerOnly => WirePolicy::OwnerOnly,
    }
}

fn count(of: i64) -> i32 {
    i32::try_from(of).unwrap_or(i32::MAX)
}

pub(crate) fn read_marks(id: ConversationId, of: &[(UserId, i64)]) -> ReadMarks {
    let mark = |(user, number): &(UserId, i64)| ReadMark { user_id: user.to_string(), message_no: *number };
    ReadMarks { conversation_id: id.to_string(), marks: of.iter().map(mark).collect() }
}

/// The etag of a revision. The letter makes it opaque: it is not a number.
fn etag(revision: i64) -> String {
    format!("r{revision}")
}

/// The revision in an etag; an empty etag means any.
pub(crate) fn revision(etag: &str) -> Result<Option<i64>, Status> {
    if etag.is_empty() {
        return Ok(None);
    }
    let read = etag.strip_prefix('r').and_then(|digits| digits.parse().ok());
    read.map(Some).ok_or_else(|| error::invalid_field("etag", "ETAG_INVALID", "must be an etag of the same resource"))
}

impl From<Entry> for WireEntry {
    fn from(entry: Entry) -> Self {
        Self {
            conversation_id: entry.conversation.to_string(),
            seq: entry.seq,
            author_id: entry.author.to_string(),
            create_time: Some(entry.create_time.into()),
            body: Some(entry.body.into()),
        }
    }
}

impl From<Body> for entry::Body {
    fn from(body: Body) -> Self {
        match body {
            Body::Message(message) => Self::Message(WireMessage {
                message_id: message.id.to_string(),
                client_message_id: message.client_id.to_string(),
                message_no: message.number,
                text: message.text,
                edit_time: message.edit_time.map(Into::into),
                delete_time: message.delete_time.map(Into::into),
                etag: etag(message.revision),
            }),
            Body::Edited { message, number, text, revision } => Self::MessageEdited(MessageEdited {
                message_id: message.to_string(),
                message_no: number,
                text,
                etag: etag(revision),
            }),
            Body::Deleted { message, number } => {
                Self::MessageDeleted(MessageDeleted { message_id: message.to_string(), message_no: number })
            }
            Body::Added { person } => Self::MemberAdded(MemberAdded { user_id: person.to_string() }),
            Body::Removed { person, owner } => {
                Self::MemberRemoved(MemberRemoved { user_id: person.to_string(), owner_id: owner.to_string() })
            }
            Body::Updated { title, title_changed, add_policy: policy, revision } => {
                Self::ConversationUpdated(ConversationUpdated {
                    title,
                    title_changed,
                    etag: etag(revision),
                    add_policy: add_policy(policy).into(),
                })
            }
            Body::Created { members, member_count, title } => Self::ConversationCreated(ConversationCreated {
                member_ids: members.iter().map(UserId::to_string).collect(),
                member_count: count(member_count),
                title,
            }),
        }
    }
}

/// The same status for a conversation that does not exist and for one that the caller is not a member of.
pub(crate) fn no_conversation() -> Status {
    error::status(
        Code::NotFound,
        "CONVERSATION_NOT_FOUND",
        "the conversation does not exist, or you are not a member of it",
    )
}

fn reused(field: &str) -> Status {
    let message = format!("{field} was used for another request; choose a new one");
    error::status(Code::AlreadyExists, "REQUEST_ID_REUSED", message)
}

pub(crate) fn bad_cursor(field: &str, bad: &BadCursor) -> Status {
    match bad {
        BadCursor::Invalid => {
            error::invalid_field(field, "CURSOR_INVALID", "must be a cursor of the same conversation")
        }
        BadCursor::OtherEpoch => epoch_changed(),
    }
}

/// The status for a cursor from another epoch, and for one beyond the conversation's newest entry.
pub(crate) fn epoch_changed() -> Status {
    error::status(
        Code::FailedPrecondition,
        "CURSOR_EPOCH_CHANGED",
        "the cursor belongs to a history that the server no longer has; subscribe without positions and read the messages again",
    )
}

impl From<InsertError> for Status {
    fn from(error: InsertError) -> Self {
        match error {
            InsertError::RequestIdReused => reused("request_id"),
            InsertError::UserStorageFull => user_storage_full(),
            InsertError::Left => error::status(
                Code::NotFound,
                "CONVERSATION_NOT_FOUND",
                "you have left the conversation that this request_id opened; choose a new request_id",
            ),
            InsertError::Admit(error) => not_admitted(error, "member_ids"),
            InsertError::Store(error) => error.into(),
        }
    }
}

impl From<AppendError> for Status {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::NotFound => no_conversation(),
            AppendError::RequestIdReused => reused("client_message_id"),
            AppendError::StorageFull => storage_full(),
            AppendError::UserStorageFull => user_storage_full(),
            AppendError::NotAccepted => not_accepted(),
            AppendError::Store(error) => error.into(),
        }
    }
}

impl From<ChangeError> for Status {
    fn from(error: ChangeError) -> Self {
        let denied = |reason, message| error::status(Code::PermissionDenied, reason, message);
        let full = |reason, message| error::status(Code::ResourceExhausted, reason, message);
        match error {
            ChangeError::NotFound => no_conversation(),
            ChangeError::NoMessage => no_message(),
            ChangeError::NotOwner => denied("NOT_OWNER", "only the conversation's owner may do this"),
            ChangeError::NotAuthor => {
                denied("NOT_AUTHOR", "another member wrote the message; only its author may do this")
            }
            ChangeError::OtherRevision => error::status(
                Code::Aborted,
                kit::reason::ETAG_MISMATCH,
                "it has changed since you read it; read it again",
            ),
            ChangeError::Erased => error::status(Code::FailedPrecondition, "MESSAGE_DELETED", "the message is erased"),
            ChangeError::TooManyEdits => full("TOO_MANY_EDITS", "the message has too many edits; send a new one"),
            ChangeError::StorageFull => storage_full(),
            ChangeError::UserStorageFull => user_storage_full(),
            ChangeError::NotAccepted => not_accepted(),
            ChangeError::TooManyMembers => full("TOO_MANY_MEMBERS", "the conversation is full"),
            ChangeError::Admit(error) => not_admitted(error, "user_id"),
            ChangeError::NoInvitation => {
                error::status(Code::NotFound, "INVITATION_NOT_FOUND", "the invitation does not exist or has expired")
            }
            ChangeError::Pending => {
                let message = "accept the conversation before you add others";
                error::status(Code::FailedPrecondition, "REQUEST_PENDING", message)
            }
            ChangeError::Store(error) => error.into(),
        }
    }
}

/// The status for a block in a conversation of two.
fn not_accepted() -> Status {
    let message = "the other member does not accept messages from you";
    error::status(Code::PermissionDenied, "NOT_ACCEPTED", message)
}

fn storage_full() -> Status {
    let message = "the conversation has reached its storage quota; delete messages, or start another conversation";
    error::quota("CONVERSATION_STORAGE_FULL", "messaging.conversation_bytes", message)
}

fn user_storage_full() -> Status {
    let message = "your messages have reached the storage quota of a user; delete some of them";
    error::quota("USER_STORAGE_FULL", "messaging.user_bytes", message)
}

pub(crate) fn member_unknown(field: &str) -> Status {
    let message = format!("a user in {field} does not exist or is not active");
    error::status(Code::FailedPrecondition, "MEMBER_UNKNOWN", message)
}

/// A block and a rule that admits no user have the same status, so that a user cannot find out that they are blocked.
fn not_admitted(error: AdmitError, field: &str) -> Status {
    let exhausted = |reason, message| error::status(Code::ResourceExhausted, reason, message);
    match error {
        AdmitError::MemberUnknown => member_unknown(field),
        AdmitError::NotAllowed => {
            let message = "a user whom you add does not accept conversations from you";
            error::status(Code::FailedPrecondition, "MEMBER_NOT_AVAILABLE", message)
        }
        AdmitError::TooManyConversations => {
            let message = "you or a user whom you add is a member of too many conversations; leave some first";
            exhausted("TOO_MANY_CONVERSATIONS", message)
        }
        AdmitError::TooManyWaiting => {
            let message = "a user whom you add has too many undecided requests or invitations; try again later";
            exhausted("MEMBER_FULL", message)
        }
        AdmitError::TooManySent => {
            let message = "too many of your requests and invitations are not accepted yet; wait, or withdraw some";
            exhausted("TOO_MANY_INVITATIONS", message)
        }
        AdmitError::Store(error) => error.into(),
    }
}

pub(crate) fn no_message() -> Status {
    error::status(Code::NotFound, "MESSAGE_NOT_FOUND", "the message does not exist in this conversation")
}
