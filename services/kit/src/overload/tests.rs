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
        let mut ends: BinaryHeap<Reverse<(Instant, Instant)>> = BinaryHeap::new();
        let (mut now, mut outcome) = (start, Outcome::default());
        let pause = Duration::from_secs_f64(1.0 / (self.capacity() * load));
        while now < start + Duration::from_secs(self.seconds) {
            // As people come: independently of one another.
            now += pause.mul_f64(-(1.0 - chance.share()).ln());
            while let Some(Reverse((end, came))) = ends.peek().copied().filter(|Reverse((end, _))| *end <= now) {
                ends.pop();
                let took = end - came;
                let is_good = took <= self.patience;
                // Whoever has left tells how long he waited, and no more.
                shedder.leave(Some(took.min(self.patience)), is_good, &usual, end);
                outcome.good += u32::from(is_good);
            }
            let which = chance.below(3);
            outcome.came[which] += 1;
            if shedder.enter(PRIORITIES[which]) {
                let Reverse(idle) = free.pop().unwrap();
                let end = idle.max(now) + self.work;
                free.push(Reverse(end));
                ends.push(Reverse((end, now)));
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
            assert!(shedder.enter(Priority::Normal), "one call at a time is always let through");
            now += Duration::from_millis(took);
            shedder.leave(Some(Duration::from_millis(took)), true, &usual, now);
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
        let (usual, mut now, mut inside) = (Usual::default(), Instant::now(), 0);
        for _ in 0..2_000 {
            now += Duration::from_micros(chance.next() % 50_000);
            if chance.below(2) == 0 {
                inside += usize::from(shedder.enter(PRIORITIES[chance.below(3)]));
            } else if inside > 0 {
                inside -= 1;
                let took = (chance.below(4) > 0).then(|| Duration::from_micros(chance.next() % 2_000_000));
                shedder.leave(took, chance.below(3) > 0, &usual, now);
            }
            let limit = shedder.limit.load(Ordering::Relaxed);
            assert!((config.least_calls..=config.most_calls).contains(&limit), "seed {seed}: {limit}");
            assert_eq!(shedder.in_flight.load(Ordering::Relaxed), inside, "seed {seed}");
        }
    }
}
