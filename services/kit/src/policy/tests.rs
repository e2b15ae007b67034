//! One test for each field of a rule or limit: setting it changes the decision. `proto/build/enforced.rs` names them.

use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::{
    access::{Proof, authorise},
    context::{Caller, User},
    limiter::{Ask, BucketKey, Limit, LocalLimiter, RateLimiter as _, StreamAsk},
    time::{ManualClock, Timestamp},
};

fn proof(user: bool, service: Option<&str>) -> Proof {
    let expires = Timestamp::from_micros(0);
    let user = user.then(|| User { id: Uuid::nil(), session: Uuid::nil(), roles: vec![], scopes: vec![], expires });
    let caller = Caller { user, service: service.map(str::to_owned), ..Caller::default() };
    Proof { caller, failure: None, rejected: None }
}

/// Whether a caller without credential, a user and a service may call.
fn admits(rule: Rule) -> [bool; 3] {
    let access = Access::from(rule);
    [proof(false, None), proof(true, None), proof(false, Some("auth"))].map(|proof| authorise(&access, &proof).is_ok())
}

#[test]
fn public_access_admits_all_callers() {
    assert_eq!(admits(Rule::Public(wire::Public {})), [true, true, true]);
}

#[test]
fn signed_in_access_admits_only_users() {
    assert_eq!(admits(Rule::SignedIn(wire::SignedIn::default())), [false, true, false]);
}

#[test]
fn internal_access_admits_only_services() {
    let callers = vec!["auth".to_owned()];
    assert_eq!(admits(Rule::Internal(wire::Internal { callers })), [false, false, true]);
}

#[test]
fn callers_of_an_internal_method_are_those_it_names() {
    let access = |name: &str| Access::from(Rule::Internal(wire::Internal { callers: vec![name.to_owned()] }));
    assert!(authorise(&access("auth"), &proof(false, Some("auth"))).is_ok());
    assert!(authorise(&access("users"), &proof(false, Some("auth"))).is_err());
}

/// Six per minute.
fn six() -> wire::RateLimit {
    let period = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    wire::RateLimit { requests: 6, period, ..wire::RateLimit::default() }
}

/// The number of calls admitted at once, and then after `seconds`.
async fn admitted(limit: &wire::RateLimit, seconds: u64) -> [u32; 2] {
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_000_000_000)));
    let limiter = LocalLimiter::new(clock.clone());
    let RateLimit { quota, cost, .. } = RateLimit::from(limit);
    let limits = [Limit { key: BucketKey::new(&[b"k"]), quota, cost }];
    let ask = Ask { scope: "test", limits: &limits, failure_mode: FailureMode::Local };
    let mut counts = [0; 2];
    for count in &mut counts {
        while limiter.decide(&ask).decision().await.is_admitted() {
            *count += 1;
        }
        clock.advance(Duration::from_secs(seconds));
    }
    counts
}

#[tokio::test]
async fn requests_of_a_rate_limit_are_counted() {
    assert_eq!(admitted(&six(), 60).await, [6, 6]);
    assert_eq!(admitted(&wire::RateLimit { requests: 3, ..six() }, 60).await, [3, 3]);
}

#[tokio::test]
async fn period_of_a_rate_limit_is_how_long_it_takes_to_refill() {
    assert_eq!(admitted(&six(), 10).await, [6, 1]);
    let period = Some(prost_types::Duration { seconds: 6, nanos: 0 });
    assert_eq!(admitted(&wire::RateLimit { period, ..six() }, 3).await, [6, 3]);
}

#[tokio::test]
async fn burst_of_a_rate_limit_bounds_what_comes_at_once() {
    assert_eq!(admitted(&wire::RateLimit { burst: 2, ..six() }, 60).await, [2, 2]);
}

#[tokio::test]
async fn cost_of_a_rate_limit_is_taken_by_each_call() {
    assert_eq!(admitted(&wire::RateLimit { cost: 3, ..six() }, 60).await, [2, 2]);
}

#[tokio::test]
async fn kind_of_a_rate_limit_is_how_it_counts() {
    assert_eq!(admitted(&six(), 30).await, [6, 3]);
    let count = wire::RateLimit { kind: wire::RateLimitKind::Count.into(), ..six() };
    assert_eq!(admitted(&count, 30).await, [6, 0], "the period of a count ends as a whole");
}

#[test]
fn header_of_a_rate_limit_is_what_is_counted_by() {
    let limit = |header: &str| {
        let key = wire::RateLimitKey::Header.into();
        RateLimit::from(&wire::RateLimit { key, header: header.to_owned(), ..six() }).by
    };
    assert_eq!(
        (limit("x-tenant"), limit("x-team")),
        (By::Header("x-tenant".to_owned()), By::Header("x-team".to_owned()))
    );
}

/// The number of streams that may be open at once.
async fn open(limit: &wire::StreamLimit) -> usize {
    let limiter = LocalLimiter::new(Arc::new(ManualClock::new(Timestamp::from_micros(0))));
    let most = StreamLimit::from(limit).streams;
    let mut held = Vec::new();
    while let Ok(hold) = limiter
        .open_stream(StreamAsk { scope: "test", key: BucketKey::new(&[b"k"]), most, failure_mode: FailureMode::Local })
        .await
    {
        held.push(hold);
    }
    held.len()
}

#[tokio::test]
async fn streams_of_a_stream_limit_are_counted() {
    for streams in [1, 3] {
        assert_eq!(open(&wire::StreamLimit { streams, ..wire::StreamLimit::default() }).await, streams as usize);
    }
}

#[test]
fn key_of_a_stream_limit_is_proved() {
    let by = |key: wire::RateLimitKey| StreamLimit::from(&wire::StreamLimit { streams: 1, key: key.into() }).by;
    assert_eq!(by(wire::RateLimitKey::Unspecified), By::Caller);
    assert_eq!((by(wire::RateLimitKey::Address), by(wire::RateLimitKey::Session)), (By::Address, By::Session));
    for made_up in [wire::RateLimitKey::Header, wire::RateLimitKey::ApiKey] {
        assert_eq!(by(made_up), By::Caller);
    }
}

/// Protocols that convert messages need the types of a method.
#[test]
fn every_method_with_a_policy_keeps_its_descriptor() {
    let table = Table::from_descriptors(proto::DESCRIPTORS).unwrap();
    assert!(table.iter().count() > 0);
    for (path, policy) in table.iter() {
        let descriptor = table.descriptor(path).unwrap();
        assert_eq!(path_of(&descriptor), path);
        assert_eq!(is_idempotent(&descriptor), policy.idempotent, "{path}");
    }
    assert!(table.descriptor("/trellis.users.v1.UsersService/Unknown").is_none());
    assert!(table.descriptors().count() >= table.iter().count());
}
