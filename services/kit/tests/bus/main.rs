//! The bus and the limiter on real Redis servers, which are stopped, frozen and restarted meanwhile, and on a Cluster.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod cluster;
mod failover;
mod limiter;
#[path = "../support/redis.rs"]
mod redis;

use std::{sync::Arc, time::Duration};

use kit::{
    ClockAndRng,
    bus::{self, Bus, Heard, Listener, Signal},
    config::{Secret, Span},
    redis::RedisConfig,
};
use tokio::time::{Instant, sleep, timeout};

use redis::Redis;

const POLL: Duration = Duration::from_millis(300);
/// A round trip takes a millisecond. A start of Redis and the pause before a reconnect take four seconds.
const SOON: Duration = Duration::from_secs(20);
/// Long enough for an echo to arrive, if there were one.
const QUIET: Duration = Duration::from_millis(200);

fn open(url: String, cluster: bool) -> Arc<dyn Bus> {
    let config = RedisConfig { url: Secret::from(url), cluster, poll_interval: Span(POLL) };
    bus::open(&config, &ClockAndRng::system()).unwrap()
}

fn signal(reached: i64) -> Signal {
    Signal { subject: ClockAndRng::system().new_id(), reached }
}

async fn until_connected(bus: &dyn Bus, wanted: bool) {
    let waiting = async {
        while bus.is_connected() != wanted {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("never connected = {wanted}"));
}

/// Waits for `wanted`. The listener may receive `Missed` before.
async fn receives(listener: &mut Listener, wanted: Signal) {
    let receiving = async {
        loop {
            match listener.next().await {
                Heard::Missed => {}
                heard => return heard,
            }
        }
    };
    assert_eq!(timeout(SOON, receiving).await.expect("the signal arrives"), Heard::Signal(wanted));
}

/// Drains the events that a new listener still receives.
async fn settle(listener: &mut Listener) {
    while timeout(QUIET, listener.next()).await.is_ok() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn signal_is_received_once_locally_and_remotely() {
    let redis = Redis::start(&[]);
    let (here, there) = (open(redis.url(), false), open(redis.url(), false));
    let mut listeners = [here.listen("c"), there.listen("c"), there.listen("other")];
    until_connected(&*here, true).await;
    until_connected(&*there, true).await;
    for listener in &mut listeners {
        settle(listener).await;
    }
    // Other messages on our channels are ignored.
    redis.ask(&["PUBLISH", "trellis:{bus}:c", "hello, is this a chat?"]);
    let sent = signal(7);
    here.publish("c", sent);
    let [own, theirs, other] = &mut listeners;
    // The local signal arrives at once and without Redis: nothing was awaited since.
    assert_eq!(own.next().await, Heard::Signal(sent));
    assert_eq!(theirs.next().await, Heard::Signal(sent));
    for listener in [own, theirs, other] {
        assert!(timeout(QUIET, listener.next()).await.is_err(), "no echo, nothing on another channel");
    }
    // A channel with a later listener, on an open connection.
    let mut late = there.listen("late");
    assert_eq!(timeout(SOON, late.next()).await.unwrap(), Heard::Missed);
    here.publish("late", sent);
    receives(&mut late, sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_receive_missed_until_redis_is_back() {
    let mut redis = Redis::start(&[]);
    let (here, there) = (open(redis.url(), false), open(redis.url(), false));
    let mut theirs = there.listen("c");
    until_connected(&*here, true).await;
    until_connected(&*there, true).await;
    settle(&mut theirs).await;

    redis.kill();
    until_connected(&*here, false).await;
    until_connected(&*there, false).await;
    let since = Instant::now();
    for _ in 0..5 {
        assert_eq!(timeout(SOON, theirs.next()).await.unwrap(), Heard::Missed);
    }
    // A busy machine may be slower than the interval; it is never much faster.
    assert!(since.elapsed() > POLL * 2, "{:?}", since.elapsed());
    let while_away = signal(1);
    here.publish("c", while_away);

    redis.launch();
    until_connected(&*here, true).await;
    until_connected(&*there, true).await;
    settle(&mut theirs).await;
    let after = signal(2);
    here.publish("c", after);
    receives(&mut theirs, after).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_redis_counts_as_disconnected() {
    let redis = Redis::start(&[]);
    let bus = open(redis.url(), false);
    until_connected(&*bus, true).await;
    redis.signal("STOP");
    until_connected(&*bus, false).await;
    redis.signal("CONT");
    until_connected(&*bus, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_receive_missed_after_a_cut_connection() {
    let redis = Redis::start(&[]);
    let bus = open(redis.url(), false);
    let mut listener = bus.listen("c");
    until_connected(&*bus, true).await;
    settle(&mut listener).await;
    redis.ask(&["FLUSHALL"]);
    assert!(timeout(QUIET, listener.next()).await.is_err(), "the bus stores nothing in Redis");
    redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(timeout(SOON, listener.next()).await.unwrap(), Heard::Missed);
    until_connected(&*bus, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bus_finds_a_redis_that_starts_later() {
    let mut redis = Redis::start(&["--requirepass", "secret"]);
    redis.kill();
    let bus = open(redis.url().replace("127.0.0.1", ":secret@127.0.0.1"), false);
    let mut listener = bus.listen("c");
    assert_eq!(timeout(SOON, listener.next()).await.unwrap(), Heard::Missed);
    assert!(!bus.is_connected());
    redis.launch();
    until_connected(&*bus, true).await;
}
