//! Errors on the wire: a code, `google.rpc.ErrorInfo` with a reason that programs can act on, and a sentence
//! for people. Nothing of the inside travels.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::{ErrorDetails, FieldViolation, QuotaViolation, StatusExt};

use crate::{balance::Chance, retry::PUSHBACK};

/// The domain of every `ErrorInfo` of this project.
pub const DOMAIN: &str = "trellis";

/// After how long about a call may be tried again that there was no room for.
const RETRY: Duration = Duration::from_secs(1);

/// A status with a reason in UPPER_SNAKE.
pub fn status(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}

/// INVALID_ARGUMENT that names one field and its fix; for rules that no contract can state.
pub fn invalid_field(field: &str, reason: &str, message: &str) -> Status {
    let mut details = ErrorDetails::with_bad_request(vec![FieldViolation::new(field, message)]);
    details.set_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {message}"), details)
}

/// RESOURCE_EXHAUSTED with the time after which a repeat is admitted: in the details, and as `retry-after` for
/// clients that read headers.
pub fn exhausted(reason: &str, message: &str, retry_after: Duration) -> Status {
    let mut details = ErrorDetails::with_retry_info(Some(retry_after));
    details.set_error_info(reason, DOMAIN, HashMap::new());
    let mut status = Status::with_error_details(Code::ResourceExhausted, message, details);
    // Whole seconds, rounded up: who waits them is admitted.
    let seconds = retry_after.as_millis().div_ceil(1_000).max(1);
    status.metadata_mut().insert("retry-after", MetadataValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
    status
}

/// RESOURCE_EXHAUSTED because what is stored has reached its bound. It carries QuotaFailure and no RetryInfo: a repeat fails
/// until something was deleted. `subject` names the quota.
pub fn quota(reason: &str, subject: &str, message: &str) -> Status {
    let mut details = ErrorDetails::with_quota_failure(vec![QuotaViolation::new(subject, message)]);
    details.set_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// UNAVAILABLE because there is too much to do, with the time after which to try again.
pub fn overloaded(chance: &Chance) -> Status {
    // Those who were refused together come back apart.
    let retry_after = RETRY.mul_f64(0.5 + chance.share());
    later("OVERLOADED", "too many calls at once; try again later", retry_after)
}

/// UNAVAILABLE for a while, with the time after which to try again: in the details, and as `grpc-retry-pushback-ms` for
/// clients that send calls again by themselves. Balancers read from it that the server is busy and not broken.
pub fn later(reason: &str, message: &str, retry_after: Duration) -> Status {
    let mut details = ErrorDetails::with_retry_info(Some(retry_after));
    details.set_error_info(reason, DOMAIN, HashMap::new());
    let mut status = Status::with_error_details(Code::Unavailable, message, details);
    let millis = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
    status.metadata_mut().insert(PUSHBACK, MetadataValue::from(millis));
    status
}

/// What is told of an error that is nobody's business outside: it is logged once, here.
pub fn internal(error: &(dyn std::error::Error + 'static)) -> Status {
    tracing::error!(error = %chain(error), "unexpected error");
    status(Code::Internal, "INTERNAL", "something went wrong on our side; the log knows more")
}

/// UNAVAILABLE: something that this process needs does not respond now. Another replica may reach it: a client that sends
/// calls again by itself need not wait.
pub fn unavailable(what: &str) -> Status {
    let mut details = ErrorDetails::with_retry_info(Some(RETRY));
    details.set_error_info("UNAVAILABLE", DOMAIN, HashMap::new());
    Status::with_error_details(Code::Unavailable, format!("{what} is not available now; try again"), details)
}

/// UNAVAILABLE, the end of a long stream when its server stops: another one goes on with it.
pub fn stopping() -> Status {
    let message = "the server stops; open the stream again, at once, from where it was";
    status(Code::Unavailable, "SERVER_STOPPING", message)
}

/// An error with its causes, on one line.
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
