use std::{cmp::Reverse, collections::BinaryHeap};

use super::*;
use crate::rng::Rng;

/// A server with workers and an unbounded queue, in simulated time. Calls arrive independently of earlier ones. A
/// client that waits too long cancels, but the server still does the work.
struct Simulation {
    workers: usize,
    /// The duration of one call.
    work: Duration,
    /// How long clients wait.
    client_timeout: Duration,
    seconds: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Outcome {
    good: u32,
    shed: [u32; 3],
    arrived: [u32; 3],
}

/// One of many users.
fn user(which: u128) -> CallerKey {
    CallerKey::User(Uuid::from_u128(which))
}

const PRIORITIES: [Priority; 3] = [Priority::Low, Priority::Normal, Priority::High];

impl Simulation {
    fn capacity(&self) -> f64 {
        self.workers as f64 / self.work.as_secs_f64()
    }

    /// Runs at `load` times the capacity.
    fn run(&self, load: f64, config: &OverloadConfig, seed: u64) -> Outcome {
        let (chance, start) = (Rng::seeded(seed), Instant::now());
        let (shedder, usual) = (Shedder::new("simulated", config, start), LatencyBaseline::default());
        let mut free: BinaryHeap<Reverse<Instant>> = (0..self.workers).map(|_| Reverse(start)).collect();
        let mut ends: BinaryHeap<Reverse<(Instant, Instant, u128)>> = BinaryHeap::new();
        let (mut now, mut outcome) = (start, Outcome::default());
        let pause = Duration::from_secs_f64(1.0 / (self.capacity() * load));
        while now < start + Duration::from_secs(self.seconds) {
            // Independent arrivals (a Poisson process).
            now += pause.mul_f64(-(1.0 - chance.share()).ln());
            while let Some(Reverse((end, arrived, caller))) =
                ends.peek().copied().filter(|Reverse((end, ..))| *end <= now)
            {
                ends.pop();
                let took = end - arrived;
                let in_time = took <= self.client_timeout;
                // A cancelled call reports how long it waited, and no more.
                shedder.leave(user(caller), Some(took.min(self.client_timeout)), in_time, &usual, end);
                outcome.good += u32::from(in_time);
            }
            let which = chance.below(3);
            outcome.arrived[which] += 1;
            let caller = u128::from(chance.next() % 1_000);
            if shedder.enter(PRIORITIES[which], user(caller)) {
                let Reverse(idle) = free.pop().unwrap();
                let end = idle.max(now) + self.work;
                free.push(Reverse(end));
                ends.push(Reverse((end, now, caller)));
            } else {
                outcome.shed[which] += 1;
            }
        }
        outcome
    }
}

fn server() -> Simulation {
    Simulation { workers: 8, work: Duration::from_millis(20), client_timeout: Duration::from_millis(500), seconds: 30 }
}

#[test]
fn goodput_holds_at_many_times_the_capacity() {
    for seed in 0..5 {
        let goodput = |load, config: &OverloadConfig| f64::from(server().run(load, config, seed).good);
        let config = OverloadConfig::default();
        let peak = [0.8, 1.0].map(|load| goodput(load, &config)).into_iter().fold(0.0, f64::max);
        for load in [1.5, 2.0, 3.0, 5.0] {
            let kept = goodput(load, &config) / peak;
            assert!(kept >= 0.9, "seed {seed}: {kept:.2} of the peak at {load} times the capacity");
        }
        let without = OverloadConfig { enabled: false, ..OverloadConfig::default() };
        assert!(goodput(3.0, &without) / peak < 0.2, "without the limit goodput collapses");
    }
}

#[test]
fn no_call_is_refused_below_capacity() {
    for seed in 0..5 {
        for load in [0.1, 0.5, 0.8] {
            let outcome = server().run(load, &OverloadConfig::default(), seed);
            assert_eq!(outcome.shed, [0; 3], "seed {seed}, load {load}");
        }
    }
}

#[test]
fn low_priority_is_refused_first() {
    let outcome = server().run(2.0, &OverloadConfig::default(), 1);
    let share = |n: usize| f64::from(outcome.shed[n]) / f64::from(outcome.arrived[n]);
    let [low, normal, high] = [share(0), share(1), share(2)];
    assert!(low > normal && normal > high, "{low:.2} {normal:.2} {high:.2}");
    assert!(high < 0.1, "{high:.2} of the high priority at twice the capacity");
}

#[test]
fn upstream_that_stays_slower_is_not_starved() {
    let (config, start) = (OverloadConfig::default(), Instant::now());
    let (shedder, usual) = (Shedder::new("slower", &config, start), LatencyBaseline::default());
    let mut now = start;
    let mut respond = |took: u64, times: u32| {
        for _ in 0..times {
            assert!(shedder.enter(Priority::Normal, user(1)), "a single call is always admitted");
            now += Duration::from_millis(took);
            shedder.leave(user(1), Some(Duration::from_millis(took)), true, &usual, now);
        }
        shedder.limit.load(Ordering::Relaxed)
    };
    respond(50, 100);
    assert!(respond(400, 40) < config.most_calls, "at first it looks overloaded");
    respond(400, 200);
    let settled = respond(400, 1);
    assert!(usual.seconds().unwrap() > 0.3, "the baseline has adapted");
    assert!(respond(400, 1_000) >= settled, "the limit stops falling");
}

/// Under random events the limit stays within its bounds, and each ended call frees its place.
#[test]
fn the_limit_stays_within_its_bounds() {
    for seed in 0..200 {
        let chance = Rng::seeded(seed);
        let config = OverloadConfig {
            least_calls: 1 + chance.below(20),
            most_calls: 30 + chance.below(500),
            ..OverloadConfig::default()
        };
        let shedder = Shedder::new("any", &config, Instant::now());
        let (usual, mut now, mut inside) = (LatencyBaseline::default(), Instant::now(), Vec::new());
        for _ in 0..2_000 {
            now += Duration::from_micros(chance.next() % 50_000);
            if chance.below(2) == 0 {
                let caller = user(chance.below(4) as u128);
                if shedder.enter(PRIORITIES[chance.below(3)], caller) {
                    inside.push(caller);
                }
            } else if !inside.is_empty() {
                let caller = inside.swap_remove(chance.below(inside.len()));
                let took = (chance.below(4) > 0).then(|| Duration::from_micros(chance.next() % 2_000_000));
                shedder.leave(caller, took, chance.below(3) > 0, &usual, now);
            }
            let limit = shedder.limit.load(Ordering::Relaxed);
            assert!((config.least_calls..=config.most_calls).contains(&limit), "seed {seed}: {limit}");
            assert_eq!(shedder.in_flight.lock().all, inside.len(), "seed {seed}");
        }
    }
}

/// A shedder with the constant limit `limit`.
fn limited(limit: usize) -> Shedder {
    Shedder::new(
        "limited",
        &OverloadConfig { least_calls: limit, most_calls: limit, ..OverloadConfig::default() },
        Instant::now(),
    )
}

fn admitted(shedder: &Shedder, caller: CallerKey, calls: usize) -> usize {
    (0..calls).filter(|_| shedder.enter(Priority::High, caller)).count()
}

#[test]
fn burst_of_one_caller_leaves_room_for_others() {
    let (shedder, usual) = (limited(100), LatencyBaseline::default());
    assert_eq!(admitted(&shedder, user(1), 1_000), 75);
    assert_eq!(admitted(&shedder, user(2), 10), 10);
    // The limit is full in the end. The caller with the most calls gets none of the places that become free.
    assert_eq!(admitted(&shedder, user(3), 10) + admitted(&shedder, user(4), 10), 15);
    for _ in 0..20 {
        shedder.leave(user(1), None, true, &usual, Instant::now());
        assert_eq!(admitted(&shedder, user(1), 1), 0);
    }
    assert_eq!(admitted(&shedder, user(5), 10), 10);
}

#[test]
fn callers_without_a_session_are_shed_first() {
    let shedder = limited(100);
    let network = |which: u128| CallerKey::Network(Ipv6Addr::from_bits(which << 64));
    let without_session: usize = (0..1_000).map(|which| admitted(&shedder, network(which), 1)).sum();
    assert_eq!(without_session, 90);
    let users: usize = (0..1_000).map(|which| admitted(&shedder, user(which), 1)).sum();
    assert_eq!(users, 10);
}

/// Refusals count as use of the limit, even if the callers may fill only part of it.
#[test]
fn limit_grows_with_calls_without_session() {
    let config = OverloadConfig { least_calls: 10, most_calls: 1_000, ..OverloadConfig::default() };
    let (shedder, usual, start) =
        (Shedder::new("grows", &config, Instant::now()), LatencyBaseline::default(), Instant::now());
    shedder.limit.store(10, Ordering::Relaxed);
    let caller = CallerKey::Network(Ipv6Addr::LOCALHOST);
    for round in 1..=50 {
        let calls = admitted(&shedder, caller, 100);
        for _ in 0..calls {
            let now = start + Duration::from_secs(2 * round);
            shedder.leave(caller, Some(Duration::from_millis(1)), true, &usual, now);
        }
    }
    assert!(shedder.limit.load(Ordering::Relaxed) > 20);
}

#[test]
fn principal_counts_as_its_user_or_its_network() {
    let (session, network) = (crate::principal::tests::session(), Ipv6Addr::LOCALHOST);
    let user = Principal::User(Arc::clone(&session));
    assert_eq!(CallerKey::new(Some(&user), network), CallerKey::User(session.user));
    let service = Principal::Service(crate::principal::MeshService::new("auth"));
    for unknown in [Some(&service), None] {
        assert_eq!(CallerKey::new(unknown, network), CallerKey::Network(network));
    }
}
