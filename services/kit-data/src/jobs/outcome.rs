//! The result of an attempt.

use std::{fmt, time::Duration};

/// The success of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The job is done and is deleted.
    Done,
    /// The job made progress and is not done: it is due at once, and its attempts count from zero.
    Continue,
}

/// The failure of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The reason, for the operator. It is stored and logged, so it contains no secrets.
    pub(super) message: String,
    /// Whether a further attempt would fail too.
    pub(super) is_permanent: bool,
    /// The least wait before the next attempt.
    pub(super) retry_after: Duration,
}

/// The longest stored message, in bytes.
const LONGEST: usize = 500;

impl Failure {
    /// A further attempt may succeed.
    pub fn transient(message: impl fmt::Display) -> Self {
        let mut message = message.to_string();
        message.truncate(message.floor_char_boundary(LONGEST));
        Self { message, is_permanent: false, retry_after: Duration::ZERO }
    }

    /// A further attempt would fail too: the job becomes a dead letter.
    pub fn permanent(message: impl fmt::Display) -> Self {
        Self { is_permanent: true, ..Self::transient(message) }
    }

    /// The next attempt waits for at least this time, as the callee demands.
    pub fn after(self, retry_after: Duration) -> Self {
        Self { retry_after, ..self }
    }
}

impl From<crate::store::Error> for Failure {
    fn from(error: crate::store::Error) -> Self {
        Self::transient(kit::error::chain(&error))
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Self::transient(format!("{:?}: {}", status.code(), status.message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_between_characters() {
        let failure = Failure::transient("ä".repeat(LONGEST));
        assert_eq!(failure.message, "ä".repeat(LONGEST / 2));
        let odd = Failure::transient(format!("x{}", "ä".repeat(LONGEST)));
        assert_eq!(odd.message.len(), LONGEST - 1);
    }

    #[test]
    fn status_becomes_a_transient_failure_with_its_code() {
        let failure = Failure::from(tonic::Status::unavailable("users is away"));
        assert_eq!((failure.message.as_str(), failure.is_permanent), ("Unavailable: users is away", false));
    }
}
