//! How decisions came about, for the metrics.

use std::sync::OnceLock;

use metrics::{Counter, counter};

/// How a decision came about.
#[derive(Debug, Clone, Copy)]
pub(super) enum How {
    /// From leases alone.
    Leased,
    /// Refused, because a bucket was known to be empty.
    Known,
    /// By Redis.
    Asked,
    /// Without Redis, which did not decide.
    Away,
}

/// Counters, each looked up once and not once a decision.
#[derive(Default)]
pub(super) struct Counts([OnceLock<Counter>; 4]);

impl Counts {
    pub(super) fn add(&self, how: How) {
        let (at, name) = match how {
            How::Leased => (0, "leased"),
            How::Known => (1, "known"),
            How::Asked => (2, "asked"),
            How::Away => (3, "away"),
        };
        self.0[at].get_or_init(|| counter!("limiter_decisions_total", "how" => name)).increment(1);
    }
}
