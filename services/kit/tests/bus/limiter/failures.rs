//! Redis killed, frozen, emptied, restarted, slow, full and read-only: no call fails because of it or waits longer than
//! its budget, each limiter grants its share, and all share again after recovery.

use super::{proxy::Proxy, *};

/// The time that a call may wait for Redis: four times the default, so that a busy machine meets it while Redis is
/// healthy.
const BUDGET: Duration = Duration::from_millis(20);
/// The tolerance for a busy machine.
const TEN_BUDGETS: Duration = Duration::from_millis(200);
/// The share of each of two limiters in a limit of 400: half.
const SHARE: u32 = 200;

fn limits(name: &str) -> [Limit; 1] {
    [limit(name, Quota::new(400, HOUR, 400))]
}

async fn both_shared(limiters: &[Arc<dyn RateLimiter>], wanted: bool) {
    for limiter in limiters {
        until_shared(&**limiter, wanted).await;
    }
}

fn pair(url: &str) -> [Arc<dyn RateLimiter>; 2] {
    let config = LimiterConfig { budget: Span(BUDGET), ..LimiterConfig::default() };
    [with(url, &config), with(url, &config)]
}

/// While Redis does not decide, each limiter grants its share, and no call waits.
async fn shares_are_kept(limiters: &[Arc<dyn RateLimiter>], name: &str) {
    both_shared(limiters, false).await;
    let got = crowd(limiters, &limits(name), 16, 100).await;
    assert_eq!(got.admitted, 2 * SHARE, "{name}: {got:?}");
    assert!(got.longest < TEN_BUDGETS, "{name}: {got:?}");
}

/// The limiters share again: one can take the whole limit, and the other finds nothing.
async fn is_whole_again(limiters: &[Arc<dyn RateLimiter>], name: &str) {
    both_shared(limiters, true).await;
    let started = Instant::now();
    loop {
        let name = format!("{name} {:?}", started.elapsed());
        let got = crowd(&limiters[..1], &limits(&name), 4, 200).await;
        let other = crowd(&limiters[1..], &limits(&name), 4, 20).await;
        // On a busy machine a decision may be late, and the share then decides.
        if (got.admitted, other.admitted) == (400, 0) {
            return;
        }
        assert!(started.elapsed() < SOON, "{name}: {got:?}, {other:?}");
        both_shared(limiters, true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limiter_survives_a_killed_and_restarted_redis() {
    let mut redis = Redis::start(&[]);
    let limiters = pair(&redis.url());
    is_whole_again(&limiters, "before").await;
    redis.kill();
    shares_are_kept(&limiters, "killed").await;
    redis.launch();
    is_whole_again(&limiters, "restarted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limiter_survives_a_redis_frozen_under_load() {
    let redis = Redis::start(&[]);
    let limiters = pair(&redis.url());
    is_whole_again(&limiters, "before").await;
    let under_load = {
        let limiters = limiters.clone();
        tokio::spawn(async move { crowd(&limiters, &limits("load"), 16, 2_000).await })
    };
    redis.signal("STOP");
    let got = under_load.await.unwrap();
    assert_eq!(got.admitted + got.refused, 32_000, "each call was decided");
    // At most the whole limit from Redis, plus the shares, which ignore what Redis granted before.
    assert!(got.admitted <= 400 + 2 * SHARE, "{got:?}");
    assert!(got.longest < TEN_BUDGETS, "{got:?}");
    shares_are_kept(&limiters, "frozen").await;
    redis.signal("CONT");
    is_whole_again(&limiters, "thawed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limiter_survives_an_emptied_redis() {
    let redis = Redis::start(&[]);
    let limiters = [patient(&redis.url()), patient(&redis.url())];
    both_shared(&limiters, true).await;
    assert_eq!(crowd(&limiters, &limits("k"), 16, 100).await.admitted, 400);
    redis.ask(&["FLUSHALL"]);
    redis.ask(&["SCRIPT", "FLUSH"]);
    // For a second the limiter treats the bucket as known to be empty.
    sleep(Duration::from_millis(1_100)).await;
    let got = crowd(&limiters, &limits("k"), 16, 100).await;
    assert_eq!(got.admitted, 400, "a fresh bucket, and no call fails because the script is missing");
    assert!(limiters.iter().all(|limiter| limiter.is_shared()));
}

#[tokio::test(flavor = "multi_thread")]
async fn limiter_survives_a_slow_redis() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::start(redis.port).await;
    let limiters = pair(&proxy.url);
    is_whole_again(&limiters, "before").await;
    proxy.delay(Duration::from_millis(300));
    let got = crowd(&limiters, &limits("slow"), 16, 100).await;
    assert_eq!(got.admitted + got.refused, 1_600);
    assert!(got.longest < TEN_BUDGETS, "{got:?}");
    shares_are_kept(&limiters, "still slow").await;
    proxy.delay(Duration::ZERO);
    is_whole_again(&limiters, "fast").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limiter_survives_a_read_only_redis() {
    let redis = Redis::start(&[]);
    let limiters = pair(&redis.url());
    is_whole_again(&limiters, "before").await;
    // A primary without its replicas refuses writes, and so does a node that became a replica.
    redis.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    load(&limiters).await;
    shares_are_kept(&limiters, "no replicas").await;
    redis.ask(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    is_whole_again(&limiters, "with replicas").await;
    redis.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    load(&limiters).await;
    shares_are_kept(&limiters, "a replica").await;
    redis.ask(&["REPLICAOF", "NO", "ONE"]);
    is_whole_again(&limiters, "a primary").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limiter_survives_a_full_redis() {
    let redis = Redis::start(&["--maxmemory-policy", "noeviction"]);
    let limiters = pair(&redis.url());
    is_whole_again(&limiters, "before").await;
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    load(&limiters).await;
    shares_are_kept(&limiters, "full").await;
    redis.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    is_whole_again(&limiters, "with room").await;
}

/// Calls that make the limiters notice the failure.
async fn load(limiters: &[Arc<dyn RateLimiter>]) {
    let got = crowd(limiters, &limits("load"), 16, 50).await;
    assert_eq!(got.admitted + got.refused, 800, "each call was decided: {got:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limiter_finds_a_redis_that_starts_later() {
    let mut redis = Redis::start(&["--requirepass", "secret"]);
    redis.kill();
    let limiters = pair(&redis.url().replace("127.0.0.1", ":secret@127.0.0.1"));
    shares_are_kept(&limiters, "never there").await;
    let ask = Ask { scope: "test", limits: &limits("refused"), failure_mode: FailureMode::Refuse };
    assert_eq!(
        limiters[0].decide(&ask).decision().await.outcome,
        Outcome::Unavailable,
        "the failure mode refuses the call"
    );
    redis.launch();
    is_whole_again(&limiters, "found").await;
}
