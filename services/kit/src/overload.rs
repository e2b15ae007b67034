//! Load shedding: an adaptive concurrency limit for each upstream, which follows the latency of its responses. Calls
//! above the limit are refused at once, the least important first, so that the admitted calls finish while their
//! clients still wait.
//!
//! A response is slow if it takes more than twice the baseline of its method, and longer than `patience`. While most
//! responses are slow, the limit falls to a fraction of the calls actually in flight. While few are slow, it grows by a
//! twentieth whenever it is nearly used. Pure: the time is an argument.
//!
//! The limit is shared fairly. A caller with more calls in flight than its share is refused while part of the limit is
//! still free for others. Callers without a session are refused before those with one.

use std::{
    collections::HashMap,
    net::Ipv6Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use metrics::{Gauge, counter, gauge};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{config::Span, policy::Priority, principal::Principal};

/// A response is slow if it takes this many times the baseline.
const SLOW: f64 = 2.0;
/// The weight of one response in the baseline.
const LEARNT: f64 = 0.05;
/// The limit is adjusted after at least this many responses over at least this time.
const MIN_RESPONSES: u32 = 20;
const LEAST_WINDOW: Duration = Duration::from_millis(100);
/// After this time fewer responses suffice.
const LONG_WINDOW: Duration = Duration::from_secs(1);
/// The limit falls if more than the first share of responses is slow, and grows if less than the second share is.
const MANY_SLOW: f64 = 0.5;
const FEW_SLOW: f64 = 0.1;
/// The maximum reduction: when all responses are slow.
const FALL: f64 = 0.25;
/// The relative increase.
const RISE: f64 = 0.05;
/// With at most this many calls in flight, a response time counts as unaffected by load.
const QUIET: usize = 10;
/// The share of the limit that must be used before it grows.
const USED: f64 = 0.7;
/// The percentage of the limit up to which a caller beyond its share is admitted.
const BEYOND_SHARE: usize = 75;
/// The same for callers without a session.
const WITHOUT_SESSION: usize = 90;

/// The section `[balance.shed]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OverloadConfig {
    /// Whether an upstream whose responses become slow gets fewer concurrent calls.
    pub enabled: bool,
    /// A response within this time is never slow.
    pub patience: Span,
    /// The minimum of the concurrency limit.
    pub least_calls: usize,
    /// The maximum of the concurrency limit.
    pub most_calls: usize,
}

impl Default for OverloadConfig {
    fn default() -> Self {
        Self { enabled: true, patience: Span(Duration::from_millis(100)), least_calls: 32, most_calls: 4_096 }
    }
}

/// The latency baseline of one method. It falls with each faster response. It rises only with responses during low
/// load, because slowness under load is not the baseline.
#[derive(Debug, Default)]
pub struct LatencyBaseline(AtomicU64);

impl LatencyBaseline {
    /// In seconds; `None` without a response yet.
    fn seconds(&self) -> Option<f64> {
        Some(f64::from_bits(self.0.load(Ordering::Relaxed))).filter(|seconds| *seconds > 0.0)
    }

    fn learn(&self, took: f64, is_quiet: bool) {
        let new = match self.seconds() {
            None => took,
            Some(usual) if took < usual || is_quiet => usual + (took - usual) * LEARNT,
            Some(_) => return,
        };
        // Of two concurrent updates one is lost, which changes little.
        self.0.store(new.max(f64::MIN_POSITIVE).to_bits(), Ordering::Relaxed);
    }
}

/// The caller by which calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallerKey {
    /// A user with a valid session.
    User(Uuid),
    /// All other callers, by network (see [`crate::limiter::network`]).
    Network(Ipv6Addr),
}

impl CallerKey {
    /// The caller as which the calls of a principal count; without one, those of the client's network.
    pub fn new(principal: Option<&Principal>, network: Ipv6Addr) -> Self {
        match principal {
            Some(Principal::User(session)) => Self::User(session.user),
            // Services of the mesh call each other directly; the gateway sheds only calls of clients. Users of other
            // issuers have no session.
            Some(Principal::Service(_) | Principal::External(_)) | None => Self::Network(network),
        }
    }
}

/// The calls in flight.
#[derive(Default)]
struct CallsInFlight {
    all: usize,
    /// Only callers with calls in flight.
    by_caller: HashMap<CallerKey, usize>,
}

impl CallsInFlight {
    /// Whether one more call would exceed the caller's share of `limit`. One share is reserved for a new caller.
    fn is_beyond_share(&self, caller: CallerKey, limit: usize) -> bool {
        let own = self.by_caller.get(&caller).copied();
        let callers = self.by_caller.len() + usize::from(own.is_none());
        own.unwrap_or(0) >= (limit / (callers + 1)).max(1)
    }

    fn enter(&mut self, caller: CallerKey) {
        self.all += 1;
        *self.by_caller.entry(caller).or_default() += 1;
    }

    /// Returns the number of calls before this one left.
    fn leave(&mut self, caller: CallerKey) -> usize {
        match self.by_caller.get_mut(&caller) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(self.by_caller.remove(&caller)),
        }
        self.all -= 1;
        self.all + 1
    }
}

