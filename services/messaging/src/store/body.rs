//! The stored form of an entry's body: protobuf of its own, so that the API may change without touching what
//! is on disk. Numbers are never used again.

use kit::store::Error;
use prost::Message as _;
use uuid::Uuid;

use crate::domain::{Body, Message, UserId};

#[derive(Clone, PartialEq, prost::Message)]
struct Stored {
    #[prost(oneof = "Kind", tags = "1, 2")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    Message(StoredMessage),
    #[prost(message, tag = "2")]
    Created(StoredCreated),
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredMessage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    client_id: Vec<u8>,
    #[prost(string, tag = "3")]
    text: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredCreated {
    #[prost(bytes = "vec", repeated, tag = "1")]
    members: Vec<Vec<u8>>,
    #[prost(string, tag = "2")]
    title: String,
}

pub(super) fn encode(body: &Body) -> Vec<u8> {
    let kind = match body {
        Body::Message(message) => Kind::Message(StoredMessage {
            id: message.id.into_bytes().to_vec(),
            client_id: message.client_id.into_bytes().to_vec(),
            text: message.text.clone(),
        }),
        Body::Created { members, title } => Kind::Created(StoredCreated {
            members: members.iter().map(|member| member.0.into_bytes().to_vec()).collect(),
            title: title.clone(),
        }),
    };
    Stored { kind: Some(kind) }.encode_to_vec()
}

/// The number of a message stands in a column beside the body.
pub(super) fn decode(bytes: &[u8], number: Option<i64>) -> Result<Body, Error> {
    let corrupt = |what: &str| Error::Corrupt(format!("entries.body: {what}"));
    let id = |bytes: &[u8]| Uuid::from_slice(bytes).map_err(|_| corrupt("an id"));
    let stored = Stored::decode(bytes).map_err(|e| corrupt(&e.to_string()))?;
    match stored.kind.ok_or_else(|| corrupt("its kind is not known to this version"))? {
        Kind::Message(message) => Ok(Body::Message(Message {
            id: id(&message.id)?,
            client_id: id(&message.client_id)?,
            number: number.ok_or_else(|| corrupt("a message without a number"))?,
            text: message.text,
        })),
        Kind::Created(created) => Ok(Body::Created {
            members: created.members.iter().map(|m| id(m).map(UserId)).collect::<Result<_, _>>()?,
            title: created.title,
        }),
    }
}
