//! Streams that several limiters count together.

use kit::limiter::{Hold, StreamAsk, TooMany};

use super::*;

/// Records are renewed every ten seconds and valid for thirty; with tolerance for a busy machine.
const RENEWED: Duration = Duration::from_secs(90);

async fn open(limiter: &dyn RateLimiter, most: u32) -> Result<Hold, TooMany> {
    limiter
        .open_stream(StreamAsk { scope: "test", key: BucketKey::new(&[b"k"]), most, failure_mode: FailureMode::Local })
        .await
}

/// Waits until one more stream may be opened.
async fn until_open(limiter: &dyn RateLimiter, most: u32) -> Hold {
    let trying = async {
        loop {
            match open(limiter, most).await {
                Ok(hold) => return hold,
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    };
    timeout(RENEWED, trying).await.expect("a place becomes free")
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_counted_together_and_restored() {
    let redis = Redis::start(&[]);
    let [a, b] = [patient(&redis.url()), patient(&redis.url())];
    until_shared(&*a, true).await;
    until_shared(&*b, true).await;
    let mut of_a = vec![open(&*a, 3).await.unwrap(), open(&*a, 3).await.unwrap()];
    let of_b = open(&*b, 3).await.unwrap();
    assert_eq!(open(&*b, 3).await.err(), Some(TooMany::Open));
    assert_eq!(open(&*a, 3).await.err(), Some(TooMany::Open));
    of_a.pop();
    let another_of_b = until_open(&*b, 3).await;
    assert_eq!(open(&*a, 3).await.err(), Some(TooMany::Open));

    // Redis is emptied: each process records its streams again.
    redis.ask(&["FLUSHALL"]);
    let known = async {
        while !redis.ask(&["KEYS", "*streams*"]).contains("streams test") {
            sleep(Duration::from_millis(50)).await;
        }
        sleep(Duration::from_secs(1)).await;
    };
    timeout(RENEWED, known).await.expect("open streams are recorded again");
    drop((of_b, another_of_b, of_a));
    until_gone(&redis).await;
}

async fn until_gone(redis: &Redis) {
    let gone = async {
        while redis.ask(&["KEYS", "*streams*"]).contains("streams test") {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(RENEWED, gone).await.expect("closed streams leave no record");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_a_dead_process_become_free() {
    let redis = Redis::start(&[]);
    let [dying, other] = [patient(&redis.url()), patient(&redis.url())];
    until_shared(&*dying, true).await;
    until_shared(&*other, true).await;
    let _held = [open(&*dying, 2).await.unwrap(), open(&*dying, 2).await.unwrap()];
    // Its tasks end with it and return nothing.
    drop(dying);
    assert_eq!(open(&*other, 2).await.err(), Some(TooMany::Open));
    let since = Instant::now();
    until_open(&*other, 2).await;
    assert!(since.elapsed() > Duration::from_secs(10), "not after a short interruption");
}

/// Regression: a number that changed while Redis was slow was never sent, so the streams counted for another 30 s.
#[tokio::test(flavor = "multi_thread")]
async fn streams_of_a_stopped_process_are_free_after_a_slow_redis() {
    let redis = Redis::start(&[]);
    let [stopping, other] = [patient(&redis.url()), patient(&redis.url())];
    until_shared(&*stopping, true).await;
    until_shared(&*other, true).await;
    let [closed, held] = [open(&*stopping, 2).await.unwrap(), open(&*stopping, 2).await.unwrap()];
    redis.signal("STOP");
    // Late responses close the connection.
    let late = ["a", "b", "c", "d", "e"].map(|key| limit(key, Quota::new(1, MINUTE, 1)));
    futures_util::future::join_all(late.iter().map(|limit| decide(&*stopping, std::slice::from_ref(limit)))).await;
    until_shared(&*stopping, false).await;
    drop(closed);
    // Time to send the change in vain.
    sleep(Duration::from_millis(100)).await;
    redis.signal("CONT");
    until_shared(&*stopping, true).await;
    until_shared(&*other, true).await;
    // Long before the lease ends.
    let soon = Duration::from_secs(10);
    let first = timeout(soon, until_open(&*other, 2)).await.expect("the ended stream is free");
    assert_eq!(open(&*other, 2).await.err(), Some(TooMany::Open), "the other stream is open");
    // The process stops and cuts it off.
    stopping.close().await;
    let second = timeout(soon, until_open(&*other, 2)).await.expect("the cut stream is free");
    drop((stopping, held, first, second));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_limiter_grants_its_share() {
    let mut redis = Redis::start(&[]);
    let limiter = with(&redis.url(), &LimiterConfig::default());
    until_shared(&*limiter, true).await;
    redis.kill();
    until_shared(&*limiter, false).await;
    let held = [open(&*limiter, 4).await.unwrap(), open(&*limiter, 4).await.unwrap()];
    assert_eq!(open(&*limiter, 4).await.err(), Some(TooMany::Open), "half of four");
    let refuse =
        StreamAsk { scope: "test", key: BucketKey::new(&[b"other"]), most: 4, failure_mode: FailureMode::Refuse };
    assert_eq!(limiter.open_stream(refuse).await.err(), Some(TooMany::Unavailable));
    redis.launch();
    until_shared(&*limiter, true).await;
    let _two_more = [until_open(&*limiter, 4).await, until_open(&*limiter, 4).await];
    assert_eq!(open(&*limiter, 4).await.err(), Some(TooMany::Open));
    drop(held);
}
