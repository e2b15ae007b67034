//! The messages of graphql-transport-ws.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

/// The most bytes of an operation's id, which each of its messages repeats.
const ID_BYTES: usize = 256;

/// A message of a client.
#[derive(Debug, PartialEq)]
pub(super) enum ClientMessage {
    Init(Map<String, Value>),
    /// With its payload, which the reply repeats.
    Ping(Option<Value>),
    Pong,
    Subscribe {
        id: String,
        payload: Map<String, Value>,
    },
    Complete {
        id: String,
    },
}

#[derive(Deserialize)]
struct MessageMembers {
    #[serde(rename = "type")]
    kind: String,
    id: Option<String>,
    payload: Option<Value>,
}

impl ClientMessage {
    /// Reads a text frame. An Err states the problem.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        // The error would show values.
        let MessageMembers { kind, id, payload } = serde_json::from_str(text).map_err(|error| {
            format!("the message is no JSON object with a `type` (line {}, column {})", error.line(), error.column())
        })?;
        let id = |kind: &str| match id {
            Some(id) if (1..=ID_BYTES).contains(&id.len()) => Ok(id),
            _ => Err(format!("{kind} needs an id of 1 to {ID_BYTES} bytes")),
        };
        match (kind.as_str(), payload) {
            ("connection_init", None) => Ok(Self::Init(Map::new())),
            ("connection_init", Some(Value::Object(payload))) => Ok(Self::Init(payload)),
            ("ping", payload @ (None | Some(Value::Object(_)))) => Ok(Self::Ping(payload)),
            ("pong", None | Some(Value::Object(_))) => Ok(Self::Pong),
            ("subscribe", Some(Value::Object(payload))) => Ok(Self::Subscribe { id: id("subscribe")?, payload }),
            ("complete", None) => Ok(Self::Complete { id: id("complete")? }),
            ("connection_init" | "ping" | "pong" | "subscribe" | "complete", _) => {
                Err(format!("the payload of {kind} has another type"))
            }
            _ => Err("the `type` is none of connection_init, ping, pong, subscribe and complete".to_owned()),
        }
    }
}

/// The reply to `connection_init`.
pub(super) const ACK: &str = "{\"type\":\"connection_ack\"}";

/// The reply to `ping`.
pub(super) fn pong(payload: Option<&Value>) -> String {
    let mut text = "{\"type\":\"pong\"".to_owned();
    if let Some(payload) = payload {
        // Writing to a string does not fail.
        write!(text, ",\"payload\":{payload}").ok();
    }
    text.push('}');
    text
}

/// A result of an operation. `json` is its JSON text.
pub(super) fn next(id: &str, json: &[u8]) -> Vec<u8> {
    of_operation("next", id, Some(json))
}

/// The refusal of an operation. `json` is that of its response.
pub(super) fn error(id: &str, json: &[u8]) -> Vec<u8> {
    #[derive(Deserialize)]
    struct Refused<'a> {
        #[serde(borrow)]
        errors: &'a RawValue,
    }
    let refused: Option<Refused<'_>> = serde_json::from_slice(json).ok();
    of_operation("error", id, Some(refused.map_or("[]", |refused| refused.errors.get()).as_bytes()))
}

/// The end of an operation.
pub(super) fn complete(id: &str) -> Vec<u8> {
    of_operation("complete", id, None)
}

fn of_operation(kind: &str, id: &str, payload: Option<&[u8]>) -> Vec<u8> {
    let mut text = format!("{{\"type\":\"{kind}\",\"id\":{}", Value::from(id)).into_bytes();
    if let Some(payload) = payload {
        text.extend_from_slice(b",\"payload\":");
        text.extend_from_slice(payload);
    }
    text.push(b'}');
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(message: &Value) -> Result<ClientMessage, String> {
        ClientMessage::parse(&message.to_string())
    }

    #[test]
    fn messages_of_clients_are_read() {
        let object = |value: Value| value.as_object().cloned().unwrap();
        let payload = object(json!({ "query": "{a}" }));
        for (message, expected) in [
            (json!({ "type": "connection_init" }), ClientMessage::Init(Map::new())),
            (json!({ "type": "connection_init", "payload": null }), ClientMessage::Init(Map::new())),
            (
                json!({ "type": "connection_init", "payload": { "a": 1 } }),
                ClientMessage::Init(object(json!({ "a": 1 }))),
            ),
            (json!({ "type": "ping" }), ClientMessage::Ping(None)),
            (json!({ "type": "ping", "payload": {} }), ClientMessage::Ping(Some(json!({})))),
            (json!({ "type": "pong", "payload": {} }), ClientMessage::Pong),
            (
                json!({ "type": "subscribe", "id": "1", "payload": { "query": "{a}" } }),
                ClientMessage::Subscribe { id: "1".to_owned(), payload },
            ),
            (json!({ "type": "complete", "id": "1" }), ClientMessage::Complete { id: "1".to_owned() }),
        ] {
            assert_eq!(parsed(&message), Ok(expected), "{message}");
        }
    }

    #[test]
    fn other_messages_are_refused() {
        for message in [
            json!(1),
            json!({}),
            json!({ "type": 1 }),
            json!({ "type": "start", "id": "1", "payload": {} }),
            json!({ "type": "next", "id": "1", "payload": {} }),
            json!({ "type": "connection_init", "payload": 1 }),
            json!({ "type": "ping", "payload": [] }),
            json!({ "type": "subscribe", "id": "1" }),
            json!({ "type": "subscribe", "payload": {} }),
            json!({ "type": "subscribe", "id": "", "payload": {} }),
            json!({ "type": "subscribe", "id": 1, "payload": {} }),
            json!({ "type": "subscribe", "id": "a".repeat(257), "payload": {} }),
            json!({ "type": "complete" }),
        ] {
            assert!(parsed(&message).is_err(), "{message}");
        }
        let problem = ClientMessage::parse("{\"type\": \"ping\", \"secret").unwrap_err();
        assert!(!problem.contains("secret"), "{problem}");
    }

    #[test]
    fn messages_of_the_gateway_are_json() {
        let read = |text: &[u8]| -> Value { serde_json::from_slice(text).unwrap() };
        let id = "a\"b";
        assert_eq!(read(&next(id, b"{\"data\":1}")), json!({ "type": "next", "id": id, "payload": { "data": 1 } }));
        let refused = json!({ "errors": [{ "message": "no" }] });
        let expected = json!({ "type": "error", "id": id, "payload": refused["errors"] });
        assert_eq!(read(&error(id, refused.to_string().as_bytes())), expected);
        assert_eq!(read(&complete(id)), json!({ "type": "complete", "id": id }));
        assert_eq!(read(pong(Some(&json!({ "a": 1 }))).as_bytes()), json!({ "type": "pong", "payload": { "a": 1 } }));
        assert_eq!(read(pong(None).as_bytes()), json!({ "type": "pong" }));
    }
}
