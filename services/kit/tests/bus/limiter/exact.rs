//! Limits that are never leased: the number of admitted calls is exact.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_at_two_limiters_get_exactly_the_quota() {
    let redis = Redis::start(&[]);
    let limiters = [patient(&redis.url()), patient(&redis.url())];
    for limiter in &limiters {
        until_shared(&**limiter, true).await;
    }
    // 500 flow back per hour: none during this test, even on a machine ten times as slow.
    let rate = [limit("rate", Quota::new(500, HOUR, 300))];
    let of_rate = crowd(&limiters, &rate, CALLERS, 20).await;
    assert_eq!((of_rate.admitted, of_rate.refused), (300, 980), "{of_rate:?}");
    let count = [limit("count", Quota::count(300, HOUR))];
    let of_count = crowd(&limiters, &count, CALLERS, 20).await;
    assert_eq!((of_count.admitted, of_count.refused), (300, 980), "{of_count:?}");
    // Several limits of one call: the narrowest decides, and refusals take nothing from the others.
    let both = [limit("wide", Quota::new(900, HOUR, 900)), limit("narrow", Quota::new(200, HOUR, 200))];
    let of_both = crowd(&limiters, &both, CALLERS, 20).await;
    assert_eq!(of_both.admitted, 200, "{of_both:?}");
    let rest = crowd(&limiters, &both[..1], CALLERS, 20).await;
    assert_eq!(rest.admitted, 700, "{rest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn call_after_retry_delay_is_admitted() {
    let redis = Redis::start(&[]);
    let limiters = [patient(&redis.url()), patient(&redis.url())];
    for limiter in &limiters {
        until_shared(&**limiter, true).await;
    }
    // 10 per second, 2 at once; and a count of 5 in two seconds.
    let both =
        [limit("a", Quota::new(10, Duration::from_secs(1), 2)), limit("b", Quota::count(5, Duration::from_secs(2)))];
    let mut waits = 0;
    for round in 0..12 {
        let limiter = &limiters[round % 2];
        let mut decision = decide(&**limiter, &both).await;
        if let Some(retry_after) = wait(&decision) {
            waits += 1;
            sleep(retry_after).await;
            decision = decide(&*limiters[(round + 1) % 2], &both).await;
        }
        assert!(decision.is_admitted(), "round {round}: {decision:?}");
    }
    assert!(waits >= 5, "{waits}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_hashed_and_expire_when_their_bucket_is_full() {
    let redis = Redis::start(&[]);
    let limiter = patient(&redis.url());
    until_shared(&*limiter, true).await;
    let secret = "sk-live-hunter2".repeat(100);
    let limits = [limit(&secret, Quota::new(10, Duration::from_secs(1), 10))];
    assert!(decide(&*limiter, &limits).await.is_admitted());
    let keys = redis.ask(&["KEYS", "trellis:{limit:test}:*"]);
    assert!(keys.contains("trellis:{limit:test}:") && !keys.contains("hunter2"), "{keys}");
    assert!(keys.len() < 100, "{keys}");
    // One of ten per second: the bucket is full again after 100 ms.
    let gone = async {
        while !redis.ask(&["KEYS", "trellis:{limit:test}:*"]).starts_with("*0") && redis.ask(&["DBSIZE"]) != "0" {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, gone).await.expect("nothing is left in Redis");
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_reports_the_remaining_quota() {
    let redis = Redis::start(&[]);
    let limiter = patient(&redis.url());
    until_shared(&*limiter, true).await;
    let both = [limit("rate", Quota::new(60, HOUR, 60)), limit("count", Quota::count(9, HOUR))];
    let decision = decide(&*limiter, &both).await;
    let [rate, count, ..] = decision.limit_states;
    assert_eq!((rate.left, count.left), (59, 8));
    assert!(rate.reset > MINUTE - Duration::from_secs(10) && rate.reset <= MINUTE, "{rate:?}");
    assert!(count.reset > HOUR - Duration::from_secs(10) && count.reset <= HOUR, "{count:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_calls_take_no_more_than_their_cost() {
    let redis = Redis::start(&[]);
    let limiter = patient(&redis.url());
    until_shared(&*limiter, true).await;
    let limits = [limit("k", Quota::new(100, HOUR, 100))];
    for _ in 0..50 {
        // Polled once, which sends the request, and dropped.
        timeout(Duration::ZERO, decide(&*limiter, &limits)).await.ok();
    }
    let rest = crowd(&[limiter], &limits, CALLERS, 20).await;
    assert!((50..=100).contains(&rest.admitted), "at most the requested cost is gone: {rest:?}");
}
