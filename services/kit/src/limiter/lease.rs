//! The state of one Redis bucket in this process: the leased slice, and until when the bucket is known to be empty.
//! Pure: the clock is an argument, in microseconds of any origin.
//!
//! A slice is cost taken from Redis in advance. It is spent within [`Lease::lifetime`] after it was taken, or returned.
//! Thus all processes admit what Redis gave out, later by at most that lifetime `T`. The excess over an exact limiter
//! in any span of time is at most what flows back in `T`: `requests × T / period`, for any number and size of slices.
//! `T` is a hundredth of the period and at most one second: 1 %.
//!
//! The other error: a call is refused while another process holds the cost that it needs. The script limits a slice to
//! an eighth of what is left, so slices shrink to nothing as the bucket empties.

use super::{Quota, quota::Kind};

/// The divisor of the period that gives the lifetime. The error is the same part of the limit.
const PART: i64 = 100;
/// The maximum lifetime of a slice in microseconds: other processes cannot use leased cost.
const LONGEST: i64 = 1_000_000;
/// The maximum time in microseconds for which a bucket counts as empty without a new request to Redis: a process may
/// have returned cost, or Redis may have been cleared.
const LONGEST_EMPTY: i64 = 1_000_000;
/// The maximum cost taken in advance. The script grants at most an eighth of what is left.
const LARGEST: u32 = 1 << 20;

/// The state of one bucket in this process.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// The leased cost.
    held: u32,
    taken_at: i64,
    /// When the slice expires.
    expires: i64,
    /// The size of the last slice requested.
    slice: u32,
    /// The time of the last request to Redis, if any.
    requested_at: Option<i64>,
    /// Whether a request to Redis is in progress.
    is_requested: bool,
    /// The bucket is known to be empty until this time.
    empty_until: i64,
    /// When the cost of one call will be available: the retry delay for clients.
    filled_at: i64,
    /// The remaining cost at the last response of Redis, and when the bucket will be full.
    left: u32,
    full_at: i64,
}

/// The result of checking a lease for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseCheck {
    /// The lease covers the cost.
    Enough,
    /// A request to Redis is necessary.
    Lacking,
    /// The bucket is empty in Redis too, for this many microseconds.
    Empty(i64),
}

/// Cost to return to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unused {
    pub(super) cost: u32,
    /// When it was taken. A rate keeps flowing back in the meantime. That amount is not returned: a bucket that would
    /// have been full without the lease would not have gained it.
    pub(super) taken_at: i64,
    /// When the period of a count ends.
    pub(super) full_at: i64,
}

/// The result of the script for one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BucketResponse {
    /// The cost taken; 0 if refused.
    pub(super) taken: u32,
    /// The remaining cost.
    pub(super) left: u32,
    /// Microseconds until the bucket is full.
    pub(super) full_in: i64,
    /// Microseconds until the cost of one more call is available; 0 if it is available now.
    pub(super) wait: i64,
}

impl Lease {
    /// The lifetime of a slice of `quota`, in microseconds.
    pub(super) fn lifetime(quota: &Quota) -> i64 {
        (quota.period_micros() / PART).min(LONGEST)
    }

    /// Checks the lease for a call of `cost`.
    pub(super) fn look(&self, now: i64, cost: u32) -> LeaseCheck {
        if self.held >= cost && now < self.expires {
            LeaseCheck::Enough
        } else if now < self.empty_until {
            LeaseCheck::Empty((self.filled_at - now).max(1))
        } else {
            LeaseCheck::Lacking
        }
    }

    /// Spends cost that `look` has found. Returns the id of the slice.
    pub(super) fn spend(&mut self, cost: u32) -> i64 {
        self.held = self.held.saturating_sub(cost);
        self.taken_at
    }

    /// Returns cost that a call did not use. If its slice has gone meanwhile, the cost is lost and flows back over
    /// time.
    pub(super) fn put_back(&mut self, cost: u32, slice: i64) {
        if slice == self.taken_at {
            self.held = self.held.saturating_add(cost);
        }
    }

    /// The known remaining cost, and the microseconds until the bucket is full.
    pub(super) fn limit_state(&self, now: i64) -> (u32, i64) {
        (self.left.saturating_add(self.held), (self.full_at - now).max(0))
    }

    /// How much to request in advance. A bucket that is requested again within the lifetime of a slice is hot: its
    /// slices double until one lasts for a lifetime. A cold bucket requests nothing in advance. Neither does one with a
    /// request in progress, so that concurrent calls take one slice together.
    pub(super) fn request(&mut self, now: i64, lifetime: i64, cost: u32) -> u32 {
        let since = self.requested_at.map_or(i64::MAX, |at| now - at);
        if std::mem::replace(&mut self.is_requested, true) && since < lifetime {
            return 0;
        }
        self.requested_at = Some(now);
        self.slice = if lifetime == 0 {
            0
        } else if since < lifetime {
            self.slice.saturating_mul(2).clamp(2 * cost, LARGEST)
        } else if since < 4 * lifetime {
            self.slice
        } else {
            0
        };
        self.slice
    }

    /// Keeps cost beyond the need of the calls. It expires one lifetime after the request.
    pub(super) fn hold(
        &mut self,
        requested_at: i64,
        lifetime: i64,
        quota: &Quota,
        cost: u32,
        response: &BucketResponse,
    ) {
        let mut expires = requested_at + lifetime;
        if quota.kind() == Kind::Count {
            // The rest of a period cannot be spent in the next period.
            expires = expires.min(requested_at + response.full_in);
        }
        // Two slices from concurrent requests expire with the first.
        let is_alone = self.held == 0;
        self.taken_at = if is_alone { requested_at } else { self.taken_at.min(requested_at) };
        self.expires = if is_alone { expires } else { self.expires.min(expires) };
        self.held = self.held.saturating_add(cost);
    }

    /// Records a response of Redis to the request sent at `requested_at`.
    pub(super) fn learn(&mut self, requested_at: i64, now: i64, response: &BucketResponse) {
        self.is_requested = false;
        self.left = response.left;
        self.full_at = now + response.full_in;
        if response.wait > 0 {
            // Asking Redis too early costs one more request; a retry delay that is too short misleads the client.
            self.empty_until = requested_at + response.wait.min(LONGEST_EMPTY);
            self.filled_at = now + response.wait;
        }
    }

    /// Takes the held cost out, if it has expired or `at_once`. A slice with most of its cost unused was too large.
    pub(super) fn give_up(&mut self, now: i64, at_once: bool) -> Option<Unused> {
        if self.held == 0 || (now < self.expires && !at_once) {
            return None;
        }
        let cost = std::mem::take(&mut self.held);
        if cost > self.slice / 2 {
            self.slice /= 2;
        }
        Some(Unused { cost, taken_at: self.taken_at, full_at: self.full_at })
    }

    /// Whether there is a slice.
    pub(super) fn is_held(&self) -> bool {
        self.held > 0
    }

    /// Whether the state can be dropped without loss.
    pub(super) fn is_idle(&self, now: i64) -> bool {
        self.held == 0 && now >= self.empty_until
    }
}

#[cfg(test)]
#[path = "lease/tests.rs"]
mod tests;
