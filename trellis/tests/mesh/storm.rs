//! Failing upstreams under load: how many calls fail, and how many attempts the gateway makes.

use std::time::Duration;

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::timeout;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{
    faulty_upstream::{Behavior, READ, Upstream, WRITE, call, load, mesh},
    harness::{Mesh, reason},
    replicas::sample,
};

/// The default of `balance.retry`: a share of the calls, and a constant number each second.
const SHARE: f64 = 0.2;
const PER_SECOND: f64 = 10.0;
/// How many seconds of the constant rate the budget can accumulate.
const SAVED: f64 = 10.0;
/// Consecutive failures that eject an endpoint.
const CONSECUTIVE: usize = 5;

async fn upstreams<const N: usize>(behaviors: [Behavior; N]) -> Vec<Upstream> {
    let mut upstreams = Vec::new();
    for behavior in behaviors {
        upstreams.push(Upstream::start(behavior).await);
    }
    upstreams
}

fn attempts(upstreams: &[Upstream]) -> usize {
    upstreams.iter().map(Upstream::attempts).sum()
}

/// Turns ejection off, so that only retries can hide the failing upstreams.
const NO_EJECTION: (&str, &str) = ("BALANCE__MOST_EJECTED_PERCENT", "0");

#[tokio::test(flavor = "multi_thread")]
async fn retries_stay_bounded_while_half_of_the_upstreams_fail() {
    let upstreams = upstreams([Behavior::Unavailable, Behavior::Unavailable, Behavior::Good, Behavior::Good]).await;
    let mesh = mesh(&upstreams, &[NO_EJECTION]).await;
    let count = load(&mesh, READ, 16, 250).await;
    let sent = attempts(&upstreams);
    let bound = count.calls() as f64 * (1.0 + SHARE) + PER_SECOND * (count.took.as_secs_f64() + SAVED);
    println!(
        "{sent} attempts for {} calls in {:?}, {} failed; {bound} are allowed",
        count.calls(),
        count.took,
        count.failed
    );
    assert!(sent as f64 <= bound, "{sent} attempts, {bound} are allowed");
    assert!(count.well > count.calls() / 2, "retries help: {count:?}");
    assert_eq!(
        sent - count.calls(),
        upstreams.iter().map(Upstream::repeats).sum::<usize>(),
        "each retry carries grpc-previous-rpc-attempts"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unavailable_service_gets_few_retries() {
    let upstreams = upstreams([Behavior::Unavailable; 2]).await;
    let mesh = mesh(&upstreams, &[]).await;
    let count = load(&mesh, READ, 16, 100).await;
    let bound = count.calls() as f64 * (1.0 + SHARE) + PER_SECOND * (count.took.as_secs_f64() + SAVED);
    assert_eq!(count.well, 0);
    assert!(attempts(&upstreams) as f64 <= bound, "{} attempts, {bound} are allowed", attempts(&upstreams));
}

#[tokio::test(flavor = "multi_thread")]
async fn non_idempotent_call_is_sent_once() {
    let upstreams = upstreams([Behavior::Unavailable, Behavior::Good]).await;
    let mesh = mesh(&upstreams, &[NO_EJECTION]).await;
    let count = load(&mesh, WRITE, 4, 50).await;
    assert_eq!(attempts(&upstreams), count.calls());
    assert_eq!(count.failed, upstreams[0].attempts());
}

#[tokio::test(flavor = "multi_thread")]
async fn server_pushback_prevents_a_retry() {
    let upstreams = upstreams([Behavior::PushedBack, Behavior::PushedBack]).await;
    let mesh = mesh(&upstreams, &[]).await;
    let count = load(&mesh, READ, 4, 50).await;
    assert_eq!((attempts(&upstreams), count.well), (count.calls(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn unprocessed_calls_are_retried_for_any_method() {
    // Streams above the last stream id of a GOAWAY, and refused streams.
    let upstreams = upstreams([Behavior::Leaving, Behavior::Leaving]).await;
    let mesh = mesh(&upstreams, &[]).await;
    let count = load(&mesh, WRITE, 8, 50).await;
    assert_eq!(count.failed, 0, "{count:?}");
    for upstream in &upstreams {
        upstream.set(Behavior::Good);
    }
    upstreams[0].set(Behavior::Refusing);
    let count = load(&mesh, WRITE, 2, 25).await;
    assert_eq!(count.failed, 0, "{count:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_upstream_is_ejected_after_a_few_calls() {
    for behavior in [Behavior::Unavailable, Behavior::Cut] {
        let upstreams = upstreams([behavior, Behavior::Good, Behavior::Good]).await;
        let mesh = mesh(&upstreams, &[]).await;
        let callers = 8;
        let count = load(&mesh, WRITE, callers, 200).await;
        // Calls in progress at the ejection fail too.
        let bound = CONSECUTIVE + callers;
        assert!((1..=bound).contains(&count.failed), "{behavior:?}: {count:?}, {bound} are allowed");
        assert!(ejections(&mesh).await > 0.5);
        let again = load(&mesh, WRITE, callers, 100).await;
        assert!(again.failed <= bound, "{behavior:?}: {again:?}");
    }
}

async fn ejections(mesh: &Mesh) -> f64 {
    sample(mesh, "balance_ejections_total{upstream=\"acme.v1.Shop\",reason=\"consecutive\"}").await
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_do_not_fail_while_one_upstream_fails() {
    for behavior in [Behavior::Unavailable, Behavior::Refusing] {
        let upstreams = upstreams([behavior, Behavior::Good, Behavior::Good]).await;
        let mesh = mesh(&upstreams, &[]).await;
        let count = load(&mesh, READ, 4, 200).await;
        assert_eq!(count.failed, 0, "{behavior:?}: {count:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_upstream_gets_few_calls() {
    let upstreams = upstreams([Behavior::Slow, Behavior::Good]).await;
    let mesh = mesh(&upstreams, &[]).await;
    let count = load(&mesh, READ, 8, 200).await;
    assert_eq!(count.failed, 0);
    let slow = upstreams[0].attempts();
    assert!(slow <= count.calls() / 10, "{slow} of {} calls waited", count.calls());
}

#[tokio::test(flavor = "multi_thread")]
async fn upstream_that_reports_not_serving_gets_no_new_calls() {
    let upstreams = upstreams([Behavior::NotServing, Behavior::Good]).await;
    let mesh = mesh(&upstreams, &[]).await;
    // Ten times the interval of the health checks.
    tokio::time::timeout(Duration::from_secs(10), async {
        while sample(&mesh, "balance_endpoints{upstream=\"acme.v1.Shop\",state=\"unwell\"}").await < 0.5 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("a health check reports it");
    let before = upstreams[0].attempts();
    let count = load(&mesh, WRITE, 8, 50).await;
    assert_eq!((count.failed, upstreams[0].attempts()), (0, before));

    upstreams[0].set(Behavior::Good);
    tokio::time::timeout(Duration::from_secs(60), async {
        while upstreams[0].attempts() == before {
            load(&mesh, WRITE, 2, 10).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("it gets calls again");
}

#[tokio::test(flavor = "multi_thread")]
async fn shed_call_is_not_sent_and_gets_a_retry_delay() {
    const CALLS: usize = 50;
    /// Of ten slots, a tenth is reserved for more important calls, a tenth of the rest for callers with a session, and a
    /// quarter of that for other callers: 9, 8, and 6.
    const ADMITTED: usize = 6;
    let upstreams = upstreams([Behavior::Held]).await;
    let limits = [("BALANCE__SHED__LEAST_CALLS", "10"), ("BALANCE__SHED__MOST_CALLS", "10")];
    let mesh = mesh(&upstreams, &limits).await;
    let channel = mesh.channel(mesh.ports.gateway).await;
    // No admitted call ends before all others are refused.
    let mut calls: FuturesUnordered<_> = (0..CALLS).map(|_| tokio::spawn(call(channel.clone(), READ))).collect();
    let mut refused = Vec::new();
    while refused.len() + upstreams[0].attempts() < CALLS {
        if let Ok(Some(ended)) = timeout(Duration::from_millis(20), calls.next()).await {
            refused.push(ended.unwrap().expect_err("the upstream holds the admitted calls"));
        }
    }
    assert_eq!((upstreams[0].attempts(), refused.len()), (ADMITTED, CALLS - ADMITTED));
    upstreams[0].release();
    while let Some(ended) = calls.next().await {
        ended.unwrap().expect("an admitted call succeeds");
    }
    for status in &refused {
        assert_eq!((status.code(), reason(status).as_str()), (Code::Unavailable, "OVERLOADED"), "{status:?}");
        let delay = status.get_error_details().retry_info().unwrap().retry_delay.unwrap();
        assert!((Duration::from_millis(500)..=Duration::from_millis(1_500)).contains(&delay), "{delay:?}");
        let pushback: u64 = status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap().parse().unwrap();
        assert_eq!(u128::from(pushback), delay.as_millis());
    }
    let shed = sample(&mesh, "overload_shed_total{upstream=\"acme.v1.Shop\",priority=\"normal\"}").await;
    assert!((shed - (CALLS - ADMITTED) as f64).abs() < 0.5, "{shed}");
}
