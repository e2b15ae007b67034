//! The responses to calls that failed, and the headers of responses: components that operations refer to.

use serde_json::{Map, Value, json};

use crate::PROBLEM_JSON;

/// The statuses of errors that every operation can have: the gateway's own, and those of every upstream.
pub(super) const ALWAYS: [u16; 11] = [400, 413, 414, 415, 429, 431, 499, 500, 501, 503, 504];

/// The description of `ETag`.
pub(super) const ETAG: &str =
    "The version of the response: for `If-None-Match`, and for `If-Match` of a method that has it.";

/// The names and descriptions of the responses, by HTTP status.
const RESPONSES: [(u16, &str, &str); 17] = [
    (
        400,
        "InvalidRequest",
        "The request is invalid, or does not fit the state of the resource: INVALID_ARGUMENT, \
        FAILED_PRECONDITION or OUT_OF_RANGE. `BadRequest` in the details names the fields. A message that is no HTTP gets \
        plain text.",
    ),
    (401, "Unauthenticated", "The call has no valid access token, or a credential in it is wrong: UNAUTHENTICATED."),
    (403, "PermissionDenied", "The caller may not do this: PERMISSION_DENIED."),
    (404, "NotFound", "The resource does not exist, or the caller may not see it: NOT_FOUND."),
    (409, "Conflict", "The resource exists already or has changed: ALREADY_EXISTS or ABORTED."),
    (412, "PreconditionFailed", "The resource has another version than `If-Match` states: ABORTED."),
    (413, "ContentTooLarge", "The body is larger than the gateway allows: RESOURCE_EXHAUSTED."),
    (414, "UriTooLong", "The path is longer than that of any method: INVALID_ARGUMENT."),
    (
        415,
        "UnsupportedMediaType",
        "The body is not `application/json`, or has an unknown content encoding: \
        INVALID_ARGUMENT or UNIMPLEMENTED.",
    ),
    (
        429,
        "ResourceExhausted",
        "The caller has used up a limit: of calls (`Retry-After` states the time) or of storage. \
        RESOURCE_EXHAUSTED.",
    ),
    (431, "HeadersTooLarge", "The request has too many or too large headers."),
    (499, "Cancelled", "The call was cancelled: CANCELLED."),
    (500, "Internal", "The service failed: INTERNAL, UNKNOWN or DATA_LOSS."),
    (501, "Unimplemented", "The service does not have this method, or not yet: UNIMPLEMENTED."),
    (503, "Unavailable", "The service is unreachable or overloaded: UNAVAILABLE. Try again later."),
    (504, "DeadlineExceeded", "The deadline of the call passed: DEADLINE_EXCEEDED."),
    (0, "Error", "The call failed."),
];

/// The schemas' names have a hyphen, which no message has.
const STATUS: &str = "Error-Status";
const PROBLEM: &str = "Error-Problem";

/// The response with an HTTP status.
pub(super) fn reference(status: u16) -> Value {
    let known = RESPONSES.iter().find(|(of, ..)| *of == status).or(RESPONSES.last());
    json!({"$ref": format!("#/components/responses/{}", known.map_or("Error", |(_, name, _)| name))})
}

/// The response with a status that the contract does not state.
pub(super) fn reference_to_any() -> Value {
    reference(0)
}

/// The JSON form of a `google.rpc.Status`.
pub(super) fn status() -> Value {
    json!({"$ref": format!("#/components/schemas/{STATUS}")})
}

/// A header of a response.
pub(super) fn header(name: &str) -> Value {
    json!({"$ref": format!("#/components/headers/{name}")})
}

pub(super) fn responses() -> Value {
    RESPONSES
        .iter()
        .map(|(status, name, description)| ((*name).to_owned(), response(*status, description)))
        .collect::<Map<_, _>>()
        .into()
}

fn response(status: u16, description: &str) -> Value {
    let text = json!({"schema": {"type": "string"}});
    let mut content = Map::new();
    if status != 431 {
        content.insert("application/json".into(), json!({"schema": self::status()}));
        let problem = json!({"schema": {"$ref": format!("#/components/schemas/{PROBLEM}")}});
        content.insert(PROBLEM_JSON.into(), problem);
    }
    if matches!(status, 400 | 431) {
        content.insert("text/plain".into(), text);
    }
    let names: &[_] = match status {
        401 => &["WWW-Authenticate"],
        429 => &["Retry-After", "RateLimit", "RateLimit-Policy"],
        _ => &[],
    };
    let headers: Map<_, _> = names.iter().map(|name| ((*name).to_owned(), header(name))).collect();
    let mut response = json!({"description": description, "content": content});
    if !headers.is_empty() {
        response["headers"] = headers.into();
    }
    response
}

pub(super) fn headers() -> Value {
    let texts = [
        ("ETag", ETAG),
        (
            "RateLimit",
            "The remainder of each limit: `r` calls, and all of them after `t` seconds. The operator may omit it.",
        ),
        ("RateLimit-Policy", "The limits of the caller: `q` calls in `w` seconds. The operator may omit it."),
        ("WWW-Authenticate", "The scheme: `Bearer`."),
    ];
    let mut all: Map<_, _> = texts
        .into_iter()
        .map(|(name, text)| (name.to_owned(), json!({"description": text, "schema": {"type": "string"}})))
        .collect();
    let seconds = "The seconds after which the limit admits the call.";
    all.insert("Retry-After".into(), json!({"description": seconds, "schema": {"type": "integer", "minimum": 1}}));
    all.into()
}

/// The schemas of the bodies.
pub(super) fn schemas() -> [(String, Value); 2] {
    [(STATUS.to_owned(), status_schema()), (PROBLEM.to_owned(), problem_schema())]
}

fn status_schema() -> Value {
    json!({
        "type": "object",
        "description": "A `google.rpc.Status`.",
        "required": ["code", "message"],
        "properties": {
            "code": {"type": "integer", "minimum": 0, "description": "The gRPC code, such as 5 for `NOT_FOUND`."},
            "message": {"type": "string", "description": "The message for developers."},
            "details": details_schema(),
        },
    })
}

fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": format!("A problem document (RFC 9457), with `accept: {PROBLEM_JSON}`."),
        "required": ["type", "title", "status", "code"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string", "description": "The reason phrase of the status."},
            "status": {"type": "integer", "description": "The HTTP status code."},
            "detail": {"type": "string", "description": "The message for developers."},
            "code": {"type": "string", "description": "The gRPC code, such as `NOT_FOUND`."},
            "details": details_schema(),
        },
    })
}

fn details_schema() -> Value {
    json!({"type": "array", "items": {
        "type": "object",
        "required": ["@type"],
        "properties": {"@type": {"type": "string", "format": "uri-reference"}},
        "additionalProperties": true,
    }})
}
