//! Redis killed, frozen, emptied, restarted, slow, full and read-only: no call fails because of it, none waits longer
//! than its budget, each limiter keeps its share, and all share again by themselves.

use super::{proxy::Proxy, *};

/// What a call may wait for Redis here: four times the default, so that a busy machine keeps it when Redis is well.
const BUDGET: Duration = Duration::from_millis(20);
/// What a busy machine may make of it.
const TEN_BUDGETS: Duration = Duration::from_millis(200);
/// What each of two limiters keeps alone of a limit of 400: half.
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
    let config = Config { budget: Span(BUDGET), ..Config::default() };
    [with(url, &config), with(url, &config)]
}

/// While Redis does not decide each limiter keeps its share, and nobody waits.
async fn shares_are_kept(limiters: &[Arc<dyn RateLimiter>], name: &str) {
    both_shared(limiters, false).await;
    let got = crowd(limiters, &limits(name), 16, 100).await;
    assert_eq!(got.admitted, 2 * SHARE, "{name}: {got:?}");
    assert!(got.longest < TEN_BUDGETS, "{name}: {got:?}");
}

/// All share again: one may take it all, and the other does not find it any more.
async fn is_whole_again(limiters: &[Arc<dyn RateLimiter>], name: &str) {
    both_shared(limiters, true).await;
    let patience = Instant::now();
    loop {
        let name = format!("{name} {:?}", patience.elapsed());
        let got = crowd(&limiters[..1], &limits(&name), 4, 200).await;
        let other = crowd(&limiters[1..], &limits(&name), 4, 20).await;
        // A busy machine lets a decision be late, which a share then decides.
        if (got.admitted, other.admitted) == (400, 0) {
            return;
        }
        assert!(patience.elapsed() < SOON, "{name}: {got:?}, {other:?}");
        both_shared(limiters, true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_restarted() {
    let mut redis = Redis::start(&[]);
    let limiters = pair(&redis.url());
    is_whole_again(&limiters, "before").await;
    redis.kill();
    shares_are_kept(&limiters, "killed").await;
    redis.launch();
    is_whole_again(&limiters, "restarted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_under_load() {
    let redis = Redis::start(&[]);
    let limiters = pair(&redis.url());
    is_whole_again(&limiters, "before").await;
    let under_load = {
        let limiters = limiters.clone();
        tokio::spawn(async move { crowd(&limiters, &limits("load"), 16, 2_000).await })
    };
    redis.signal("STOP");
    let got = under_load.await.unwrap();
    assert_eq!(got.admitted + got.refused, 32_000, "everybody was answered");
    // From Redis what there was, and once more from the shares: those do not know what was given out before.
    assert!(got.admitted <= 400 + 2 * SHARE, "{got:?}");
    assert!(got.longest < TEN_BUDGETS, "{got:?}");
    shares_are_kept(&limiters, "frozen").await;
    redis.signal("CONT");
    is_whole_again(&limiters, "thawed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn emptied() {
    let redis = Redis::start(&[]);
    let limiters = [patient(&redis.url()), patient(&redis.url())];
    both_shared(&limiters, true).await;
    assert_eq!(crowd(&limiters, &limits("k"), 16, 100).await.admitted, 400);
    redis.ask(&["FLUSHALL"]);
    redis.ask(&["SCRIPT", "FLUSH"]);
    // It is not asked about what it said is empty, for a second.
    sleep(Duration::from_millis(1_100)).await;
    let got = crowd(&limiters, &limits("k"), 16, 100).await;
    assert_eq!(got.admitted, 400, "a fresh bucket, and no call failed for want of the script");
    assert!(limiters.iter().all(|limiter| limiter.is_shared()));
}

#[tokio::test(flavor = "multi_thread")]
async fn slow() {
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
async fn read_only() {
    let redis = Redis::start(&[]);
    let limiters = pair(&redis.url());
    is_whole_again(&limiters, "before").await;
    // A primary that has lost its replicas refuses to write, and so does one that became a replica.
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
async fn full() {
    let redis = Redis::start(&["--maxmemory-policy", "noeviction"]);
    let limiters = pair(&redis.url());
    is_whole_again(&limiters, "before").await;
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    load(&limiters).await;
    shares_are_kept(&limiters, "full").await;
    redis.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    is_whole_again(&limiters, "with room").await;
}

/// Calls that notice.
async fn load(limiters: &[Arc<dyn RateLimiter>]) {
    let got = crowd(limiters, &limits("load"), 16, 50).await;
    assert_eq!(got.admitted + got.refused, 800, "everybody was answered: {got:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn away_from_the_start_and_found_later() {
    let mut redis = Redis::start(&["--requirepass", "secret"]);
    redis.kill();
    let limiters = pair(&redis.url().replace("127.0.0.1", ":secret@127.0.0.1"));
    shares_are_kept(&limiters, "never there").await;
    let ask = Ask { scope: "test", limits: &limits("refused"), away: Away::Refuse };
    assert_eq!(limiters[0].decide(&ask).decision().await.outcome, Outcome::Away, "where the policy says so");
    redis.launch();
    is_whole_again(&limiters, "found").await;
}
