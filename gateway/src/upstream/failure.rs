//! Why a call to an upstream has no response, and what that means for the caller and for load balancing.

use std::fmt;

use h2::Reason;
use kit::{balance::EndpointOutcome, error::chain};
use tonic::Code;

/// Why a call has no response.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection could not be opened, or not in time.
    Unreachable(String),
    /// All connections are full.
    Full,
    /// The concurrency limit of the upstream is reached.
    Overloaded,
    /// The connection was closing, and the upstream has not received the call.
    Gone(h2::Error),
    /// The upstream reports that it has not processed the call.
    Refused(h2::Error),
    /// The connection or the stream broke; the call may have been processed.
    Broken(h2::Error),
    /// The caller's request was cut off, and the gateway cancels the call.
    Cut,
}

impl Failure {
    /// The connection did not accept the call.
    pub(super) fn unsent(error: h2::Error) -> Self {
        // An error of the request itself would recur on every connection.
        if error.is_go_away() || error.is_io() { Self::Gone(error) } else { Self::Broken(error) }
    }

    /// An open stream ended before its response began.
    pub(super) fn sent(error: h2::Error) -> Self {
        match error.reason() {
            Some(Reason::REFUSED_STREAM) if error.is_remote() => Self::Refused(error),
            // h2 reports a GOAWAY only to streams that it declares unprocessed.
            _ if error.is_go_away() && error.is_remote() => Self::Gone(error),
            _ => Self::Broken(error),
        }
    }
}

/// The status of a broken stream: gRPC's own table for the error codes of HTTP/2, so that a caller receives the same
/// status as without a gateway. If the connection broke too, the service is unavailable.
pub(crate) fn code_of_break(error: &h2::Error) -> Code {
    match error.reason() {
        Some(reason) if error.is_reset() => match reason {
            Reason::CANCEL => Code::Cancelled,
            Reason::REFUSED_STREAM => Code::Unavailable,
            Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
            Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
            _ => Code::Internal,
        },
        _ => Code::Unavailable,
    }
}

/// What a broken stream means for the server's health. A cancellation may be caused by the call itself.
pub(super) fn outcome_of_break(error: &h2::Error) -> EndpointOutcome {
    match error.reason() {
        Some(Reason::CANCEL) if error.is_reset() && error.is_remote() => EndpointOutcome::Faulty,
        Some(Reason::ENHANCE_YOUR_CALM) if error.is_reset() && error.is_remote() => EndpointOutcome::Busy,
        _ => EndpointOutcome::Failed,
    }
}

/// h2 reset the stream itself, because of invalid frames of the upstream.
pub(super) fn is_fault(error: &h2::Error) -> bool {
    error.is_reset() && error.is_library()
}

/// The gateway reset the stream, because of its caller. A reset by h2 itself is an error of the upstream.
pub(super) fn is_ours(error: &h2::Error) -> bool {
    error.is_reset() && !error.is_remote() && !error.is_library()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "no connection: {why}"),
            Self::Full => f.write_str("all connections are full"),
            Self::Cut => f.write_str("the request was cut off"),
            Self::Overloaded => f.write_str("the upstream is overloaded"),
            Self::Gone(error) => write!(f, "the connection was closing: {}", chain(error)),
            Self::Refused(error) | Self::Broken(error) => f.write_str(&chain(error)),
        }
    }
}
