use std::{cmp::Reverse, collections::BinaryHeap};

use super::*;
use crate::balance::Chance;

/// A server with workers and a queue without end, on a clock of its own: calls come whether or not earlier ones have
/// been answered, and whoever waits too long has left when the answer comes. Work for them is done all the same.
struct Simulation {
    workers: usize,
    /// What one call takes.
    work: Duration,
    /// How long callers wait.
    patience: Duration,
    seconds: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Outcome {
    good: u32,
    shed: [u32; 3],
    came: [u32; 3],
}

/// One of many users.
fn user(which: u128) -> Caller {
    Caller::User(Uuid::from_u128(which))
}

const PRIORITIES: [Priority; 3] = [Priority::Low, Priority::Normal, Priority::High];

impl Simulation {
    fn capacity(&self) -> f64 {
        self.workers as f64 / self.work.as_secs_f64()
    }

    /// `load` times the capacity.
    fn run(&self, load: f64, config: &Config, seed: u64) -> Outcome {
        let (chance, start) = (Chance::seeded(seed), Instant::now());
        let (shedder, usual) = (Shedder::new("simulated", config, start), Usual::default());
        let mut free: BinaryHeap<Reverse<Instant>> = (0..self.workers).map(|_| Reverse(start)).collect();
        let mut ends: BinaryHeap<Reverse<(Instant, Instant, u128)>> = BinaryHeap::new();
        let (mut now, mut outcome) = (start, Outcome::default());
        let pause = Duration::from_secs_f64(1.0 / (self.capacity() * load));
        while now < start + Duration::from_secs(self.seconds) {
            // As people come: independently of one another.
            now += pause.mul_f64(-(1.0 - chance.share()).ln());
            while let Some(Reverse((end, came, who))) = ends.peek().copied().filter(|Reverse((end, ..))| *end <= now) {
                ends.pop();
                let took = end - came;
                let is_good = took <= self.patience;
                // Whoever has left tells how long he waited, and no more.
                shedder.leave(user(who), Some(took.min(self.patience)), is_good, &usual, end);
                outcome.good += u32::from(is_good);
            }
            let which = chance.below(3);
            outcome.came[which] += 1;
            let who = u128::from(chance.next() % 1_000);
            if shedder.enter(PRIORITIES[which], user(who)) {
                let Reverse(idle) = free.pop().unwrap();
                let end = idle.max(now) + self.work;
                free.push(Reverse(end));
                ends.push(Reverse((end, now, who)));
            } else {
                outcome.shed[which] += 1;
            }
        }
        outcome
    }
}

fn server() -> Simulation {
    Simulation { workers: 8, work: Duration::from_millis(20), patience: Duration::from_millis(500), seconds: 30 }
}

#[test]
fn goodput_holds_at_many_times_the_capacity() {
    for seed in 0..5 {
        let goodput = |load, config: &Config| f64::from(server().run(load, config, seed).good);
        let config = Config::default();
        let peak = [0.8, 1.0].map(|load| goodput(load, &config)).into_iter().fold(0.0, f64::max);
        for load in [1.5, 2.0, 3.0, 5.0] {
            let kept = goodput(load, &config) / peak;
            assert!(kept >= 0.9, "seed {seed}: {kept:.2} of the peak at {load} times the capacity");
        }
        let without = Config { enabled: false, ..Config::default() };
        assert!(goodput(3.0, &without) / peak < 0.2, "the simulation does collapse without");
    }
}

#[test]
fn nothing_is_refused_below_the_capacity() {
    for seed in 0..5 {
        for load in [0.1, 0.5, 0.8] {
            let outcome = server().run(load, &Config::default(), seed);
            assert_eq!(outcome.shed, [0; 3], "seed {seed}, load {load}");
        }
    }
}

#[test]
fn what_matters_least_is_refused_first() {
    let outcome = server().run(2.0, &Config::default(), 1);
    let share = |n: usize| f64::from(outcome.shed[n]) / f64::from(outcome.came[n]);
    let [low, normal, high] = [share(0), share(1), share(2)];
    assert!(low > normal && normal > high, "{low:.2} {normal:.2} {high:.2}");
    assert!(high < 0.1, "{high:.2} of the most important at twice the capacity");
}

#[test]
fn an_upstream_that_has_become_slower_for_good_is_not_starved() {
    let (config, start) = (Config::default(), Instant::now());
    let (shedder, usual) = (Shedder::new("slower", &config, start), Usual::default());
    let mut now = start;
    let mut answer = |took: u64, times: u32| {
        for _ in 0..times {
            assert!(shedder.enter(Priority::Normal, user(1)), "one call at a time is always let through");
            now += Duration::from_millis(took);
            shedder.leave(user(1), Some(Duration::from_millis(took)), true, &usual, now);
        }
        shedder.limit.load(Ordering::Relaxed)
    };
    answer(50, 100);
    assert!(answer(400, 40) < config.most_calls, "at first it looks overloaded");
    answer(400, 200);
    let settled = answer(400, 1);
    assert!(usual.seconds().unwrap() > 0.3, "what is usual has been learnt anew");
    assert!(answer(400, 1_000) >= settled, "and the limit does not fall on");
}

/// Whatever comes: the limit stays within its bounds, and places are given back.
#[test]
fn the_limit_stays_within_its_bounds() {
    for seed in 0..200 {
        let chance = Chance::seeded(seed);
        let config =
            Config { least_calls: 1 + chance.below(20), most_calls: 30 + chance.below(500), ..Config::default() };
        let shedder = Shedder::new("any", &config, Instant::now());
        let (usual, mut now, mut inside) = (Usual::default(), Instant::now(), Vec::new());
        for _ in 0..2_000 {
            now += Duration::from_micros(chance.next() % 50_000);
            if chance.below(2) == 0 {
                let who = user(chance.below(4) as u128);
                if shedder.enter(PRIORITIES[chance.below(3)], who) {
                    inside.push(who);
                }
            } else if !inside.is_empty() {
                let who = inside.swap_remove(chance.below(inside.len()));
                let took = (chance.below(4) > 0).then(|| Duration::from_micros(chance.next() % 2_000_000));
                shedder.leave(who, took, chance.below(3) > 0, &usual, now);
            }
            let limit = shedder.limit.load(Ordering::Relaxed);
            assert!((config.least_calls..=config.most_calls).contains(&limit), "seed {seed}: {limit}");
            assert_eq!(lock(&shedder.in_flight).all, inside.len(), "seed {seed}");
        }
    }
}

/// A shedder whose limit is `limit`, whatever comes.
fn limited(limit: usize) -> Shedder {
    Shedder::new("limited", &Config { least_calls: limit, most_calls: limit, ..Config::default() }, Instant::now())
}

fn admitted(shedder: &Shedder, caller: Caller, calls: usize) -> usize {
    (0..calls).filter(|_| shedder.enter(Priority::High, caller)).count()
}

#[test]
fn a_burst_of_one_caller_leaves_room_for_others() {
    let (shedder, usual) = (limited(100), Usual::default());
    assert_eq!(admitted(&shedder, user(1), 1_000), 75);
    assert_eq!(admitted(&shedder, user(2), 10), 10);
    // The limit is full in the end; the caller with the most gets no place that becomes free.
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
    let network = |which: u128| Caller::Network(Ipv6Addr::from_bits(which << 64));
    let strangers: usize = (0..1_000).map(|which| admitted(&shedder, network(which), 1)).sum();
    assert_eq!(strangers, 90);
    let users: usize = (0..1_000).map(|which| admitted(&shedder, user(which), 1)).sum();
    assert_eq!(users, 10);
}

/// Refusals say that the limit is used, whoever may fill how much of it.
#[test]
fn the_limit_grows_when_only_strangers_call() {
    let config = Config { least_calls: 10, most_calls: 1_000, ..Config::default() };
    let (shedder, usual, start) = (Shedder::new("grows", &config, Instant::now()), Usual::default(), Instant::now());
    shedder.limit.store(10, Ordering::Relaxed);
    let stranger = Caller::Network(Ipv6Addr::LOCALHOST);
    for round in 1..=50 {
        let calls = admitted(&shedder, stranger, 100);
        for _ in 0..calls {
            let now = start + Duration::from_secs(2 * round);
            shedder.leave(stranger, Some(Duration::from_millis(1)), true, &usual, now);
        }
    }
    assert!(shedder.limit.load(Ordering::Relaxed) > 20);
}
