//! The property of a client's message, for the fuzz targets.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_LENGTH, COOKIE, HOST, ORIGIN},
};
use serde_json::Value;

use super::{
    credentials,
    message::{self, ClientMessage},
};
use crate::graphql::operation;

/// The longest payload of `connection_init`.
const INIT_BYTES: usize = 16 * 1024;
/// The longest refusal of a message: it repeats nothing of the message but names of metadata.
const REFUSAL_BYTES: usize = 500;
/// The longest reply to `ping`.
const PONG_BYTES: usize = 1_100;

/// A message is refused shortly; or it is a `connection_init`, which leaves the headers of the handshake; a `ping`, whose
/// reply is short JSON; an operation, which is read or refused; or its end.
pub(crate) fn check(text: &str) {
    let refused = match ClientMessage::parse(text, INIT_BYTES) {
        Ok(ClientMessage::Init(payload)) => {
            let of_handshake = [HOST, COOKIE, ORIGIN, CONTENT_LENGTH];
            let mut headers: HeaderMap =
                of_handshake.iter().map(|name| (name.clone(), HeaderValue::from_static("kept"))).collect();
            let added = credentials::add(&mut headers, payload);
            let is_kept = |name: &HeaderName| headers[name] == "kept" && headers.get_all(name).iter().count() == 1;
            assert!(of_handshake.iter().all(is_kept));
            added.err()
        }
        Ok(ClientMessage::Ping(payload)) => {
            let pong = message::pong(payload);
            assert!(pong.len() <= PONG_BYTES, "{} bytes", pong.len());
            let pong: Value = serde_json::from_str(&pong).expect("JSON");
            assert_eq!(pong["type"], "pong");
            None
        }
        Ok(ClientMessage::Subscribe { id, payload }) => {
            for reply in [message::next(&id, b"{}"), message::error(&id, b"{}"), message::complete(&id)] {
                let reply: Value = serde_json::from_slice(&reply).expect("JSON");
                assert_eq!(reply["id"], Value::from(id.as_str()));
            }
            operation::of_members(payload).err().map(|refusal| refusal.message)
        }
        Ok(ClientMessage::Pong | ClientMessage::Complete { .. }) => None,
        Err(problem) => Some(problem),
    };
    assert!(refused.is_none_or(|problem| problem.len() <= REFUSAL_BYTES));
}
