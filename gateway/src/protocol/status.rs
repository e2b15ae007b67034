//! The statuses with which the gateway itself ends a call, and the reading of an upstream's.

use std::time::Duration;

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_LENGTH, RETRY_AFTER, WWW_AUTHENTICATE},
};
use kit::{error, grpc::code_of};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::framing::Why;
use crate::{
    http::reserved::{ClientKind, Ends},
    reason,
};

/// How long before the deadline an upstream may end a call because of it: its timer began with the same timeout, and
/// has a resolution of one millisecond.
const TOLERANCE: Duration = Duration::from_millis(5);
/// The approximate time until descriptors are read again.
const DESCRIPTORS_RETRY: Duration = Duration::from_secs(1);

/// Whether a status means that the deadline has passed. gRPC servers cancel a call at its deadline; its caller must
/// receive DEADLINE_EXCEEDED.
pub(crate) fn is_over_time(code: Code, deadline: Option<Instant>) -> bool {
    code == Code::Cancelled && deadline.is_some_and(|deadline| Instant::now() + TOLERANCE >= deadline)
}

/// The service, or a proxy before it, broke the call off.
pub(crate) fn cut(code: Code) -> Status {
    error::status(code, reason::RESPONSE_CUT, "the response was cut off; the part before this is incomplete")
}

/// Removes Trellis's details from a status that the gateway returns for an external upstream, for codes that any gRPC
/// server returns: callers in gRPC expect only the code and a message. In other protocols the gateway is no transparent
/// peer, and every error has a reason.
pub(crate) fn bare(status: Status, ends: Ends) -> Status {
    let is_transparent = ends.is_external && ends.client != ClientKind::Translated;
    match status.code() {
        Code::DeadlineExceeded | Code::Unimplemented if is_transparent => Status::new(status.code(), status.message()),
        _ => status,
    }
}

/// The descriptors of the method's upstream were never read.
pub(crate) fn descriptors_unread() -> Status {
    let message = "the gateway could not read the descriptors of the service yet; try again, or have the operator read the \
                   gateway's log, which states why";
    error::later(reason::UNAVAILABLE, message, DESCRIPTORS_RETRY)
}

pub(crate) fn head_too_large() -> Status {
    let message = "the headers of the response are larger than the gateway allows (limits.header_bytes)";
    error::status(Code::ResourceExhausted, reason::HEADERS_TOO_LARGE, message)
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
    error::status(code, reason::NOT_GRPC, "the service's response is not gRPC")
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
            error::status(Code::ResourceExhausted, reason::RESPONSE_TOO_LARGE, message)
        }
        Why::Flags => response_malformed("a message of the response has flags that gRPC does not define"),
    }
}

/// The upstream sent a response that its method or gRPC does not allow.
pub(crate) fn response_malformed(message: &str) -> Status {
    error::status(Code::Internal, reason::MESSAGE_MALFORMED, message)
}

pub(crate) fn trailers_too_large() -> Status {
    let message = "the trailers of the response are larger than the gateway allows (limits.header_bytes)";
    error::status(Code::ResourceExhausted, reason::HEADERS_TOO_LARGE, message)
}

/// A response without a status is a failure, never a success.
pub(crate) fn no_status() -> Status {
    error::status(Code::Unknown, reason::STATUS_MISSING, "the response ended without a status")
}

