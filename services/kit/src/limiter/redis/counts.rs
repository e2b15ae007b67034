//! Counts of decisions by their origin, for the metrics.

use std::sync::OnceLock;

use metrics::{Counter, counter};

/// The origin of a decision.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    /// Admitted from leases alone.
    Leased,
    /// Refused, because a bucket was known to be empty.
    Known,
    /// Decided by Redis.
    Asked,
    /// Decided without Redis, which was unreachable.
    Unavailable,
}

/// Counters, each registered once instead of at each decision.
#[derive(Default)]
pub(super) struct Counts([OnceLock<Counter>; 4]);

impl Counts {
    pub(super) fn add(&self, origin: Origin) {
        let (at, name) = match origin {
            Origin::Leased => (0, "leased"),
            Origin::Known => (1, "known"),
            Origin::Asked => (2, "asked"),
            Origin::Unavailable => (3, "unavailable"),
        };
        self.0[at].get_or_init(|| counter!("limiter_decisions_total", "how" => name)).increment(1);
    }
}
