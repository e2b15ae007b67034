//! The text frames of clients.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, value::RawValue};
use tonic::{Code, Status};
use transcode::shorten;

/// Headers that the handshake alone states: those of the connection, and those that a browser sets itself.
const OF_HANDSHAKE: [&str; 11] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "origin",
    "te",
    "transfer-encoding",
];
const OF_BROWSERS: [&str; 3] = ["sec-", "proxy-", "upgrade"];

/// More values than any configuration allows (`gateway.header_count`), and fewer than a `HeaderMap` can hold.
const MOST_VALUES: usize = 10_000;

/// The maximum length of what a refusal repeats of a frame, in bytes.
const PROBLEM_BYTES: usize = 300;

/// A text frame of a client.
#[derive(Debug)]
pub(crate) enum ClientFrame<'a> {
    /// The metadata of the call. Only the first frame may be one.
    Metadata(Metadata),
    /// The JSON of a message.
    Message(&'a str),
    /// The end of the request.
    End,
}

/// The metadata of a call, as a browser cannot set headers of a handshake.
#[derive(Debug)]
pub(crate) struct Metadata(HeaderMap);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members<'a> {
    metadata: Option<BTreeMap<String, Values>>,
    #[serde(borrow, default, deserialize_with = "present")]
    message: Option<&'a RawValue>,
    end: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Several(Vec<String>),
}

/// The value, also `null`: a message may have that JSON form.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

impl<'a> ClientFrame<'a> {
    /// Reads a text frame.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Status> {
        let members = serde_json::from_str(text).map_err(|error| frame_refused(&error.to_string()))?;
        match members {
            Members { metadata: Some(metadata), message: None, end: None } => {
                Metadata::read(metadata).map(Self::Metadata).map_err(|problem| frame_refused(&problem))
            }
            Members { metadata: None, message: Some(message), end: None } => Ok(Self::Message(message.get())),
            Members { metadata: None, message: None, end: Some(true) } => Ok(Self::End),
            _ => Err(frame_refused("it must have one member")),
        }
    }
}

impl Metadata {
    /// The metadata of a JSON object. An Err states the problem.
    pub(crate) fn of_json(metadata: Map<String, Value>) -> Result<Self, String> {
        let metadata = serde_json::from_value(Value::Object(metadata));
        // The error would show the value.
        Self::read(metadata.map_err(|_| "a value of the metadata is no text or list of texts".to_owned())?)
    }

    fn read(metadata: BTreeMap<String, Values>) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        for (name, values) in metadata {
            let lower = name.to_ascii_lowercase();
            let is_own = OF_HANDSHAKE.contains(&&*lower) || OF_BROWSERS.iter().any(|prefix| lower.starts_with(prefix));
            let header = HeaderName::try_from(lower).ok().filter(|_| !is_own);
            let header = header.ok_or_else(|| format!("\"{}\" is no name of metadata", shorten(&name)))?;
            let values = match values {
                Values::One(value) => vec![value],
                Values::Several(values) => values,
            };
            for value in values {
                // The value may be a credential, so it is not named.
                let value = HeaderValue::try_from(value);
                let mut value =
                    value.map_err(|_| format!("a value of {} does not fit into a header", shorten(header.as_str())))?;
                value.set_sensitive(header == http::header::AUTHORIZATION);
                if headers.len() == MOST_VALUES {
                    return Err(format!("it has more than {MOST_VALUES} values"));
                }
                headers.append(&header, value);
            }
        }
        Ok(Self(headers))
    }

    /// Replaces the headers of a handshake.
    pub(crate) fn replace(self, headers: &mut HeaderMap) {
        for name in self.0.keys() {
            headers.remove(name);
        }
        headers.extend(self.0);
    }
}

/// A frame of the client is refused.
pub(crate) fn frame_refused(problem: &str) -> Status {
    let problem = &problem[..problem.floor_char_boundary(PROBLEM_BYTES)];
    let message =
        format!("a text frame is not {{\"metadata\": …}}, {{\"message\": …}} or {{\"end\": true}}: {problem}");
    kit::error::status(Code::InvalidArgument, crate::reason::FRAME_INVALID, message)
}