/// The adaptive concurrency limit of one upstream.
pub struct Shedder {
    config: OverloadConfig,
    limit: AtomicUsize,
    in_flight: Mutex<CallsInFlight>,
    window: Mutex<LimitWindow>,
    name: String,
    shown: [Gauge; 2],
}

/// The responses since the last adjustment of the limit.
#[derive(Debug, Clone, Copy)]
struct LimitWindow {
    since: Instant,
    responses: u32,
    slow: u32,
    /// The maximum number of calls in flight.
    peak: usize,
    /// Whether a call was refused.
    refused: bool,
}

impl LimitWindow {
    fn new(now: Instant) -> Self {
        Self { since: now, responses: 0, slow: 0, peak: 0, refused: false }
    }

    fn is_full(&self, now: Instant) -> bool {
        let time = now.saturating_duration_since(self.since);
        time >= LEAST_WINDOW && (self.responses >= MIN_RESPONSES || time >= LONG_WINDOW)
    }

    /// The limit that should follow `limit`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "calls at once are far below 2^52"
    )]
    fn judge(&self, limit: usize, config: &OverloadConfig) -> usize {
        let slow = f64::from(self.slow) / f64::from(self.responses.max(1));
        let new = if slow > MANY_SLOW {
            // The unused part of the limit gives no information.
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
    /// A limit for the upstream with the metrics label `name`. It starts at `most_calls`.
    pub fn new(name: &str, config: &OverloadConfig, now: Instant) -> Self {
        let label = || [("upstream", name.to_owned())];
        let shown = [gauge!("overload_limit", &label()), gauge!("overload_in_flight", &label())];
        shown[0].set(count(config.most_calls));
        Self {
            limit: AtomicUsize::new(config.most_calls),
            in_flight: Mutex::default(),
            window: Mutex::new(LimitWindow::new(now)),
            config: config.clone(),
            name: name.to_owned(),
            shown,
        }
    }

    /// Admits a call, if the limit has room for its priority and its caller.
    pub fn admit(
        self: &Arc<Self>,
        priority: Priority,
        caller: CallerKey,
        usual: &Arc<LatencyBaseline>,
        now: Instant,
    ) -> Option<Permit> {
        if !self.enter(priority, caller) {
            counter!("overload_shed_total", "upstream" => self.name.clone(), "priority" => priority.name())
                .increment(1);
            return None;
        }
        Some(Permit { shedder: Arc::clone(self), caller, usual: Arc::clone(usual), since: now, has_responded: false })
    }

    fn enter(&self, priority: Priority, caller: CallerKey) -> bool {
        if !self.config.enabled {
            return true;
        }
        let mut in_flight = self.in_flight.lock();
        let limit = self.limit.load(Ordering::Relaxed);
        let mut most = limit * priority.percent() / 100;
        if matches!(caller, CallerKey::Network(_)) {
            most = most * WITHOUT_SESSION / 100;
        }
        if in_flight.is_beyond_share(caller, limit) {
            most = most * BEYOND_SHARE / 100;
        }
        if in_flight.all >= most.max(1) {
            drop(in_flight);
            self.window.lock().refused = true;
            return false;
        }
        in_flight.enter(caller);
        true
    }

    /// Records the end of a call. `took` is `None` if its duration gives no information; `is_well`: it got a regular
    /// response.
    fn leave(&self, caller: CallerKey, took: Option<Duration>, is_well: bool, usual: &LatencyBaseline, now: Instant) {
        if !self.config.enabled {
            return;
        }
        let in_flight = self.in_flight.lock().leave(caller);
        let Some(took) = took else { return };
        let seconds = took.as_secs_f64();
        let is_slow = took > self.config.patience.0 && usual.seconds().is_none_or(|usual| seconds > usual * SLOW);
        if is_well {
            usual.learn(seconds, in_flight <= QUIET);
        }
        let mut window = self.window.lock();
        window.responses += 1;
        window.slow += u32::from(is_slow);
        window.peak = window.peak.max(in_flight);
        if window.is_full(now) {
            let limit = window.judge(self.limit.load(Ordering::Relaxed), &self.config);
            self.limit.store(limit, Ordering::Relaxed);
            *window = LimitWindow::new(now);
            self.shown[0].set(count(limit));
            self.shown[1].set(count(in_flight));
        }
    }
}

/// An admitted call, until it is dropped.
pub struct Permit {
    shedder: Arc<Shedder>,
    caller: CallerKey,
    usual: Arc<LatencyBaseline>,
    since: Instant,
    has_responded: bool,
}

impl Permit {
    /// Records that the response began. `is_well`: a regular response, which updates the baseline.
    pub fn responded(mut self, is_well: bool, now: Instant) {
        self.has_responded = true;
        let took = now.saturating_duration_since(self.since);
        self.shedder.leave(self.caller, Some(took), is_well, &self.usual, now);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.has_responded {
            return;
        }
        let now = Instant::now();
        let waited = now.saturating_duration_since(self.since);
        // Cancelled: the duration gives information only if the call waited long.
        let took = (waited > self.shedder.config.patience.0).then_some(waited);
        self.shedder.leave(self.caller, took, false, &self.usual, now);
    }
}

fn count(calls: usize) -> f64 {
    f64::from(u32::try_from(calls).unwrap_or(u32::MAX))
}

#[cfg(test)]
#[path = "overload/tests.rs"]
mod tests;
