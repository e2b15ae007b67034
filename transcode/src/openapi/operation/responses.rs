//! The responses of an operation: the message or stream of the method, and the errors that can occur.

use std::collections::BTreeSet;

use prost_reflect::{FieldDescriptor, Kind, MethodDescriptor};
use serde_json::{Map, Value, json};

use crate::{
    code_name,
    http_rule::Binding,
    http_status,
    openapi::{Terms, comments::Comments, errors, schemas::Schemas},
};

/// The responses whose status the service states.
const OTHER_SUCCESS: &str =
    "The call succeeded, with another status, which the service states. 204 and 205 have no body.";
const REDIRECT: &str = "The call succeeded, and the service redirects to `location`.";

/// What the credential of a call must be.
#[derive(Clone, Copy)]
pub(super) struct Needed {
    /// A call without the access token of a user is refused.
    pub(super) user: bool,
    /// A call of a user without some scopes is refused.
    pub(super) scopes: bool,
}

/// The responses of a binding.
pub(super) fn of(
    binding: &Binding,
    terms: &Terms,
    needed: Needed,
    schemas: &mut Schemas<'_>,
    comments: &Comments,
) -> Value {
    let mut all = Map::new();
    let is_stored = is_stored(binding);
    all.insert("200".into(), success(binding, terms, schemas));
    if terms.states_status {
        let content = &all["200"]["content"];
        let other = json!({"description": OTHER_SUCCESS, "content": content});
        all.insert("2XX".into(), other);
        if !binding.method().is_server_streaming() {
            all.insert("3XX".into(), json!({"description": REDIRECT}));
        }
    }
    if is_stored {
        let description = "The client has the current response (`If-None-Match`).";
        all.insert("304".into(), json!({"description": description, "headers": {"ETag": errors::header("ETag")}}));
    }
    let mut statuses: BTreeSet<u16> = errors::ALWAYS.into();
    statuses.extend(stated(binding.method(), comments));
    if needed.user {
        statuses.insert(401);
    }
    if terms.reads_cookie || needed.scopes {
        statuses.insert(403);
    }
    if terms.if_match {
        statuses.insert(412);
    }
    for status in statuses {
        all.insert(status.to_string(), errors::reference(status));
    }
    if terms.is_open {
        all.insert("default".into(), errors::reference_to_any());
    }
    all.into()
}

/// Whether clients may store a response and ask whether it is current.
pub(super) fn is_stored(binding: &Binding) -> bool {
    binding.http_method() == "GET" && !binding.method().is_server_streaming()
}

fn success(binding: &Binding, terms: &Terms, schemas: &mut Schemas<'_>) -> Value {
    let output = binding.method().output();
    let content = if binding.response_http_body().is_some() {
        any_bytes()
    } else {
        let field = binding.response_body().and_then(|name| output.get_field_by_name(name));
        let schema = schemas.response(&output, field.as_ref());
        if binding.method().is_server_streaming() {
            stream(&schema)
        } else {
            json!({"application/json": {"schema": schema}})
        }
    };
    let mut headers = Map::new();
    for name in ["RateLimit", "RateLimit-Policy"] {
        headers.insert(name.into(), errors::header(name));
    }
    if is_stored(binding) {
        // Each stored response has one, also without an etag in its message.
        headers.insert(
            "ETag".into(),
            json!({"description": errors::ETAG, "required": true, "schema": {"type": "string"}}),
        );
    } else if terms.has_etag {
        headers.insert("ETag".into(), errors::header("ETag"));
    }
    let description = match binding.response_http_body() {
        Some(_) => "The call succeeded: bytes of the content type that the service states.",
        None => "The call succeeded.",
    };
    json!({"description": description, "headers": headers, "content": content})
}

/// A body of bytes. In OpenAPI 3.1 a media type without a schema is binary.
pub(super) fn any_bytes() -> Value {
    json!({"*/*": {}})
}

/// The lines or events of a stream. The schemas are those that OpenAPI 3.2 defines for sequential media types: an array
/// of the lines, or of the events with their fields.
fn stream(message: &Value) -> Value {
    let status = errors::status();
    let text =
        |schema: &Value| json!({"type": "string", "contentMediaType": "application/json", "contentSchema": schema});
    json!({
        "application/x-ndjson": {"schema": {
            "type": "array",
            "description": "One item for each line. The last line of a failed stream has an error.",
            "items": {"oneOf": [
                {"type": "object", "required": ["result"], "properties": {"result": message}},
                {"type": "object", "required": ["error"], "properties": {"error": status}},
            ]},
        }},
        "text/event-stream": {"schema": {
            "type": "array",
            "description": "One item for each event (`accept: text/event-stream`). The last event has the type `end` and \
                            holds the status. A stream without it was cut off.",
            "items": {"oneOf": [
                {"type": "object", "required": ["data"], "properties": {"data": text(message)},
                    "not": {"required": ["event"]}},
                {"type": "object", "required": ["event", "data"],
                    "properties": {"event": {"const": "end"}, "data": text(&status)}},
            ]},
        }},
    })
}

/// The HTTP statuses of the gRPC codes that the comments of a method and of its request's fields name.
fn stated(method: &MethodDescriptor, comments: &Comments) -> Vec<u16> {
    let of_method = comments.get(method.parent_service().parent_file().name(), method.path());
    let input = method.input();
    let inner = input.fields().filter_map(|field| match field.kind() {
        Kind::Message(message) if !field.is_list() => Some(message.fields().collect::<Vec<_>>()),
        _ => None,
    });
    let fields: Vec<FieldDescriptor> = input.fields().chain(inner.flatten()).collect();
    let of_fields =
        fields.iter().filter_map(|field| comments.get(field.parent_message().parent_file().name(), field.path()));
    let texts: Vec<_> = of_method.into_iter().chain(of_fields).collect();
    let is_named = |name: &str| {
        let mut words = texts.iter().flat_map(|text| text.split(|unit: char| !unit.is_alphanumeric() && unit != '_'));
        words.any(|word| word == name)
    };
    (1..=16).filter(|code| is_named(code_name(*code))).map(http_status).collect()
}
