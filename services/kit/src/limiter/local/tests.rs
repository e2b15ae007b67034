use std::{sync::Arc, time::Duration};

use super::{
    super::{Ask, BucketKey, Decision, FailureMode, Limit, Outcome, Quota},
    LocalLimiter,
};
use crate::time::{ManualClock, Timestamp};

const MINUTE: Duration = Duration::from_secs(60);

fn limiter(share: f64) -> (LocalLimiter, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_000_000_000)));
    (LocalLimiter::with_share(clock.clone(), share), clock)
}

fn limit(key: &str, quota: Quota, cost: u32) -> Limit {
    Limit { key: BucketKey::new(&[key.as_bytes()]), quota, cost }
}

fn take(limiter: &LocalLimiter, limits: &[Limit]) -> Decision {
    limiter.take(&Ask { scope: "test", limits, failure_mode: FailureMode::Local })
}

fn wait(decision: Decision) -> Option<Duration> {
    match decision.outcome {
        Outcome::Admitted => None,
        Outcome::Refused { retry_after } => Some(retry_after),
        Outcome::Unavailable => panic!("a local limiter is never away"),
    }
}

#[test]
fn burst_is_admitted_and_next_call_is_refused() {
    let (limiter, _clock) = limiter(1.0);
    let (one, other) = (limit("k", Quota::new(60, MINUTE, 5), 1), limit("other", Quota::new(60, MINUTE, 5), 1));
    for left in (0..5).rev() {
        let decision = take(&limiter, &[one]);
        assert!(decision.is_admitted());
        assert_eq!(
            (decision.limit_states[0].left, decision.limit_states[0].reset),
            (left, Duration::from_secs(5 - u64::from(left)))
        );
    }
    assert_eq!(wait(take(&limiter, &[one])), Some(Duration::from_secs(1)));
    assert!(take(&limiter, &[other]).is_admitted());
}

#[test]
fn call_after_retry_delay_is_admitted() {
    let (limiter, clock) = limiter(1.0);
    for round in 0..50_u32 {
        let one = [limit("k", Quota::new(7, MINUTE, 3), 1 + round % 3)];
        if let Some(retry_after) = wait(take(&limiter, &one)) {
            clock.advance(retry_after);
            assert!(take(&limiter, &one).is_admitted(), "round {round}");
        }
    }
}

#[test]
fn call_takes_all_of_its_limits_or_none() {
    let (limiter, clock) = limiter(1.0);
    let (wide, narrow) = (limit("wide", Quota::new(60, MINUTE, 5), 1), limit("narrow", Quota::new(1, MINUTE, 1), 1));
    assert!(take(&limiter, &[wide, narrow]).is_admitted());
    for _ in 0..10 {
        assert_eq!(wait(take(&limiter, &[wide, narrow])), Some(MINUTE));
    }
    for _ in 0..4 {
        assert!(take(&limiter, &[wide]).is_admitted(), "refusals take nothing");
    }
    assert_eq!(wait(take(&limiter, &[wide, narrow])), Some(MINUTE), "the longer of two waits");
    clock.advance(MINUTE);
    assert!(take(&limiter, &[wide, narrow]).is_admitted());
}

#[test]
fn count_period_starts_with_the_first_call() {
    let (limiter, clock) = limiter(1.0);
    let day = Duration::from_secs(86_400);
    let one = [limit("k", Quota::count(3, day), 1)];
    assert!(take(&limiter, &one).is_admitted());
    clock.advance(day / 2);
    for _ in 0..2 {
        assert!(take(&limiter, &one).is_admitted());
    }
    assert_eq!(wait(take(&limiter, &one)), Some(day / 2), "nothing flows back within the period");
    clock.advance(day / 2);
    for left in (0..3).rev() {
        assert_eq!(take(&limiter, &one).limit_states[0].left, left);
    }
    assert_eq!(wait(take(&limiter, &one)), Some(day));
}

#[test]
fn share_applies_to_all_quotas_and_is_at_least_one() {
    let (limiter, _clock) = limiter(0.25);
    let admitted = |one: Limit| (0..1_000).filter(|_| take(&limiter, &[one]).is_admitted()).count();
    assert_eq!(admitted(limit("rate", Quota::new(400, MINUTE, 40), 1)), 10);
    assert_eq!(admitted(limit("count", Quota::count(400, MINUTE), 1)), 100);
    assert_eq!(admitted(limit("small", Quota::new(2, MINUTE, 2), 1)), 1);
    assert_eq!(admitted(limit("dear", Quota::new(8, MINUTE, 8), 4)), 1, "a call whose cost exceeds the share");
}
