//! Rules: how much may be done in which time, and the arithmetic of one bucket.

use std::{fmt, time::Duration};

use crate::config::Span;

/// How a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A rate, by GCRA (the generic cell rate algorithm): what was taken flows back evenly, so one instant says all:
    /// when the bucket will be full again.
    Rate,
    /// A count in a period that begins with the caller's first call and has no other calendar. A rate would let
    /// through almost twice as much in the first day as the day's quota says.
    Count,
}

/// A rule: `requests` of cost 1 in each period, `burst` of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    kind: Kind,
    requests: u32,
    period: Duration,
    burst: u32,
    /// Microseconds that cost 1 takes to flow back. Whole ones, rounded up: never more than the rule says, and above
    /// 10 000 a second up to 1 % less.
    interval: i64,
}

impl Quota {
    /// One in a second.
    pub(super) const ONE: Self =
        Self { kind: Kind::Rate, requests: 1, period: Duration::from_secs(1), burst: 1, interval: 1_000_000 };

    /// A rate. `requests` and `burst` of 0 are read as 1.
    pub fn new(requests: u32, period: Duration, burst: u32) -> Self {
        let (requests, burst) = (requests.max(1), burst.max(1));
        let interval = micros(period).max(1).unsigned_abs().div_ceil(u64::from(requests));
        Self { kind: Kind::Rate, requests, period, burst, interval: i64::try_from(interval).unwrap_or(i64::MAX) }
    }

    /// At most `requests` in a period, whenever in it. 0 is read as 1.
    pub fn count(requests: u32, period: Duration) -> Self {
        Self { kind: Kind::Count, ..Self::new(requests, period, requests) }
    }

    /// The rule with so many times the requests and the burst, in the same period.
    #[must_use]
    pub fn times(&self, multiple: u32) -> Self {
        let (requests, burst) = (self.requests.saturating_mul(multiple), self.burst.saturating_mul(multiple));
        match self.kind {
            Kind::Rate => Self::new(requests, self.period, burst),
            Kind::Count => Self::count(requests, self.period),
        }
    }

    /// How it counts.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How much cost a period allows.
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// The period.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// How much cost may come at once: what a full bucket holds.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// Microseconds that cost 1 takes to flow back.
    pub(super) fn interval(&self) -> i64 {
        self.interval
    }

    /// The period in microseconds.
    pub(super) fn period_micros(&self) -> i64 {
        micros(self.period)
    }

    /// Microseconds that a full bucket takes to fill.
    pub(super) fn depth(&self) -> i64 {
        self.interval.saturating_mul(i64::from(self.burst))
    }

    /// The part of the rule that one of several gateways keeps on its own; at least 1 of everything.
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

/// As people say it: `600 in 1m, 100 at once`.
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

/// The state of one bucket in this process: two numbers, whatever the kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    /// When it is full again, in microseconds; of a count, when the period ends.
    full_at: i64,
    /// Of a count: what was taken in the period.
    taken: u32,
}

/// What a bucket has for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// Cost that could be taken now.
    pub(super) free: u32,
    /// Microseconds until it is full again.
    pub(super) full_in: i64,
    /// Microseconds until the cost that was asked for is there; 0: it is.
    pub(super) wait: i64,
}

impl Bucket {
    /// What the bucket has at `now` for a call of `cost`. Pure, so that every implementation agrees: the script in
    /// Redis says the same in its own words.
    pub(super) fn look(&self, now: i64, quota: &Quota, cost: u32) -> Look {
        match quota.kind {
            Kind::Rate => {
                // A clock that was set back, or a rule that shrank, costs a caller at most one empty bucket.
                let full_in = (self.full_at - now).clamp(0, quota.depth());
                let free = (quota.depth() - full_in) / quota.interval;
                let wait = (full_in + i64::from(cost) * quota.interval - quota.depth()).max(0);
                Look { free: u32::try_from(free).unwrap_or(0), full_in, wait }
            }
            Kind::Count => {
                let left = (self.full_at - now).clamp(0, quota.period_micros());
                let free = if left == 0 { quota.requests } else { quota.requests.saturating_sub(self.taken) };
                Look { free, full_in: left, wait: if free < cost { left } else { 0 } }
            }
        }
    }

    /// Takes what `look` has found to be there.
    pub(super) fn take(&mut self, now: i64, quota: &Quota, cost: u32) {
        let full_in = self.look(now, quota, 0).full_in;
        match quota.kind {
            Kind::Rate => self.full_at = now + full_in + i64::from(cost) * quota.interval,
            Kind::Count if full_in == 0 => *self = Self { full_at: now + quota.period_micros(), taken: cost },
            Kind::Count => self.taken = self.taken.saturating_add(cost),
        }
    }

    /// Whether it says no more than that it is full.
    pub(super) fn is_full(&self, now: i64) -> bool {
        self.full_at <= now
    }
}
