//! Sending a call again: only what the contract calls safe or what nobody has looked at, only as long as all that was
//! sent of it is kept and nothing of an answer was passed on, and only within a budget.

mod budget;
mod replay;
mod retries;
mod trial;

use std::{error::Error, time::Duration};

use h2::Reason;
use serde::{Deserialize, Serialize};

pub use budget::Budget;
pub use replay::{Again, Replay};
pub use retries::Retries;
pub use trial::{Attempt, PREVIOUS_ATTEMPTS, PUSHBACK, Pushback, Trial, Withheld};

use crate::config::Span;

/// The section `[balance.retry]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often a call is sent at most. 1: never again.
    pub attempts: u32,
    /// How much of a request is kept so that it can be sent again, in bytes.
    pub buffer_bytes: usize,
    /// How many of a hundred calls of an upstream may be sent again.
    pub budget_percent: u32,
    /// How many calls of an upstream may be sent again in a second besides.
    pub budget_per_second: u32,
    /// The longest pause before a call is sent for the second time; it doubles with each time. The pause is anything up
    /// to that, by chance.
    pub backoff: Span,
    /// And at most.
    pub most_backoff: Span,
}

impl Default for Config {
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

impl Config {
    /// What types cannot say. The error names the key.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self { attempts: 0, .. } => Err("balance.retry.attempts: 0 is below the least, 1".to_owned()),
            Self { budget_percent: 101.., .. } => {
                Err(format!("balance.retry.budget_percent: {} is above 100", self.budget_percent))
            }
            _ => Ok(()),
        }
    }
}

/// Whether the request that met with `error` was provably never worked on.
pub fn attempt_of(error: &(dyn Error + 'static)) -> Attempt {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<h2::Error>().filter(|error| error.is_remote()) {
            if error.reason() == Some(Reason::REFUSED_STREAM) {
                return Attempt::Refused;
            }
            // Of the streams only those hear of a polite GOAWAY that it says nobody looked at.
            if error.is_go_away() && error.reason() == Some(Reason::NO_ERROR) {
                return Attempt::Unsent;
            }
        }
        // No connection could be made, or it was gone before anything was sent.
        if error.is::<tonic::ConnectError>() || error.downcast_ref().is_some_and(hyper::Error::is_canceled) {
            return Attempt::Unsent;
        }
        next = error.source();
    }
    Attempt::Unavailable(Pushback::None)
}
