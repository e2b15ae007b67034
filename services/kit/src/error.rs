//! Errors on the wire: a code, `google.rpc.ErrorInfo` with a reason for programs, and a message for people. They reveal
//! no internals.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::{ErrorDetails, FieldViolation, QuotaViolation, StatusExt};

use crate::{grpc::PUSHBACK, reason, rng::Rng};

/// The domain of all `ErrorInfo`s of this project.
pub const DOMAIN: &str = "trellis";

/// The approximate retry delay of a call that found no capacity.
const RETRY: Duration = Duration::from_secs(1);

/// A status with a reason in UPPER_SNAKE.
pub fn status(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}

/// A status whose `ErrorInfo` has metadata, for programs that show or mend what is missing.
pub fn status_with<const N: usize>(code: Code, reason: &str, message: &str, metadata: [(&str, String); N]) -> Status {
    let metadata: HashMap<_, _> = metadata.map(|(name, value)| (name.to_owned(), value)).into();
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, metadata))
}

/// The reason in the `ErrorInfo` of a status, if it has one.
pub fn reason(status: &Status) -> Option<String> {
    status.get_error_details().error_info().map(|info| info.reason.clone())
}

/// INVALID_ARGUMENT that names one field and its fix; for rules that the contract cannot express.
pub fn invalid_field(field: &str, reason: &str, message: &str) -> Status {
    let mut details = ErrorDetails::with_bad_request(vec![FieldViolation::new(field, message)]);
    details.set_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {message}"), details)
}

/// RESOURCE_EXHAUSTED with the time after which a retry is admitted: in the details, and as `retry-after` for clients
/// that read headers.
pub fn exhausted(reason: &str, message: &str, retry_after: Duration) -> Status {
    let mut details = ErrorDetails::with_retry_info(Some(retry_after));
    details.set_error_info(reason, DOMAIN, HashMap::new());
    let mut status = Status::with_error_details(Code::ResourceExhausted, message, details);
    status.metadata_mut().insert("retry-after", MetadataValue::from(whole_seconds(retry_after)));
    status
}

/// The value of `retry-after` for a status with RetryInfo.
pub fn retry_after_seconds(status: &Status) -> Option<u64> {
    status.get_error_details().retry_info().and_then(|info| info.retry_delay).map(whole_seconds)
}

/// Whole seconds, rounded up, so that a retry after them is admitted.
fn whole_seconds(retry_after: Duration) -> u64 {
    let seconds = retry_after.as_millis().div_ceil(1_000).max(1);
    u64::try_from(seconds).unwrap_or(u64::MAX)
}

