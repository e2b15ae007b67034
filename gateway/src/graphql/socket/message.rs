//! The messages of graphql-transport-ws.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

/// The most bytes of an operation's id, which each of its messages repeats.
const ID_BYTES: usize = 256;

/// The most bytes of the payload of `ping`, which the reply repeats, and of `pong`.
const PAYLOAD_BYTES: usize = 1024;

/// A message of a client.
#[derive(Debug)]
pub(super) enum ClientMessage<'a> {
    Init(Map<String, Value>),
    /// With the JSON of its payload, which the reply repeats.
    Ping(Option<&'a str>),
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
struct MessageMembers<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    id: Option<String>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

impl<'a> ClientMessage<'a> {
    /// Reads a text message. The payload of `connection_init` has at most `init_bytes`. An Err states the problem.
    pub(super) fn parse(text: &'a str, init_bytes: usize) -> Result<Self, String> {
        // The error would show values.
        let MessageMembers { kind, id, payload } = serde_json::from_str(text).map_err(|error| {
            format!("the message is no JSON object with a `type` (line {}, column {})", error.line(), error.column())
        })?;
        let id = |kind: &str| match id {
            Some(id) if (1..=ID_BYTES).contains(&id.len()) => Ok(id),
            _ => Err(format!("{kind} needs an id of 1 to {ID_BYTES} bytes")),
        };
        let payload = payload.map(RawValue::get);
        let check = |kind: &str, most: usize| match payload {
            Some(payload) if payload.len() > most => Err(format!("the payload of {kind} has more than {most} bytes")),
            Some(payload) if !payload.starts_with('{') => Err(format!("the payload of {kind} is not an object")),
            _ => Ok(payload),
        };
        match kind.as_ref() {
            "connection_init" => check("connection_init", init_bytes)?.map_or(Ok(Map::new()), object).map(Self::Init),
            "ping" => check("ping", PAYLOAD_BYTES).map(Self::Ping),
            "pong" => check("pong", PAYLOAD_BYTES).map(|_| Self::Pong),
            "subscribe" => match check("subscribe", usize::MAX)? {
                Some(payload) => Ok(Self::Subscribe { id: id("subscribe")?, payload: object(payload)? }),
                None => Err("subscribe needs a payload".to_owned()),
            },
            "complete" if payload.is_none() => Ok(Self::Complete { id: id("complete")? }),
            "complete" => Err("complete has no payload".to_owned()),
            _ => Err("the `type` is none of connection_init, ping, pong, subscribe and complete".to_owned()),
        }
    }
}

/// The members of an object, which is JSON already.
fn object(json: &str) -> Result<Map<String, Value>, String> {
    // Values nest too deeply, or a number is none: the error would show values.
    serde_json::from_str(json).map_err(|error| format!("the payload cannot be read (column {} of it)", error.column()))
}

/// The reply to `connection_init`.
pub(super) const ACK: &str = "{\"type\":\"connection_ack\"}";

/// The reply to `ping`.
pub(super) fn pong(payload: Option<&str>) -> String {
    match payload {
        Some(payload) => format!("{{\"type\":\"pong\",\"payload\":{payload}}}"),
        None => "{\"type\":\"pong\"}".to_owned(),
    }
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

    /// The name of the message, its id, and its payload as JSON.
    fn parsed(text: &str) -> Result<(&'static str, Option<String>, Option<String>), String> {
        let json = |payload: Map<String, Value>| Some(Value::from(payload).to_string());
        Ok(match ClientMessage::parse(text, 100)? {
            ClientMessage::Init(payload) => ("init", None, json(payload)),
            ClientMessage::Ping(payload) => ("ping", None, payload.map(str::to_owned)),
            ClientMessage::Pong => ("pong", None, None),
            ClientMessage::Subscribe { id, payload } => ("subscribe", Some(id), json(payload)),
            ClientMessage::Complete { id } => ("complete", Some(id), None),
        })
    }

    #[test]
    fn messages_of_clients_are_read() {
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(PAYLOAD_BYTES - 8));
        for (message, name, id, payload) in [
            (r#"{"type":"connection_init"}"#, "init", None, Some("{}")),
            (r#"{"type":"connection_init","payload":null}"#, "init", None, Some("{}")),
            (r#"{"type":"connection_init","payload":{"a":1}}"#, "init", None, Some(r#"{"a":1}"#)),
            (r#"{"type":"ping"}"#, "ping", None, None),
            (r#"{"type":"ping","payload":null}"#, "ping", None, None),
            (r#"{"type":"p\u0069ng","payload": { "a": 1 } }"#, "ping", None, Some(r#"{ "a": 1 }"#)),
            (format!(r#"{{"type":"ping","payload":{long}}}"#).as_str(), "ping", None, Some(long.as_str())),
            (r#"{"type":"pong","payload":{}}"#, "pong", None, None),
            (
                r#"{"id":"1","type":"subscribe","payload":{"query":"{a}"},"other":[]}"#,
                "subscribe",
                Some("1"),
                Some(r#"{"query":"{a}"}"#),
            ),
            (r#"{"type":"complete","id":"1"}"#, "complete", Some("1"), None),
        ] {
            let is = parsed(message);
            assert_eq!(is, Ok((name, id.map(str::to_owned), payload.map(str::to_owned))), "{message}");
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
            json!({ "type": "pong", "payload": "a" }),
            json!({ "type": "subscribe", "id": "1" }),
            json!({ "type": "subscribe", "payload": {} }),
            json!({ "type": "subscribe", "id": "", "payload": {} }),
            json!({ "type": "subscribe", "id": 1, "payload": {} }),
            json!({ "type": "subscribe", "id": "a".repeat(257), "payload": {} }),
            json!({ "type": "subscribe", "id": "1", "payload": [] }),
            json!({ "type": "complete" }),
            json!({ "type": "complete", "id": "1", "payload": {} }),
        ] {
            assert!(parsed(&message.to_string()).is_err(), "{message}");
        }
        let problem = parsed("{\"type\": \"ping\", \"secret").unwrap_err();
        assert!(!problem.contains("secret"), "{problem}");
        let deep = format!(r#"{{"type":"connection_init","payload":{{"a":{}}}}}"#, "[".repeat(40) + &"]".repeat(40));
        assert!(parsed(&deep).is_ok());
    }

    /// The reply to `ping` repeats its payload, also before `connection_init`.
    #[test]
    fn payloads_are_bounded() {
        for (kind, most) in [("ping", PAYLOAD_BYTES), ("pong", PAYLOAD_BYTES), ("connection_init", 100)] {
            let message =
                |length: usize| json!({ "type": kind, "payload": { "a": "x".repeat(length - 8) } }).to_string();
            assert!(parsed(&message(most)).is_ok(), "{kind}");
            let problem = parsed(&message(most + 1)).unwrap_err();
            assert_eq!(problem, format!("the payload of {kind} has more than {most} bytes"));
        }
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
        assert_eq!(read(pong(Some("{\"a\": 1}")).as_bytes()), json!({ "type": "pong", "payload": { "a": 1 } }));
        assert_eq!(read(pong(None).as_bytes()), json!({ "type": "pong" }));
    }
}
