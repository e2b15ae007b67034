//! Quotas, and the arithmetic of one bucket.

use std::{fmt, time::Duration};

use crate::config::Span;

/// How a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A rate, by GCRA (the generic cell rate algorithm). Cost flows back evenly, so the state is a single instant:
    /// when the bucket will be full again.
    Rate,
    /// A count in a period that begins with the client's first call, independent of the calendar. A rate would admit
    /// almost twice a day's quota in the first day.
    Count,
}

/// A rule: `requests` of cost 1 in each period, `burst` of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    kind: Kind,
    requests: u32,
    period: Duration,
    burst: u32,
    /// Microseconds in which cost 1 flows back. Rounded up, so never more than the rule allows; above 10 000 per second
    /// up to 1 % less.
    interval: i64,
}

impl Quota {
    /// One per second.
    pub(super) const ONE: Self =
        Self { kind: Kind::Rate, requests: 1, period: Duration::from_secs(1), burst: 1, interval: 1_000_000 };

    /// A rate. A `requests` or `burst` of 0 counts as 1.
    pub fn new(requests: u32, period: Duration, burst: u32) -> Self {
        let (requests, burst) = (requests.max(1), burst.max(1));
        let interval = micros(period).max(1).unsigned_abs().div_ceil(u64::from(requests));
        Self { kind: Kind::Rate, requests, period, burst, interval: i64::try_from(interval).unwrap_or(i64::MAX) }
    }

    /// At most `requests` in a period, at any time in it. 0 counts as 1.
    pub fn count(requests: u32, period: Duration) -> Self {
        Self { kind: Kind::Count, ..Self::new(requests, period, requests) }
    }

    /// The rule with a multiple of the requests and the burst, in the same period.
    #[must_use]
    pub fn times(&self, multiple: u32) -> Self {
        let (requests, burst) = (self.requests.saturating_mul(multiple), self.burst.saturating_mul(multiple));
        match self.kind {
            Kind::Rate => Self::new(requests, self.period, burst),
            Kind::Count => Self::count(requests, self.period),
        }
    }

    /// The kind of the quota.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The cost that a period allows.
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// The period.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// The cost that a full bucket holds.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// Microseconds in which cost 1 flows back.
    pub(super) fn interval(&self) -> i64 {
        self.interval
    }

    /// The period in microseconds.
    pub(super) fn period_micros(&self) -> i64 {
        micros(self.period)
    }

    /// Microseconds in which an empty bucket fills.
    pub(super) fn depth(&self) -> i64 {
        self.interval.saturating_mul(i64::from(self.burst))
    }

    /// The part of the rule that one of several gateways grants on its own; at least 1.
    #[must_use]
    pub(super) fn shared(&self, share: f64) -> Self {
        let part = |whole: u32| {
            // A share is between 0 and 1, so the product fits.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= share <= 1")]
            let part = (f64::from(whole) * share) as u32;
            part.max(1)
        };
        match self.kind {
            Kind::Rate => Self::new(part(self.requests), self.period, part(self.burst)),
            Kind::Count => Self::count(part(self.requests), self.period),
        }
    }
}

/// For people: `600 in 1m, 100 at once`.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = Span(self.period);
        match self.kind {
            Kind::Count => write!(f, "{} in each {period} from the first call on", self.requests),
            Kind::Rate if self.burst == self.requests => write!(f, "{} in {period}", self.requests),
            Kind::Rate => write!(f, "{} in {period}, {} at once", self.requests, self.burst),
        }
    }
}

fn micros(period: Duration) -> i64 {
    i64::try_from(period.as_micros()).unwrap_or(i64::MAX)
}

/// The state of one bucket in this process: two numbers for both kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    /// When the bucket is full again, in microseconds. For a count, when the period ends.
    full_at: i64,
    /// For a count, the cost taken in the period.
    taken: u32,
}

/// The result of checking a bucket for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BucketCheck {
    /// The cost available now.
    pub(super) free: u32,
    /// Microseconds until the bucket is full.
    pub(super) full_in: i64,
    /// Microseconds until the requested cost is available; 0 if it is available now.
    pub(super) wait: i64,
}

impl Bucket {
    /// Checks the bucket at `now` for a call of `cost`. Pure, so that all implementations agree. The Redis script
    /// computes the same.
    pub(super) fn look(&self, now: i64, quota: &Quota, cost: u32) -> BucketCheck {
        match quota.kind {
            Kind::Rate => {
                // A clock set back, or a reduced rule, costs a client at most one empty bucket.
                let full_in = (self.full_at - now).clamp(0, quota.depth());
                let free = (quota.depth() - full_in) / quota.interval;
                let wait = (full_in + i64::from(cost) * quota.interval - quota.depth()).max(0);
                BucketCheck { free: u32::try_from(free).unwrap_or(0), full_in, wait }
            }
            Kind::Count => {
                let left = (self.full_at - now).clamp(0, quota.period_micros());
                let free = if left == 0 { quota.requests } else { quota.requests.saturating_sub(self.taken) };
                BucketCheck { free, full_in: left, wait: if free < cost { left } else { 0 } }
            }
        }
    }

    /// Takes cost that `look` has found to be available.
    pub(super) fn take(&mut self, now: i64, quota: &Quota, cost: u32) {
        let full_in = self.look(now, quota, 0).full_in;
        match quota.kind {
            Kind::Rate => self.full_at = now + full_in + i64::from(cost) * quota.interval,
            Kind::Count if full_in == 0 => *self = Self { full_at: now + quota.period_micros(), taken: cost },
            Kind::Count => self.taken = self.taken.saturating_add(cost),
        }
    }

    /// Whether the bucket is full, so that it can be dropped.
    pub(super) fn is_full(&self, now: i64) -> bool {
        self.full_at <= now
    }
}
