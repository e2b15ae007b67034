//! gRPC statuses over HTTP: the status code, and the JSON documents of errors.

mod details;
#[cfg(test)]
mod tests;

use details::Details;

use crate::{Limits, Registry, json::put_string};

/// The names of the gRPC codes, their HTTP status codes (google/rpc/code.proto), and the reason phrases of those.
const CODES: [(&str, u16, &str); 17] = [
    ("OK", 200, "OK"),
    ("CANCELLED", 499, "Client Closed Request"),
    ("UNKNOWN", 500, "Internal Server Error"),
    ("INVALID_ARGUMENT", 400, "Bad Request"),
    ("DEADLINE_EXCEEDED", 504, "Gateway Timeout"),
    ("NOT_FOUND", 404, "Not Found"),
    ("ALREADY_EXISTS", 409, "Conflict"),
    ("PERMISSION_DENIED", 403, "Forbidden"),
    ("RESOURCE_EXHAUSTED", 429, "Too Many Requests"),
    ("FAILED_PRECONDITION", 400, "Bad Request"),
    ("ABORTED", 409, "Conflict"),
    ("OUT_OF_RANGE", 400, "Bad Request"),
    ("UNIMPLEMENTED", 501, "Not Implemented"),
    ("INTERNAL", 500, "Internal Server Error"),
    ("UNAVAILABLE", 503, "Service Unavailable"),
    ("DATA_LOSS", 500, "Internal Server Error"),
    ("UNAUTHENTICATED", 401, "Unauthorized"),
];

/// UNKNOWN, as which gRPC treats codes that it does not know.
const UNKNOWN: usize = 2;

fn code(number: i32) -> &'static (&'static str, u16, &'static str) {
    usize::try_from(number).ok().and_then(|at| CODES.get(at)).unwrap_or(&CODES[UNKNOWN])
}

/// The HTTP status code of a gRPC code.
#[must_use]
pub fn http_status(grpc_code: i32) -> u16 {
    code(grpc_code).1
}

/// The name of a gRPC code, such as `NOT_FOUND`.
#[must_use]
pub fn code_name(grpc_code: i32) -> &'static str {
    code(grpc_code).0
}

/// The content type of [`Status::append_problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub struct Status<'a> {
    /// The gRPC code.
    pub code: i32,
    /// The message for developers.
    pub message: &'a str,
    /// The encoded `google.rpc.Status` of `grpc-status-details-bin`; empty without details. Its code and message do not
    /// count.
    pub details: &'a [u8],
}

impl Status<'_> {
    /// Appends the JSON form of the `google.rpc.Status`.
    ///
    /// Details whose type `registry` does not have, and details that do not decode, keep their bytes:
    /// `{"@type": "…", "value": "base64"}`.
    pub fn append_json(&self, registry: &Registry, limits: &Limits, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{{\"code\":{},\"message\":", self.code).as_bytes());
        put_string(out, self.message);
        self.append_details(registry, limits, out);
        out.push(b'}');
    }

    /// Appends the problem document (RFC 9457). Its members beyond that RFC are `code`, the name of the gRPC code, and
    /// `details`, as in [`Status::append_json`].
    pub fn append_problem(&self, registry: &Registry, limits: &Limits, out: &mut Vec<u8>) {
        let (name, status, title) = code(self.code);
        let start = format!("{{\"type\":\"about:blank\",\"title\":\"{title}\",\"status\":{status},\"detail\":");
        out.extend_from_slice(start.as_bytes());
        put_string(out, self.message);
        out.extend_from_slice(format!(",\"code\":\"{name}\"").as_bytes());
        self.append_details(registry, limits, out);
        out.push(b'}');
    }

    fn append_details(&self, registry: &Registry, limits: &Limits, out: &mut Vec<u8>) {
        let mut details = Details::of(self.details).peekable();
        if details.peek().is_none() {
            return;
        }
        out.extend_from_slice(b",\"details\":[");
        for (at, detail) in details.enumerate() {
            if at > 0 {
                out.push(b',');
            }
            detail.append(registry, limits, out);
        }
        out.push(b']');
    }
}
