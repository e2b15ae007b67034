//! The stored form of an entry's body: separate protobuf messages, so that the API can change without the stored data.
//! Field numbers are never reused.

use kit::Timestamp;
use kit_data::store::Error;
use prost::Message as _;
use uuid::Uuid;

use crate::domain::{AddPolicy, Body, Message, UserId};

#[derive(Clone, PartialEq, prost::Message)]
struct Stored {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    Message(StoredMessage),
    #[prost(message, tag = "2")]
    Created(StoredCreated),
    #[prost(message, tag = "3")]
    Edited(StoredEdited),
    #[prost(message, tag = "4")]
    Deleted(StoredDeleted),
    #[prost(message, tag = "5")]
    Added(StoredAdded),
    #[prost(message, tag = "6")]
    Removed(StoredRemoved),
    #[prost(message, tag = "7")]
    Updated(StoredUpdated),
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredMessage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    client_id: Vec<u8>,
    #[prost(string, tag = "3")]
    text: String,
    /// Microseconds since 1970-01-01 UTC; 0: never edited.
    #[prost(int64, tag = "4")]
    edit_time: i64,
    #[prost(int64, tag = "5")]
    delete_time: i64,
    #[prost(int64, tag = "6")]
    revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredCreated {
    #[prost(bytes = "vec", repeated, tag = "1")]
    members: Vec<Vec<u8>>,
    #[prost(string, tag = "2")]
    title: String,
    #[prost(int64, tag = "3")]
    member_count: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredEdited {
    #[prost(bytes = "vec", tag = "1")]
    message: Vec<u8>,
    #[prost(int64, tag = "2")]
    number: i64,
    #[prost(string, tag = "3")]
    text: String,
    #[prost(int64, tag = "4")]
    revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredDeleted {
    #[prost(bytes = "vec", tag = "1")]
    message: Vec<u8>,
    #[prost(int64, tag = "2")]
    number: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredAdded {
    #[prost(bytes = "vec", tag = "1")]
    person: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredRemoved {
    #[prost(bytes = "vec", tag = "1")]
    person: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    owner: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredUpdated {
    #[prost(string, tag = "1")]
    title: String,
    #[prost(int64, tag = "2")]
    revision: i64,
    #[prost(string, tag = "3")]
    add_policy: String,
    /// The change did not change the title.
    #[prost(bool, tag = "4")]
    same_title: bool,
}

pub(super) fn encode(body: &Body) -> Vec<u8> {
    let bytes = |id: Uuid| id.into_bytes().to_vec();
    let micros = |time: Option<Timestamp>| time.map_or(0, Timestamp::as_micros);
    let kind = match body {
        Body::Message(message) => Kind::Message(StoredMessage {
            id: bytes(message.id),
            client_id: bytes(message.client_id),
            text: message.text.clone(),
            edit_time: micros(message.edit_time),
            delete_time: micros(message.delete_time),
            revision: message.revision,
        }),
        Body::Created { members, member_count, title } => Kind::Created(StoredCreated {
            members: members.iter().map(|member| bytes(member.0)).collect(),
            member_count: *member_count,
            title: title.clone(),
        }),
        Body::Edited { message, number, text, revision } => Kind::Edited(StoredEdited {
            message: bytes(*message),
            number: *number,
            text: text.clone(),
            revision: *revision,
        }),
        Body::Deleted { message, number } => Kind::Deleted(StoredDeleted { message: bytes(*message), number: *number }),
        Body::Added { person } => Kind::Added(StoredAdded { person: bytes(person.0) }),
        Body::Removed { person, owner } => {
            Kind::Removed(StoredRemoved { person: bytes(person.0), owner: bytes(owner.0) })
        }
        Body::Updated { title, title_changed, add_policy, revision } => Kind::Updated(StoredUpdated {
            title: title.clone(),
            same_title: !title_changed,
            revision: *revision,
            add_policy: add_policy.as_str().to_owned(),
        }),
    };
    Stored { kind: Some(kind) }.encode_to_vec()
}

/// Bytes that each entry counts for in addition to its body: its other columns, its index rows, and a message's client
/// id. Migration 0002 uses the same value.
const ENTRY_OVERHEAD: usize = 200;

/// Bytes that an entry with this body counts for in `conversations.stored_bytes`.
pub(super) fn stored_size(body: &Body) -> i64 {
    i64::try_from(encode(body).len() + ENTRY_OVERHEAD).unwrap_or(i64::MAX)
}

/// `number` is a message's number, which has its own column.
pub(super) fn decode(bytes: &[u8], number: Option<i64>) -> Result<Body, Error> {
    let corrupt = |what: &str| Error::Corrupt(format!("entries.body: {what}"));
    let id = |bytes: &[u8]| Uuid::from_slice(bytes).map_err(|_| corrupt("an id"));
    let time = |micros: i64| (micros != 0).then_some(Timestamp::from_micros(micros));
    let stored = Stored::decode(bytes).map_err(|e| corrupt(&e.to_string()))?;
    Ok(match stored.kind.ok_or_else(|| corrupt("this version does not know its kind"))? {
        Kind::Message(message) => Body::Message(Message {
            id: id(&message.id)?,
            client_id: id(&message.client_id)?,
            number: number.ok_or_else(|| corrupt("a message without a number"))?,
            text: message.text,
            edit_time: time(message.edit_time),
            delete_time: time(message.delete_time),
            revision: message.revision,
        }),
        Kind::Created(created) => Body::Created {
            members: created.members.iter().map(|m| id(m).map(UserId)).collect::<Result<_, _>>()?,
            member_count: created.member_count,
            title: created.title,
        },
        Kind::Edited(edited) => Body::Edited {
            message: id(&edited.message)?,
            number: edited.number,
            text: edited.text,
            revision: edited.revision,
        },
        Kind::Deleted(deleted) => Body::Deleted { message: id(&deleted.message)?, number: deleted.number },
        Kind::Added(added) => Body::Added { person: UserId(id(&added.person)?) },
        Kind::Removed(removed) => {
            Body::Removed { person: UserId(id(&removed.person)?), owner: UserId(id(&removed.owner)?) }
        }
        Kind::Updated(updated) => Body::Updated {
            title: updated.title,
            title_changed: !updated.same_title,
            add_policy: AddPolicy::parse(&updated.add_policy).ok_or_else(|| corrupt("an add_policy"))?,
            revision: updated.revision,
        },
    })
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
