//! Errors of JSON over HTTP: the status of HTTP, and a `google.rpc.Status` or a problem document (RFC 9457).

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header::CONTENT_TYPE};
use kit::error::{invalid_field, status};
use tonic::{Code, Status};
use transcode::{Limits, PROBLEM_JSON, Registry, http_rule::RequestError};

use crate::protocol::{
    codec,
    status::{add_http_headers, http_status, malformed},
};

/// The content type of problem documents.
pub(super) const PROBLEM: &str = PROBLEM_JSON;

/// The response to a call that failed. `headers` are its metadata, and `registry` holds the messages of its details.
pub(super) fn response(
    status: &Status,
    mut headers: HeaderMap,
    is_problem: bool,
    registry: &Registry,
    limits: &Limits,
) -> Response<Bytes> {
    let mut body = Vec::new();
    let content_type = if is_problem {
        form(status).append_problem(registry, limits, &mut body);
        PROBLEM
    } else {
        append(status, registry, limits, &mut body);
        "application/json"
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    add_http_headers(status, &mut headers);
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = http_status(status);
    *response.headers_mut() = headers;
    response
}

/// Appends the status as JSON.
pub(super) fn append(status: &Status, registry: &Registry, limits: &Limits, out: &mut Vec<u8>) {
    form(status).append_json(registry, limits, out);
}

fn form(status: &Status) -> transcode::Status<'_> {
    transcode::Status { code: status.code() as i32, message: status.message(), details: status.details() }
}

/// A part of the request does not fit the HTTP form.
pub(super) fn refused(error: &RequestError) -> Status {
    match error {
        RequestError::Body(error) => return codec::refused(error),
        RequestError::MissingBody => return malformed(&error.to_string()),
        RequestError::Path { .. } | RequestError::Query(_) => {}
    }
    match error.field() {
        Some(field) => invalid_field(field, crate::reason::REQUEST_INVALID, &error.to_string()),
        None => status(Code::InvalidArgument, crate::reason::REQUEST_INVALID, error.to_string()),
    }
}
