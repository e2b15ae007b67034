//! The order in which numbers reach Redis, with a fake connection and a paused clock.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex as Lock;
use tokio::{
    sync::Notify,
    time::{Instant, advance},
};

use super::*;

/// A connection whose responses wait while it is slow. It stores a number when it responds.
#[derive(Default)]
struct FakeRedis {
    is_down: AtomicBool,
    is_slow: AtomicBool,
    resumed: Notify,
    /// Whether the next response is late: the number is stored before.
    is_late: AtomicBool,
    responded: Notify,
    asked: AtomicUsize,
    stored: Lock<Vec<i64>>,
}

impl RunScript for FakeRedis {
    fn is_up(&self) -> bool {
        !self.is_down.load(Ordering::SeqCst)
    }

    async fn run(&self, _script: &LuaScript, call: &ScriptCall) -> Result<Value, Failed> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        // Only this request is slow: a later one would overtake it.
        if self.is_slow.swap(false, Ordering::SeqCst) {
            self.resumed.notified().await;
        }
        self.stored.lock().push(call.count());
        if self.is_late.swap(false, Ordering::SeqCst) {
            self.responded.notified().await;
        }
        Ok(Value::Int(1))
    }
}

impl FakeRedis {
    /// Waits until so many requests have been sent.
    async fn asked(&self, requests: usize) {
        while self.asked.load(Ordering::SeqCst) < requests {
            tokio::task::yield_now().await;
        }
    }

    fn last(&self) -> Option<i64> {
        self.stored.lock().last().copied()
    }
}

async fn open(shared: &SharedStreams<FakeRedis>) -> Hold {
    let ask = StreamAsk { scope: "test", key: BucketKey::new(&[b"k"]), most: 9, failure_mode: FailureMode::Local };
    shared.open(&ask).await.unwrap()
}

/// Regression: a renewal that had read the numbers before `close` replaced the stored 0 for the length of a lease.
#[tokio::test(start_paused = true)]
async fn renewal_in_progress_does_not_undo_the_close() {
    let redis = Arc::new(FakeRedis::default());
    let shared = SharedStreams::new(Arc::clone(&redis), "me".to_owned(), 0.5);
    let keeping = tokio::spawn(Arc::clone(&shared).keep());
    let held = [open(&shared).await, open(&shared).await];
    redis.is_slow.store(true, Ordering::SeqCst);
    advance(RENEWAL).await;
    redis.asked(3).await;
    let closing = tokio::spawn({
        let shared = Arc::clone(&shared);
        async move { shared.close().await }
    });
    // The close does all that it can do before the renewal ends.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    redis.resumed.notify_one();
    closing.await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(redis.last(), Some(0), "{:?}", redis.stored.lock());
    drop(held);
    keeping.abort();
}

/// Regression: Redis kept the lower number until the next renewal.
#[tokio::test(start_paused = true)]
async fn streams_that_open_at_once_are_all_counted() {
    let redis = Arc::new(FakeRedis::default());
    let shared = SharedStreams::new(Arc::clone(&redis), "me".to_owned(), 0.5);
    let keeping = tokio::spawn(Arc::clone(&shared).keep());
    // The first renewal has nothing to send.
    tokio::task::yield_now().await;
    redis.is_slow.store(true, Ordering::SeqCst);
    let later = async {
        redis.asked(1).await;
        let second = open(&shared).await;
        redis.resumed.notify_one();
        second
    };
    let held = tokio::join!(open(&shared), later);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(redis.last(), Some(2), "{:?}", redis.stored.lock());
    drop(held);
    keeping.abort();
}

/// Regression: the acknowledgement of the higher number ended the repetition.
#[tokio::test(start_paused = true)]
async fn lower_number_that_is_stored_last_is_replaced() {
    let redis = Arc::new(FakeRedis::default());
    let shared = SharedStreams::new(Arc::clone(&redis), "me".to_owned(), 0.5);
    redis.is_slow.store(true, Ordering::SeqCst);
    let first = async {
        let first = open(&shared).await;
        assert_eq!(*redis.stored.lock(), [2, 1]);
        redis.responded.notify_one();
        first
    };
    let second = async {
        redis.asked(1).await;
        redis.is_late.store(true, Ordering::SeqCst);
        open(&shared).await
    };
    let resumes = async {
        redis.asked(2).await;
        redis.resumed.notify_one();
    };
    let held = tokio::join!(first, second, resumes);
    assert!(shared.streams.has_unsent());
    shared.send(Streams::unsent).await;
    assert_eq!((redis.last(), shared.streams.has_unsent()), (Some(2), false));
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn close_does_not_wait_without_a_connection() {
    let redis = Arc::new(FakeRedis::default());
    let shared = SharedStreams::new(Arc::clone(&redis), "me".to_owned(), 0.5);
    let _held = open(&shared).await;
    redis.is_down.store(true, Ordering::SeqCst);
    let started = Instant::now();
    shared.close().await;
    assert_eq!((started.elapsed(), redis.last()), (Duration::ZERO, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_a_slow_redis() {
    let redis = Arc::new(FakeRedis::default());
    let shared = SharedStreams::new(Arc::clone(&redis), "me".to_owned(), 0.5);
    let _held = open(&shared).await;
    redis.is_slow.store(true, Ordering::SeqCst);
    let started = Instant::now();
    let resumes = async {
        sleep(CLOSE / 2).await;
        redis.resumed.notify_one();
    };
    tokio::join!(shared.close(), resumes);
    assert_eq!((started.elapsed(), redis.last()), (CLOSE / 2, Some(0)));

    // Not longer than the limit.
    let _another = open(&shared).await;
    redis.is_slow.store(true, Ordering::SeqCst);
    let started = Instant::now();
    shared.close().await;
    assert_eq!(started.elapsed(), CLOSE);
}
