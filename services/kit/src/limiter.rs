//! Rate limiting: the trait, and the implementation inside one process.
//!
//! The rule is GCRA (the generic cell rate algorithm): one instant a key says when the bucket will be empty
//! again, so a decision reads and writes one number.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{config::Span, time::Clock};

/// A rule: `requests` of cost 1 in each period, `burst` of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    requests: u32,
    period: Duration,
    burst: u32,
    /// Microseconds that cost 1 takes to flow out.
    interval: i64,
    /// Microseconds that the bucket holds.
    depth: i64,
}

impl Quota {
    /// `requests` and `burst` of 0 are read as 1.
    pub fn new(requests: u32, period: Duration, burst: u32) -> Self {
        let micros = i64::try_from(period.as_micros()).unwrap_or(i64::MAX).max(1);
        let interval = (micros / i64::from(requests.max(1))).max(1);
        let (requests, burst) = (requests.max(1), burst.max(1));
        Self { requests, period, burst, interval, depth: interval.saturating_mul(i64::from(burst)) }
    }
}

/// As people say it: `600 in 1m, 100 at once`.
impl std::fmt::Display for Quota {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let period = Span(self.period);
        write!(f, "{} in {period}", self.requests)?;
        if self.burst == self.requests { Ok(()) } else { write!(f, ", {} at once", self.burst) }
    }
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The call may go on.
    Admitted,
    /// Not now; a repeat after this time is admitted if nothing else comes in between.
    Refused {
        /// The time.
        retry_after: Duration,
    },
}

/// A decision, at once or after a round trip: a local one costs no allocation.
pub enum Verdict<'a> {
    /// Decided here.
    Now(Decision),
    /// Decided elsewhere.
    Later(Pin<Box<dyn Future<Output = Decision> + Send + 'a>>),
}

impl Verdict<'_> {
    /// Waits for the decision.
    pub async fn decision(self) -> Decision {
        match self {
            Self::Now(decision) => decision,
            Self::Later(decision) => decision.await,
        }
    }
}

/// Counts what callers do.
pub trait RateLimiter: Send + Sync {
    /// Takes `cost` from the bucket `key`, whose rule is `quota`, if it is there. A refusal takes nothing.
    fn decide<'a>(&'a self, key: &'a str, quota: Quota, cost: u32) -> Verdict<'a>;
}

/// The state of one bucket and the decision on one call: pure, so that every implementation agrees.
fn gcra(empty_at: i64, now: i64, quota: Quota, cost: u32) -> Result<i64, Duration> {
    let filled = empty_at.max(now).saturating_add(quota.interval.saturating_mul(i64::from(cost)));
    let over = filled.saturating_sub(now).saturating_sub(quota.depth);
    if over > 0 { Err(Duration::from_micros(u64::try_from(over).unwrap_or(0))) } else { Ok(filled) }
}

/// How many maps the keys are spread over, so that threads seldom meet.
const SHARDS: usize = 64;
/// How many keys a shard holds before it drops the buckets that are empty again, then, if that did not help,
/// all: 64 × 16 384 keys bound the memory at about 100 MiB, and an attacker who can bring a million keys in
/// one period gains no more than a fresh bucket.
const KEYS_PER_SHARD: usize = 16_384;

/// Buckets in this process.
pub struct Local {
    clock: Arc<dyn Clock>,
    hasher: RandomState,
    /// Key → when the bucket is empty again, in microseconds.
    shards: Vec<Mutex<HashMap<Box<str>, i64>>>,
}

impl Local {
    /// A limiter on `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { clock, hasher: RandomState::new(), shards }
    }

    fn take(&self, key: &str, quota: Quota, cost: u32) -> Decision {
        let now = self.clock.now().as_micros();
        let shard = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        // A panic elsewhere leaves plain numbers behind: they stay usable.
        let mut buckets = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        let empty_at = buckets.get(key).copied().unwrap_or(0);
        match gcra(empty_at, now, quota, cost) {
            Err(retry_after) => Decision::Refused { retry_after },
            Ok(filled) => {
                if let Some(bucket) = buckets.get_mut(key) {
                    *bucket = filled;
                } else {
                    make_room(&mut buckets, now);
                    buckets.insert(key.into(), filled);
                }
                Decision::Admitted
            }
        }
    }
}

fn make_room(buckets: &mut HashMap<Box<str>, i64>, now: i64) {
    if buckets.len() < KEYS_PER_SHARD {
        return;
    }
    buckets.retain(|_, empty_at| *empty_at > now);
    if buckets.len() >= KEYS_PER_SHARD {
        buckets.clear();
    }
}

impl RateLimiter for Local {
    fn decide<'a>(&'a self, key: &'a str, quota: Quota, cost: u32) -> Verdict<'a> {
        Verdict::Now(self.take(key, quota, cost))
    }
}

/// A key for a client's address: IPv6 by its /64, which is one customer's network.
pub fn address_key(address: std::net::IpAddr) -> String {
    match address.to_canonical() {
        std::net::IpAddr::V4(v4) => v4.to_string(),
        std::net::IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{ManualClock, Timestamp};

    const QUOTA_PERIOD: Duration = Duration::from_secs(60);

    fn limiter() -> (Local, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_000_000_000)));
        (Local::new(Arc::clone(&clock) as Arc<dyn Clock>), clock)
    }

    #[test]
    fn the_burst_is_admitted_and_one_more_is_refused() {
        let (limiter, _clock) = limiter();
        let quota = Quota::new(60, QUOTA_PERIOD, 5);
        for _ in 0..5 {
            assert_eq!(limiter.take("k", quota, 1), Decision::Admitted);
        }
        assert_eq!(limiter.take("k", quota, 1), Decision::Refused { retry_after: Duration::from_secs(1) });
        assert_eq!(limiter.take("other", quota, 1), Decision::Admitted);
    }

    #[test]
    fn who_waits_as_told_is_admitted() {
        let (limiter, clock) = limiter();
        let quota = Quota::new(7, QUOTA_PERIOD, 3);
        for round in 0..50_u32 {
            let cost = 1 + round % 3;
            if let Decision::Refused { retry_after } = limiter.take("k", quota, cost) {
                clock.advance(retry_after);
                assert_eq!(limiter.take("k", quota, cost), Decision::Admitted, "round {round}");
            }
        }
    }

    #[test]
    fn ipv6_is_counted_by_its_network() {
        let key = |text: &str| address_key(text.parse().unwrap());
        assert_eq!(key("2001:db8:1:2:3::4"), key("2001:db8:1:2:ffff::1"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:10.0.0.1"), "10.0.0.1");
    }
}
