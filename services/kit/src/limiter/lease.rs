//! What a process knows of one bucket in Redis: the slice of it that it holds on lease, and until when it is known to
//! be empty. Pure: the clock is an argument, in microseconds of any origin.
//!
//! A slice is cost that was taken in Redis ahead of time. It is spent here within [`Lease::lifetime`] of being taken, or
//! goes back. So what is admitted anywhere is what Redis gave out, later by at most that lifetime `T`, and the excess
//! over an exact limiter in any span of time is at most what flows back in `T`: `requests × T / period`, however many
//! processes hold slices and however large they are. `T` is a hundredth of the period, and at most a second: 1 %.
//!
//! The other error is that a caller is refused while another process holds what it wants. A slice is at most an eighth
//! of what is left when it is taken (the script sees to that), so it shrinks to nothing as the bucket empties.

use super::{Quota, quota::Kind};

/// The part of its period for which cost may be held: the error is the same part of the limit.
const PART: i64 = 100;
/// A slice is never held for longer, in microseconds: what is held here cannot be had elsewhere.
const LONGEST: i64 = 1_000_000;
/// The longest that an empty bucket is not asked about, in microseconds: it may have been given back to, or Redis may
/// have been emptied.
const LONGEST_EMPTY: i64 = 1_000_000;
/// The most cost that is asked for ahead of time. The script gives an eighth of what is left at most.
const LARGEST: u32 = 1 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// Cost in hand.
    held: u32,
    taken_at: i64,
    /// Until when it may be spent.
    expires: i64,
    /// How much was asked for ahead the last time.
    slice: u32,
    /// When the bucket was asked for last, if it was.
    asked_at: Option<i64>,
    /// The answer has not come yet.
    is_asked: bool,
    /// Nothing is to be had before this: no need to ask.
    ask_again_at: i64,
    /// What to tell callers until then: when the cost of one call will be there.
    filled_at: i64,
    /// What Redis had left when it was asked last, and when all of it will be there again.
    left: u32,
    full_at: i64,
}

/// What a lease has for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// Enough.
    Enough,
    /// Redis has to be asked.
    Lacking,
    /// Nothing, nor has Redis, for so many microseconds.
    Empty(i64),
}

/// What goes back to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unused {
    pub(super) cost: u32,
    /// When it was taken. A rate flows back meanwhile all the same: that much is not given back, for a bucket that was
    /// full without it would have gained nothing in that time.
    pub(super) taken_at: i64,
    /// When a count's period ends.
    pub(super) full_at: i64,
}

/// What Redis answered for one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// Cost that was taken; 0: refused.
    pub(super) taken: u32,
    /// Cost that is left.
    pub(super) left: u32,
    /// Microseconds until all of it is there again.
    pub(super) full_in: i64,
    /// Microseconds until the cost of one more call is there; 0: it is.
    pub(super) wait: i64,
}

impl Lease {
    /// For how long a slice of `quota` may be held, in microseconds.
    pub(super) fn lifetime(quota: &Quota) -> i64 {
        (quota.period_micros() / PART).min(LONGEST)
    }

    /// What there is for a call of `cost`.
    pub(super) fn look(&self, now: i64, cost: u32) -> Held {
        if self.held >= cost && now < self.expires {
            Held::Enough
        } else if now < self.ask_again_at {
            Held::Empty((self.filled_at - now).max(1))
        } else {
            Held::Lacking
        }
    }

    /// Spends what `look` has found. The answer names the slice.
    pub(super) fn spend(&mut self, cost: u32) -> i64 {
        self.held = self.held.saturating_sub(cost);
        self.taken_at
    }

    /// Takes back what a call did not need after all. When its slice has gone meanwhile it is lost, and flows back.
    pub(super) fn put_back(&mut self, cost: u32, slice: i64) {
        if slice == self.taken_at {
            self.held = self.held.saturating_add(cost);
        }
    }

    /// Cost that may still be taken as far as is known, and microseconds until all of it is there again.
    pub(super) fn standing(&self, now: i64) -> (u32, i64) {
        (self.left.saturating_add(self.held), (self.full_at - now).max(0))
    }

    /// How much to ask for beyond what calls need now. A bucket that is asked for again within the lifetime of a slice
    /// is hot: its slices double until one lasts for that long. What is not hot is asked for call by call, and so is
    /// what is being asked for already: a crowd takes one slice, not one each.
    pub(super) fn ask(&mut self, now: i64, lifetime: i64, cost: u32) -> u32 {
        let since = self.asked_at.map_or(i64::MAX, |at| now - at);
        if std::mem::replace(&mut self.is_asked, true) && since < lifetime {
            return 0;
        }
        self.asked_at = Some(now);
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

    /// Keeps what came beyond what calls needed: it may be spent until a lifetime after it was asked for.
    pub(super) fn hold(&mut self, asked_at: i64, lifetime: i64, quota: &Quota, cost: u32, answer: &Answer) {
        let mut expires = asked_at + lifetime;
        if quota.kind() == Kind::Count {
            // What is left of a period cannot be spent in the next.
            expires = expires.min(asked_at + answer.full_in);
        }
        // Two slices at once, of two calls that asked side by side, end with the first.
        let is_alone = self.held == 0;
        self.taken_at = if is_alone { asked_at } else { self.taken_at.min(asked_at) };
        self.expires = if is_alone { expires } else { self.expires.min(expires) };
        self.held = self.held.saturating_add(cost);
    }

    /// Takes note of an answer that was asked for at `asked_at` and has come `now`.
    pub(super) fn learn(&mut self, asked_at: i64, now: i64, answer: &Answer) {
        self.is_asked = false;
        self.left = answer.left;
        self.full_at = now + answer.full_in;
        if answer.wait > 0 {
            // Asked too early is asked once more; told too early would be a promise broken.
            self.ask_again_at = asked_at + answer.wait.min(LONGEST_EMPTY);
            self.filled_at = now + answer.wait;
        }
    }

    /// Gives up what is held, when its time is over or `at_once`. A slice of which most was left was too large.
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

    /// Whether nothing is lost with it.
    pub(super) fn is_idle(&self, now: i64) -> bool {
        self.held == 0 && now >= self.ask_again_at
    }
}

#[cfg(test)]
#[path = "lease/tests.rs"]
mod tests;
