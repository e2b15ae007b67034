//! Rate limiting within one process.

use std::sync::Arc;

use super::{
    Ask, BucketKey, Decision, EventualDecision, LimitState, Opening, RateLimiter, StreamAsk, TooMany,
    quota::Bucket,
    shards::{Locked, Shards},
    streams::Streams,
};
use crate::time::Clock;

/// Counts in this process alone: the whole quota for a single process, or its share while a shared Redis is
/// unreachable.
pub struct LocalLimiter {
    clock: Arc<dyn Clock>,
    share: f64,
    buckets: Shards<Bucket>,
    streams: Arc<Streams>,
}

impl LocalLimiter {
    /// A limiter that uses `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_share(clock, 1.0)
    }

    /// A limiter that grants this part of each quota, 0 to 1.
    pub(super) fn with_share(clock: Arc<dyn Clock>, share: f64) -> Self {
        Self { clock, share, buckets: Shards::default(), streams: Arc::default() }
    }

    /// Decides immediately.
    pub(super) fn take(&self, ask: &Ask<'_>) -> Decision {
        let now = self.clock.now().as_micros();
        let whole = self.share >= 1.0;
        let quota = |at: usize| if whole { ask.limits[at].quota } else { ask.limits[at].quota.shared(self.share) };
        // The share of the burst may be less than the cost of one call.
        let cost = |at: usize| ask.limits[at].cost.min(quota(at).burst());
        let mut buckets = self.buckets.lock(ask.limits.iter().map(|limit| limit.key));
        let looks = |key: &BucketKey, at: usize, buckets: &Locked<'_, Bucket>| {
            buckets.get(key).copied().unwrap_or_default().look(now, &quota(at), cost(at))
        };
        let mut limit_states = [LimitState::default(); super::MOST_LIMITS];
        let mut wait = 0;
        for (at, limit) in ask.limits.iter().enumerate() {
            let look = looks(&limit.key, at, &buckets);
            wait = look.wait.max(wait);
            limit_states[at] = LimitState::new(look.free, look.full_in);
        }
        if wait > 0 {
            return Decision::refused(wait, limit_states);
        }
        for (at, limit) in ask.limits.iter().enumerate() {
            let bucket = buckets.entry(limit.key, |bucket| !bucket.is_full(now));
            bucket.take(now, &quota(at), cost(at));
            let look = bucket.look(now, &quota(at), 0);
            limit_states[at] = LimitState::new(look.free, look.full_in);
        }
        Decision::admitted(limit_states)
    }
}

impl RateLimiter for LocalLimiter {
    fn decide<'a>(&'a self, ask: &'a Ask<'a>) -> EventualDecision<'a> {
        EventualDecision::Now(self.take(ask))
    }

    fn open_stream<'a>(&'a self, ask: StreamAsk<'a>) -> Opening<'a> {
        let opened = self.streams.open(ask.key, ask.most, || "".into());
        Box::pin(std::future::ready(opened.map(|(_, hold)| hold).ok_or(TooMany::Open)))
    }

    fn is_shared(&self) -> bool {
        true
    }
}

#[cfg(test)]
#[path = "local/tests.rs"]
mod tests;
