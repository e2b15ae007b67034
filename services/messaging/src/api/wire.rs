//! Domain types as messages, and domain errors as statuses.

use kit::error;
use proto::messaging::v1::{
    Conversation as WireConversation, ConversationCreated, Entry as WireEntry, Message as WireMessage, entry,
};
use tonic::{Code, Status};

use crate::{
    domain::{BadCursor, Body, Conversation, Entry, UserId},
    store::{AppendError, InsertError},
};

pub(crate) fn conversation(conversation: Conversation, cursor: String) -> WireConversation {
    WireConversation {
        conversation_id: conversation.id.to_string(),
        title: conversation.title,
        member_ids: conversation.members.iter().map(UserId::to_string).collect(),
        create_time: Some(conversation.create_time.into()),
        cursor,
        message_count: conversation.message_count,
        ..WireConversation::default()
    }
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
                ..WireMessage::default()
            }),
            Body::Created { members, title } => Self::ConversationCreated(ConversationCreated {
                member_ids: members.iter().map(UserId::to_string).collect(),
                title,
            }),
        }
    }
}

/// The same answer for a conversation that is not there and for one that the caller is not in.
pub(super) fn no_conversation() -> Status {
    error::status(Code::NotFound, "CONVERSATION_NOT_FOUND", "there is no such conversation of yours")
}

fn reused(field: &str) -> Status {
    let message = format!("{field} was used for another request; choose a new one");
    error::status(Code::AlreadyExists, "REQUEST_ID_REUSED", message)
}

pub(super) fn bad_cursor(index: usize, bad: &BadCursor) -> Status {
    match bad {
        BadCursor::Invalid => {
            let field = format!("positions[{index}].cursor");
            error::invalid_field(&field, "CURSOR_INVALID", "must be a cursor of the same conversation")
        }
        BadCursor::OtherEpoch => error::status(
            Code::FailedPrecondition,
            "CURSOR_EPOCH_CHANGED",
            "the cursor is of a history that is gone; subscribe without positions and read the messages anew",
        ),
    }
}

impl From<InsertError> for Status {
    fn from(error: InsertError) -> Self {
        match error {
            InsertError::RequestIdReused => reused("request_id"),
            InsertError::TooManyConversations => error::status(
                Code::ResourceExhausted,
                "TOO_MANY_CONVERSATIONS",
                "somebody named in member_ids, or you, is in too many conversations",
            ),
            InsertError::Store(error) => error.into(),
        }
    }
}

impl From<AppendError> for Status {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::NotFound => no_conversation(),
            AppendError::RequestIdReused => reused("client_message_id"),
            AppendError::Store(error) => error.into(),
        }
    }
}