/// A message of the request is refused.
pub(crate) fn request_refused(why: Why) -> Status {
    match why {
        Why::TooLarge => {
            let message = "a message is larger than the gateway allows (limits.message_bytes)";
            error::status(Code::ResourceExhausted, reason::MESSAGE_TOO_LARGE, message)
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
    error::status(Code::InvalidArgument, reason::BODY_MALFORMED, message)
}

/// A header of the request has a value that it must not have.
pub(super) fn invalid_header(name: &HeaderName, problem: &str) -> Status {
    error::status(Code::InvalidArgument, reason::HEADER_INVALID, format!("the header {name}: {problem}"))
}

/// Whether a request is refused because of its size. HTTP has a status for that (RFC 9110, section 15.5.14).
pub(crate) fn is_too_large(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted
        && error::reason(status).is_some_and(|reason| reason == reason::MESSAGE_TOO_LARGE)
}

/// The content type of the request, or the encoding that it states, is none of the method's.
pub(super) fn unsupported_type(message: &str) -> Status {
    error::status(Code::InvalidArgument, reason::CONTENT_TYPE_UNSUPPORTED, message)
}

/// Adds the headers that HTTP has for the status, unless its metadata states them: how to authenticate (RFC 9110,
/// section 15.5.2), and when a retry may succeed (section 10.2.3).
pub(crate) fn add_http_headers(status: &Status, headers: &mut HeaderMap) {
    if let Some(challenge) = challenge(status) {
        headers.entry(WWW_AUTHENTICATE).or_insert(HeaderValue::from_static(challenge));
    }
    let may_retry = matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
    if let Some(seconds) = error::retry_after_seconds(status).filter(|_| may_retry) {
        headers.entry(RETRY_AFTER).or_insert(seconds.into());
    }
}

/// The challenge of `www-authenticate` (RFC 6750, section 3). A token is no help against a refusal because of the
/// client's certificate.
fn challenge(status: &Status) -> Option<&'static str> {
    let is_for = |reasons: &[&str]| error::reason(status).is_some_and(|reason| reasons.contains(&&*reason));
    match status.code() {
        Code::Unauthenticated if is_for(&[reason::CLIENT_CERTIFICATE_INVALID, reason::CLIENT_CERTIFICATE_REQUIRED]) => {
            None
        }
        Code::Unauthenticated => Some("Bearer"),
        Code::PermissionDenied if is_for(&[reason::SCOPE_REQUIRED]) => Some("Bearer error=\"insufficient_scope\""),
        _ => None,
    }
}

/// The status of HTTP, for protocols whose responses begin with it.
pub(crate) fn http_status(status: &Status) -> StatusCode {
    StatusCode::from_u16(transcode::http_status(status.code() as i32)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delay_is_a_header_of_http() {
        let header = |status: &Status, metadata: HeaderMap| {
            let mut headers = metadata;
            add_http_headers(status, &mut headers);
            headers.get(RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned())
        };
        let later = error::later("MAINTENANCE", "later", Duration::from_millis(6_001));
        assert_eq!(header(&later, HeaderMap::new()).as_deref(), Some("7"));
        let stated = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("60"))]);
        assert_eq!(header(&later, stated).as_deref(), Some("60"));
        assert_eq!(header(&error::unavailable("it"), HeaderMap::new()).as_deref(), Some("1"));
        let limited = error::exhausted("RATE_LIMITED", "wait", Duration::from_secs(3));
        assert_eq!(
            header(&Status::with_details(limited.code(), "", limited.details().to_vec().into()), HeaderMap::new())
                .as_deref(),
            Some("3")
        );
        assert_eq!(header(&error::quota("FULL", "a", "full"), HeaderMap::new()), None);
    }

    #[test]
    fn challenge_names_what_a_token_can_change() {
        let of = |code, reason| challenge(&error::status(code, reason, ""));
        assert_eq!(of(Code::Unauthenticated, "TOKEN_INVALID"), Some("Bearer"));
        assert_eq!(of(Code::Unauthenticated, reason::CLIENT_CERTIFICATE_REQUIRED), None);
        assert_eq!(of(Code::PermissionDenied, reason::SCOPE_REQUIRED), Some("Bearer error=\"insufficient_scope\""));
        assert_eq!(of(Code::PermissionDenied, reason::ROLE_REQUIRED), None);
    }

    #[test]
    fn own_status_for_an_external_upstream_is_bare_in_grpc() {
        let unknown = || error::status(Code::Unimplemented, "UNKNOWN_METHOD", "no");
        for (client, is_external, has_reason) in [
            (ClientKind::Grpc, true, false),
            (ClientKind::GrpcWeb, true, false),
            (ClientKind::Translated, true, true),
            (ClientKind::Grpc, false, true),
        ] {
            let status = bare(unknown(), Ends { client, is_external });
            assert_eq!(error::reason(&status).is_some(), has_reason, "{client:?} {is_external}");
        }
    }

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
