//! The retry budget: a percentage of the calls plus a constant rate. It bounds the extra load on a failing upstream.
//! Pure: the time is an argument.

use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

/// The cost of one retry, so that fractions are whole numbers.
const ONE: i64 = 1_000;
/// Unused budget is capped at this many seconds of the constant rate: a quiet hour must not allow a retry storm.
const SAVED_SECONDS: i64 = 10;

/// A balance that calls pay into and retries take from.
pub struct RetryBudget {
    balance: AtomicI64,
    /// Until when the constant rate has been paid in.
    paid: Mutex<Instant>,
    share: i64,
    per_second: i64,
    most: i64,
}

impl RetryBudget {
    /// Allows retries of `percent` of the calls, plus `per_second`.
    pub fn new(percent: u32, per_second: u32, now: Instant) -> Self {
        let per_second = i64::from(per_second) * ONE;
        let most = (per_second * SAVED_SECONDS).max(SAVED_SECONDS * ONE);
        let share = i64::from(percent) * ONE / 100;
        Self { balance: AtomicI64::new(per_second.min(most)), paid: Mutex::new(now), share, per_second, most }
    }

    /// Records the first attempt of a call.
    pub fn pay_in(&self) {
        self.add(self.share);
    }

    /// Takes the cost of one retry, if it is available.
    pub fn take(&self, now: Instant) -> bool {
        self.refill(now);
        let enough = |balance: i64| balance.checked_sub(ONE).filter(|left| *left >= 0);
        self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough).is_ok()
    }

    /// The number of retries available.
    pub fn left(&self) -> u32 {
        u32::try_from(self.balance.load(Ordering::Relaxed) / ONE).unwrap_or(0)
    }

    fn add(&self, what: i64) {
        let balance = self.balance.fetch_add(what, Ordering::Relaxed);
        if balance + what > self.most {
            self.balance.fetch_min(self.most, Ordering::Relaxed);
        }
    }

    fn refill(&self, now: Instant) {
        let mut paid = self.paid.lock();
        let millis = i64::try_from(now.saturating_duration_since(*paid).as_millis()).unwrap_or(i64::MAX);
        let due = self.per_second.saturating_mul(millis) / 1_000;
        // Fractions of a unit are paid in later.
        if due > 0 {
            *paid = now;
            self.add(due.min(self.most));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rng::Rng;

    #[test]
    fn retries_stay_within_share_and_constant_rate() {
        for seed in 0..200 {
            let chance = Rng::seeded(seed);
            let (percent, per_second) = (chance.below(60) as u32, chance.below(20) as u32);
            let start = Instant::now();
            let budget = RetryBudget::new(percent, per_second, start);
            let (mut now, mut calls, mut retries) = (start, 0_u32, 0_u32);
            for _ in 0..3_000 {
                now += Duration::from_micros(chance.next() % 20_000);
                calls += 1;
                budget.pay_in();
                // All calls fail and request several retries.
                for _ in 0..chance.below(4) {
                    retries += u32::from(budget.take(now));
                }
            }
            let seconds = now.duration_since(start).as_secs_f64();
            let bound = f64::from(calls) * f64::from(percent) / 100.0 + f64::from(per_second) * (seconds + 1.0);
            assert!(f64::from(retries) <= bound + 1.0, "seed {seed}: {retries} of {calls}, and {bound} are allowed");
        }
    }

    #[test]
    fn unused_budget_is_capped() {
        let start = Instant::now();
        let budget = RetryBudget::new(20, 10, start);
        for _ in 0..1_000_000 {
            budget.pay_in();
        }
        let later = start + Duration::from_secs(3_600);
        assert_eq!((0..10_000).filter(|_| budget.take(later)).count(), 100);
        assert_eq!(budget.left(), 0);
    }

    #[test]
    fn constant_rate_allows_retries_without_traffic() {
        let start = Instant::now();
        let budget = RetryBudget::new(0, 2, start);
        let taken = |millis| (0..10).filter(|_| budget.take(start + Duration::from_millis(millis))).count();
        assert_eq!([taken(0), taken(400), taken(500), taken(1_500)], [2, 0, 1, 2]);
    }
}
