//! Failovers that leave connections open: the node becomes a replica, or continues unchanged, and the name resolves to
//! another node.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use kit::{
    dns::LookUp,
    limiter::{self, RateLimiter},
};

use super::*;

/// The time to notice a failover: a check per second, three lookups in a row, and a pause of at most 4 s.
const MOVES: Duration = Duration::from_secs(30);

/// A name whose address the test controls.
#[derive(Clone)]
struct Name(Arc<Mutex<SocketAddr>>);

impl Name {
    fn of(redis: &Redis) -> Self {
        Self(Arc::new(Mutex::new(at(redis))))
    }

    fn resolve_to(&self, redis: &Redis) {
        *self.0.lock().unwrap() = at(redis);
    }

    fn look_up(&self) -> LookUp {
        let address = Arc::clone(&self.0);
        Arc::new(move |_, _| {
            let found = *address.lock().unwrap_or_else(PoisonError::into_inner);
            Box::pin(std::future::ready(Ok(vec![found])))
        })
    }

    fn config() -> RedisConfig {
        let url = Secret::from("redis://redis.invalid:6379/".to_owned());
        RedisConfig { url, cluster: false, poll_interval: Span(POLL) }
    }

    fn bus(&self) -> Arc<dyn Bus> {
        bus::open_by(self.look_up(), &Self::config(), &ClockAndRng::system()).unwrap()
    }

    fn limiter(&self) -> Arc<dyn RateLimiter> {
        let patient =
            limiter::LimiterConfig { budget: Span(Duration::from_secs(1)), ..limiter::LimiterConfig::default() };
        limiter::open_by(self.look_up(), &patient, &Self::config(), &ClockAndRng::system()).unwrap()
    }
}

fn at(redis: &Redis) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], redis.port))
}

fn demote(old: &Redis, new: &Redis) {
    old.ask(&["REPLICAOF", "127.0.0.1", &new.port.to_string()]);
}

/// Waits until `count` connections are subscribed to the channel.
async fn until_subscribed(redis: &Redis, count: usize) {
    let waiting = async {
        while !redis.ask(&["PUBSUB", "NUMSUB", "trellis:{bus}:c"]).contains(&format!(":{count}\r\n")) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(MOVES, waiting).await.expect("the replicas connect");
}

/// Waits for `wanted` among repeated signals.
async fn receives_among(listener: &mut Listener, wanted: Signal) {
    let receiving = async { while listener.next().await != Heard::Signal(wanted) {} };
    timeout(MOVES, receiving).await.unwrap_or_else(|_| panic!("{wanted:?} never arrives"));
}

/// Regression: the canary returned through the demoted node, so no replica left it.
#[tokio::test(flavor = "multi_thread")]
async fn bus_leaves_a_node_that_became_a_replica() {
    let [old, new] = [Redis::start(&[]), Redis::start(&[])];
    let name = Name::of(&old);
    let (here, there) = (name.bus(), name.bus());
    let mut theirs = there.listen("c");
    let _ours = here.listen("c");
    until_subscribed(&old, 2).await;
    settle(&mut theirs).await;

    demote(&old, &new);
    // No replica has noticed yet: the demoted node accepts the signal, which still arrives later.
    let sent = signal(1);
    here.publish("c", sent);
    for bus in [&here, &there] {
        until_connected(&**bus, false).await;
    }
    name.resolve_to(&new);
    until_subscribed(&new, 2).await;
    for bus in [&here, &there] {
        until_connected(&**bus, true).await;
    }
    receives_among(&mut theirs, sent).await;
    let after = signal(2);
    here.publish("c", after);
    receives_among(&mut theirs, after).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bus_follows_its_name_away_from_a_running_node() {
    let [old, new] = [Redis::start(&[]), Redis::start(&[])];
    let (first, second) = (Name::of(&old), Name::of(&old));
    let (here, there) = (first.bus(), second.bus());
    let mut theirs = there.listen("c");
    let _ours = here.listen("c");
    until_subscribed(&old, 2).await;
    settle(&mut theirs).await;

    // One side notices earlier than the other. Its signals in between are repeated.
    first.resolve_to(&new);
    until_subscribed(&new, 1).await;
    let between = signal(1);
    here.publish("c", between);
    sleep(Duration::from_secs(2)).await;
    second.resolve_to(&new);
    until_subscribed(&new, 2).await;
    receives_among(&mut theirs, between).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limiter_follows_its_name_and_leaves_a_replica() {
    let [old, new] = [Redis::start(&[]), Redis::start(&[])];
    let name = Name::of(&old);
    let limiter = name.limiter();
    let until_shared_through = async |redis: &Redis| {
        redis.ask(&["CONFIG", "RESETSTAT"]);
        let waiting = async {
            while !limiter.is_shared() || !redis.ask(&["INFO", "commandstats"]).contains("cmdstat_evalsha") {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(MOVES, waiting).await.expect("limits are shared there");
    };
    until_shared_through(&old).await;
    name.resolve_to(&new);
    until_shared_through(&new).await;
    demote(&new, &old);
    let noticed = async {
        while limiter.is_shared() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(MOVES, noticed).await.expect("the limiter leaves the replica");
    name.resolve_to(&old);
    until_shared_through(&old).await;
}
