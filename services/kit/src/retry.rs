//! Retries. A call is sent again only if the contract calls it safe or no server processed it, only while its whole
//! request is buffered and no part of a response was passed on, and only within a budget.

mod budget;
mod replay;
mod retries;
mod state;

use std::{error::Error, time::Duration};

use h2::Reason;
use serde::{Deserialize, Serialize};

pub use budget::RetryBudget;
pub use replay::{Again, Replay};
pub use retries::Retries;
pub use state::{Attempt, NotRetried, Pushback, RetryState};

use crate::config::Span;

/// The section `[balance.retry]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// The maximum number of attempts per call. 1 disables retries.
    pub attempts: u32,
    /// How much of a request is buffered for retries, in bytes.
    pub buffer_bytes: usize,
    /// The retries allowed, as a percentage of an upstream's calls.
    pub budget_percent: u32,
    /// The retries per second allowed in addition.
    pub budget_per_second: u32,
    /// The maximum pause before the first retry. It doubles with each retry. The pause is random, up to the maximum.
    pub backoff: Span,
    /// The upper bound of the pause.
    pub most_backoff: Span,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            attempts: 3,
            buffer_bytes: 64 * 1024,
            budget_percent: 20,
            budget_per_second: 10,
            backoff: Span(Duration::from_millis(50)),
            most_backoff: Span(Duration::from_secs(1)),
        }
    }
}

/// Whether the request that failed with `error` provably was not processed.
pub fn attempt_of(error: &(dyn Error + 'static)) -> Attempt {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<h2::Error>().filter(|error| error.is_remote()) {
            if error.reason() == Some(Reason::REFUSED_STREAM) {
                return Attempt::Refused;
            }
            // After a graceful GOAWAY only the streams that the server did not process get this error.
            if error.is_go_away() && error.reason() == Some(Reason::NO_ERROR) {
                return Attempt::Unsent;
            }
        }
        // No connection could be made, or it was lost before anything was sent.
        if error.is::<tonic::ConnectError>() || error.downcast_ref().is_some_and(hyper::Error::is_canceled) {
            return Attempt::Unsent;
        }
        next = error.source();
    }
    Attempt::Broken(Pushback::None)
}
