//! The statuses with which the gateway itself ends a call, and the reading of an upstream's.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::CONTENT_LENGTH};
use kit::{error, grpc::code_of};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::framing::Why;

/// How long before the deadline an upstream may end a call because of it: its timer began with the same timeout, and
/// has a resolution of one millisecond.
const TOLERANCE: Duration = Duration::from_millis(5);

/// Whether a status means that the deadline has passed. gRPC servers cancel a call at its deadline; its caller must
/// receive DEADLINE_EXCEEDED.
pub(crate) fn is_over_time(code: Code, deadline: Option<Instant>) -> bool {
    code == Code::Cancelled && deadline.is_some_and(|deadline| Instant::now() + TOLERANCE >= deadline)
}

/// The service, or a proxy before it, broke the call off.
pub(crate) fn cut(code: Code) -> Status {
    error::status(code, "RESPONSE_CUT", "the response was cut off; the part before this is incomplete")
}

/// Removes Trellis's details from a status that the gateway returns for an external upstream, for codes that any gRPC
/// server returns: callers expect only the code and a message.
pub(crate) fn bare(status: Status, is_external: bool) -> Status {
    match status.code() {
        Code::DeadlineExceeded | Code::Unimplemented if is_external => Status::new(status.code(), status.message()),
        _ => status,
    }
}

pub(crate) fn head_too_large() -> Status {
    let message = "the headers of the response are larger than the gateway allows (limits.header_bytes)";
    error::status(Code::ResourceExhausted, "HEADERS_TOO_LARGE", message)
}

pub(crate) fn is_grpc(content_type: &HeaderValue) -> bool {
    let rest = content_type.as_bytes().strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The status of a response that is not gRPC (gRPC's own table for HTTP statuses).
pub(crate) fn not_grpc(status: StatusCode) -> Status {
    let code = match status.as_u16() {
        400 | 431 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    };
    error::status(code, "NOT_GRPC", "the service's response is not gRPC")
}

/// The status in trailers, if it is a number.
pub(crate) fn status_in(trailers: &HeaderMap) -> Option<Code> {
    let is_number = |text: &HeaderValue| !text.is_empty() && text.as_bytes().iter().all(u8::is_ascii_digit);
    code_of(trailers).filter(|_| trailers.get(Status::GRPC_STATUS).is_some_and(is_number))
}

pub(crate) fn refused(why: Why) -> Status {
    match why {
        Why::TooLarge => {
            let message = "a message of the response is larger than the gateway allows (limits.message_bytes)";
            error::status(Code::ResourceExhausted, "RESPONSE_TOO_LARGE", message)
        }
        Why::Flags => response_malformed("a message of the response has flags that gRPC does not define"),
    }
}

/// The upstream sent a response that its method or gRPC does not allow.
pub(crate) fn response_malformed(message: &str) -> Status {
    error::status(Code::Internal, "MESSAGE_MALFORMED", message)
}

pub(crate) fn trailers_too_large() -> Status {
    let message = "the trailers of the response are larger than the gateway allows (limits.header_bytes)";
    error::status(Code::ResourceExhausted, "HEADERS_TOO_LARGE", message)
}

/// A response without a status is a failure, never a success.
pub(crate) fn no_status() -> Status {
    error::status(Code::Unknown, "STATUS_MISSING", "the response ended without a status")
}

/// A message of the request is refused.
pub(crate) fn request_refused(why: Why) -> Status {
    match why {
        Why::TooLarge => {
            let message = "a message is larger than the gateway allows (limits.message_bytes)";
            error::status(Code::ResourceExhausted, REQUEST_TOO_LARGE, message)
        }
        Why::Flags => malformed("a message has flags that gRPC does not define"),
    }
}

/// Refuses a body that announces more than `most` bytes.
pub(crate) fn check_length(headers: &HeaderMap, most: usize) -> Result<(), Status> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > most as u64) { Err(request_refused(Why::TooLarge)) } else { Ok(()) }
}

/// The body of the request is not base64.
pub(super) fn not_base64() -> Box<Status> {
    Box::new(malformed("the body is not base64"))
}

/// The body of the request ended before its end.
pub(crate) fn body_cut_off() -> Status {
    malformed("the body was cut off")
}

/// The body of the request is not what its content type states.
pub(crate) fn malformed(message: &str) -> Status {
    error::status(Code::InvalidArgument, "BODY_MALFORMED", message)
}

/// A header of the request has a value that it must not have.
pub(super) fn invalid_header(name: &HeaderName, problem: &str) -> Status {
    error::status(Code::InvalidArgument, "HEADER_INVALID", format!("the header {name}: {problem}"))
}

/// The reason of a request with a message over the limit.
const REQUEST_TOO_LARGE: &str = "MESSAGE_TOO_LARGE";

/// Whether a request is refused because of its size. HTTP has a status for that (RFC 9110, section 15.5.14).
pub(crate) fn is_too_large(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted && error::reason(status).is_some_and(|reason| reason == REQUEST_TOO_LARGE)
}

/// The content type of the request, or the encoding that it states, is none of the method's.
pub(super) fn unsupported_type(message: &str) -> Status {
    error::status(Code::InvalidArgument, "CONTENT_TYPE_UNSUPPORTED", message)
}

/// The status of HTTP, for protocols whose responses begin with it.
pub(crate) fn http_status(status: &Status) -> StatusCode {
    StatusCode::from_u16(transcode::http_status(status.code() as i32)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The upstream's timer may end a moment before ours.
    #[tokio::test(start_paused = true)]
    async fn cancellation_just_before_the_deadline_means_over_time() {
        let millis = Duration::from_millis;
        for (remaining, expected) in [(millis(6), false), (millis(5), true), (millis(1), true), (Duration::ZERO, true)]
        {
            let deadline = Instant::now() + remaining;
            assert_eq!(is_over_time(Code::Cancelled, Some(deadline)), expected, "{remaining:?} before the deadline");
        }
        let deadline = Instant::now();
        tokio::time::advance(millis(1)).await;
        assert!(is_over_time(Code::Cancelled, Some(deadline)), "after the deadline");
        assert!(!is_over_time(Code::Cancelled, None), "a call without a deadline");
        assert!(!is_over_time(Code::Unavailable, Some(deadline)), "another failure");
    }
}