/// RESOURCE_EXHAUSTED because a storage quota is used up. It carries QuotaFailure and no RetryInfo: a retry fails until data is
/// deleted. `subject` names the quota.
pub fn quota(reason: &str, subject: &str, message: &str) -> Status {
    let mut details = ErrorDetails::with_quota_failure(vec![QuotaViolation::new(subject, message)]);
    details.set_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// UNAVAILABLE because of overload, with a retry delay.
pub fn overloaded(chance: &Rng) -> Status {
    // Jitter spreads the retries of calls that were refused together.
    let retry_after = RETRY.mul_f64(0.5 + chance.share());
    later(reason::OVERLOADED, "too many calls at once; try again later", retry_after)
}

/// UNAVAILABLE for a while, with a retry delay: in the details, and as `grpc-retry-pushback-ms` for clients that retry
/// by themselves. Balancers conclude from it that the server is overloaded, not broken.
pub fn later(reason: &str, message: &str, retry_after: Duration) -> Status {
    let mut details = ErrorDetails::with_retry_info(Some(retry_after));
    details.set_error_info(reason, DOMAIN, HashMap::new());
    let mut status = Status::with_error_details(Code::Unavailable, message, details);
    let millis = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
    status.metadata_mut().insert(PUSHBACK, MetadataValue::from(millis));
    status
}

/// UNAVAILABLE, because a change waited too long for others. Nothing is stored.
pub fn locked(retry_after: Duration) -> Status {
    later(reason::LOCKED, "other changes of the same resource took too long; try again", retry_after)
}

/// Whether the status is that of [`locked`].
fn is_locked(status: &Status) -> bool {
    status.code() == Code::Unavailable && reason(status).as_deref() == Some(reason::LOCKED)
}

/// The bland INTERNAL status of an unexpected error. The error is logged once, here.
pub fn internal(error: &(dyn std::error::Error + 'static)) -> Status {
    tracing::error!(error = %chain(error), "unexpected error");
    bland()
}

fn bland() -> Status {
    status(Code::Internal, reason::INTERNAL, "internal error; the server's log has the details")
}

/// UNAVAILABLE: a dependency of this process does not respond. Another replica may reach it, so a client that retries
/// by itself need not wait.
pub fn unavailable(what: &str) -> Status {
    let mut details = ErrorDetails::with_retry_info(Some(RETRY));
    details.set_error_info(reason::UNAVAILABLE, DOMAIN, HashMap::new());
    Status::with_error_details(Code::Unavailable, format!("{what} is not available now; try again"), details)
}

/// The status for a caller whose call failed in `what`, another service that this one has called. What a repeat may
/// mend is UNAVAILABLE, also a refused identity, because keys may be rotating. A wait for a lock keeps its reason.
/// Anything else is a fault of the two services, and INTERNAL.
pub fn from_service(what: &str, failure: &Status) -> Status {
    let (code, message) = (failure.code(), failure.message());
    match code {
        _ if is_locked(failure) => locked(RETRY),
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Cancelled
        | Code::Unauthenticated
        | Code::PermissionDenied => {
            tracing::warn!(rpc.code = ?code, error = message, "call to {what} failed");
            unavailable(what)
        }
        _ => {
            tracing::error!(rpc.code = ?code, error = message, "call to {what} failed");
            bland()
        }
    }
}

/// DEADLINE_EXCEEDED: the client no longer waits.
pub fn deadline_exceeded() -> Status {
    status(Code::DeadlineExceeded, reason::DEADLINE_EXCEEDED, "the call took too long")
}

/// INVALID_ARGUMENT because of an unreadable `grpc-timeout`.
pub fn malformed_timeout() -> Status {
    let message = "grpc-timeout is not a duration, such as 10S or 500m";
    status(Code::InvalidArgument, reason::TIMEOUT_MALFORMED, message)
}

/// INVALID_ARGUMENT because of a request body that is not what gRPC expects.
pub fn malformed_body() -> Status {
    let message = "the request has no whole message, or one that is not compressed as declared";
    status(Code::InvalidArgument, reason::BODY_MALFORMED, message)
}

/// UNAVAILABLE at the end of a long stream when its server stops. Another server continues the stream.
pub fn stopping() -> Status {
    let message = "the server is shutting down; reopen the stream at once and resume from its last position";
    status(Code::Unavailable, reason::SERVER_STOPPING, message)
}

/// An error with its causes, in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_of_another_service_is_retried_only_if_that_can_help() {
        let seen = |failure| {
            let status = from_service("the users service", &failure);
            (status.code(), reason(&status).expect("a reason"))
        };
        let unavailable = (Code::Unavailable, reason::UNAVAILABLE.to_owned());
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::ResourceExhausted, Code::Unauthenticated] {
            assert_eq!(seen(Status::new(code, "no")), unavailable, "{code:?}");
        }
        assert_eq!(seen(locked(RETRY)), (Code::Unavailable, reason::LOCKED.to_owned()));
        for code in [Code::InvalidArgument, Code::NotFound, Code::Internal, Code::Unimplemented, Code::Unknown] {
            assert_eq!(seen(Status::new(code, "secret")), (Code::Internal, reason::INTERNAL.to_owned()), "{code:?}");
        }
    }
}
