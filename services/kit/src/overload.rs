//! Too much to do, noticed by its callers: how many calls an upstream is given at once follows from how long its answers
//! take. What is above that is refused at once, the least important first, so that what is worked on is still wanted
//! when it is done.
//!
//! An answer is slow when it takes more than twice what is usual for its method, and more than a time that is no
//! trouble to anybody. While most answers are slow the limit falls to a part of what was really under way; while they
//! are not it grows by a twentieth whenever it is nearly used. Pure: the time is an argument.
//!
//! The limit is shared fairly. A caller that has more calls in flight than its share is refused while a part of the limit
//! is still free for others, and so are callers without a session before those with one.

use std::{
    collections::HashMap,
    net::Ipv6Addr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use metrics::{Gauge, counter, gauge};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{config::Span, policy::Priority};

/// How many times the usual an answer takes when it is slow.
const SLOW: f64 = 2.0;
/// How much one answer moves what is usual.
const LEARNT: f64 = 0.05;
/// Answers are judged together: at least so many, over at least this time.
const LEAST_ANSWERS: u32 = 20;
const LEAST_WINDOW: Duration = Duration::from_millis(100);
/// After this time fewer will do.
const LONG_WINDOW: Duration = Duration::from_secs(1);
/// The limit falls when more than this share of the answers is slow, and grows when less than the other is.
const MANY_SLOW: f64 = 0.5;
const FEW_SLOW: f64 = 0.1;
/// What a fall takes away at most: when all are slow.
const FALL: f64 = 0.25;
/// What a rise adds.
const RISE: f64 = 0.05;
/// With at most so many calls under way an answer takes what it takes: nobody is in its way.
const QUIET: usize = 10;
/// The share of the limit that must be used before it rises.
const USED: f64 = 0.7;
/// How many of a hundred places a caller may help to fill that has more calls in flight than its share.
const BEYOND_SHARE: usize = 75;
/// The same for callers without a session.
const WITHOUT_SESSION: usize = 90;

/// The section `[balance.shed]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether an upstream whose answers become slow is given fewer calls at once.
    pub enabled: bool,
    /// An answer within this time is never slow.
    pub patience: Span,
    /// How many calls at once an upstream is always given.
    pub least_calls: usize,
    /// And at most.
    pub most_calls: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { enabled: true, patience: Span(Duration::from_millis(100)), least_calls: 32, most_calls: 4_096 }
    }
}

impl Config {
    /// What types cannot say. The error names the key.
    pub fn check(&self) -> Result<(), String> {
        if self.least_calls == 0 {
            return Err("balance.shed.least_calls: 0 is below the least, 1".to_owned());
        }
        if self.most_calls < self.least_calls {
            let Self { least_calls, most_calls, .. } = self;
            return Err(format!(
                "balance.shed.most_calls: {most_calls} is below balance.shed.least_calls, {least_calls}"
            ));
        }
        Ok(())
    }
}

/// How long one method's answers usually take. It falls with every answer that is faster; it rises only with those that
/// came while hardly anything was under way: what is slow because of the others is not usual.
#[derive(Debug, Default)]
pub struct Usual(AtomicU64);

impl Usual {
    /// In seconds; `None`: nothing is known yet.
    fn seconds(&self) -> Option<f64> {
        Some(f64::from_bits(self.0.load(Ordering::Relaxed))).filter(|seconds| *seconds > 0.0)
    }

    fn learn(&self, took: f64, is_quiet: bool) {
        let new = match self.seconds() {
            None => took,
            Some(usual) if took < usual || is_quiet => usual + (took - usual) * LEARNT,
            Some(_) => return,
        };
        // Of two at once one is lost, which changes little.
        self.0.store(new.max(f64::MIN_POSITIVE).to_bits(), Ordering::Relaxed);
    }
}

/// Whose calls are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Caller {
    /// A user with a valid session.
    User(Uuid),
    /// Everybody else, by network (see [`crate::limiter::network`]).
    Network(Ipv6Addr),
}

/// The calls that are under way.
#[derive(Default)]
struct InFlight {
    all: usize,
    /// Those that have any.
    by_caller: HashMap<Caller, usize>,
}

impl InFlight {
    /// Whether one more call would be beyond the caller's share of `limit`. There is always a share for somebody new.
    fn is_beyond_share(&self, caller: Caller, limit: usize) -> bool {
        let own = self.by_caller.get(&caller).copied();
        let callers = self.by_caller.len() + usize::from(own.is_none());
        own.unwrap_or(0) >= (limit / (callers + 1)).max(1)
    }

    fn enter(&mut self, caller: Caller) {
        self.all += 1;
        *self.by_caller.entry(caller).or_default() += 1;
    }

    /// How many there were.
    fn leave(&mut self, caller: Caller) -> usize {
        match self.by_caller.get_mut(&caller) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(self.by_caller.remove(&caller)),
        }
        self.all -= 1;
        self.all + 1
    }
}

/// The calls of one upstream, and how many there may be at once.
pub struct Shedder {
    config: Config,
    limit: AtomicUsize,
    in_flight: Mutex<InFlight>,
    window: Mutex<Window>,
    name: String,
    shown: [Gauge; 2],
}

/// The answers since the limit was last looked at.
#[derive(Debug, Clone, Copy)]
struct Window {
    since: Instant,
    answers: u32,
    slow: u32,
    /// The most that was under way.
    peak: usize,
    /// A call was refused.
    refused: bool,
}

impl Window {
    fn new(now: Instant) -> Self {
        Self { since: now, answers: 0, slow: 0, peak: 0, refused: false }
    }

    fn is_full(&self, now: Instant) -> bool {
        let time = now.saturating_duration_since(self.since);
        time >= LEAST_WINDOW && (self.answers >= LEAST_ANSWERS || time >= LONG_WINDOW)
    }

    /// What the limit should be after `limit`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "calls at once are far below 2^52"
    )]
    fn judge(&self, limit: usize, config: &Config) -> usize {
        let slow = f64::from(self.slow) / f64::from(self.answers.max(1));
        let new = if slow > MANY_SLOW {
            // What was allowed but not there says nothing.
            limit.min(self.peak) as f64 * (1.0 - FALL * slow)
        } else if slow < FEW_SLOW && (self.refused || self.peak as f64 >= limit as f64 * USED) {
            (limit as f64 * (1.0 + RISE)).max(limit as f64 + 1.0)
        } else {
            return limit;
        };
        (new as usize).clamp(config.least_calls, config.most_calls)
    }
}

impl Shedder {
    /// For the upstream that metrics call `name`. It begins without a limit below `most_calls`.
    pub fn new(name: &str, config: &Config, now: Instant) -> Self {
        let label = || [("upstream", name.to_owned())];
        let shown = [gauge!("overload_limit", &label()), gauge!("overload_in_flight", &label())];
        shown[0].set(count(config.most_calls));
        Self {
            limit: AtomicUsize::new(config.most_calls),
            in_flight: Mutex::default(),
            window: Mutex::new(Window::new(now)),
            config: config.clone(),
            name: name.to_owned(),
            shown,
        }
    }

    /// A call's place, if there is one for calls of its priority and for its caller.
    pub fn admit(
        self: &Arc<Self>,
        priority: Priority,
        caller: Caller,
        usual: &Arc<Usual>,
        now: Instant,
    ) -> Option<Permit> {
        if !self.enter(priority, caller) {
            counter!("overload_shed_total", "upstream" => self.name.clone(), "priority" => priority.name())
                .increment(1);
            return None;
        }
        Some(Permit { shedder: Arc::clone(self), caller, usual: Arc::clone(usual), since: now, is_answered: false })
    }

    fn enter(&self, priority: Priority, caller: Caller) -> bool {
        if !self.config.enabled {
            return true;
        }
        let mut in_flight = lock(&self.in_flight);
        let limit = self.limit.load(Ordering::Relaxed);
        let mut most = limit * priority.percent() / 100;
        if matches!(caller, Caller::Network(_)) {
            most = most * WITHOUT_SESSION / 100;
        }
        if in_flight.is_beyond_share(caller, limit) {
            most = most * BEYOND_SHARE / 100;
        }
        if in_flight.all >= most.max(1) {
            drop(in_flight);
            lock(&self.window).refused = true;
            return false;
        }
        in_flight.enter(caller);
        true
    }

    /// A call has ended. `took` is `None` when it tells nothing; `is_well`: it was an ordinary answer.
    fn leave(&self, caller: Caller, took: Option<Duration>, is_well: bool, usual: &Usual, now: Instant) {
        if !self.config.enabled {
            return;
        }
        let in_flight = lock(&self.in_flight).leave(caller);
        let Some(took) = took else { return };
        let seconds = took.as_secs_f64();
        let is_slow = took > self.config.patience.0 && usual.seconds().is_none_or(|usual| seconds > usual * SLOW);
        if is_well {
            usual.learn(seconds, in_flight <= QUIET);
        }
        let mut window = lock(&self.window);
        window.answers += 1;
        window.slow += u32::from(is_slow);
        window.peak = window.peak.max(in_flight);
        if window.is_full(now) {
            let limit = window.judge(self.limit.load(Ordering::Relaxed), &self.config);
            self.limit.store(limit, Ordering::Relaxed);
            *window = Window::new(now);
            self.shown[0].set(count(limit));
            self.shown[1].set(count(in_flight));
        }
    }
}

/// A call's place; given back when dropped.
pub struct Permit {
    shedder: Arc<Shedder>,
    caller: Caller,
    usual: Arc<Usual>,
    since: Instant,
    is_answered: bool,
}

impl Permit {
    /// The answer has begun; `is_well`: it is an ordinary one, and so tells what is usual.
    pub fn answered(mut self, is_well: bool, now: Instant) {
        self.is_answered = true;
        let took = now.saturating_duration_since(self.since);
        self.shedder.leave(self.caller, Some(took), is_well, &self.usual, now);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let now = Instant::now();
        let waited = now.saturating_duration_since(self.since);
        // Given up: it tells something only if it had to wait long.
        let took = (waited > self.shedder.config.patience.0).then_some(waited);
        self.shedder.leave(self.caller, took, false, &self.usual, now);
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left is still in order.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(calls: usize) -> f64 {
    f64::from(u32::try_from(calls).unwrap_or(u32::MAX))
}

#[cfg(test)]
#[path = "overload/tests.rs"]
mod tests;
