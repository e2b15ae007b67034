//! What is thought of one endpoint. Pure: the time is an argument.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;
use tonic::Code;

use crate::{record::code_of, retry::PUSHBACK};

/// Failures in a row that take an endpoint out.
pub(super) const CONSECUTIVE: u32 = 5;
/// The least that the rate of an endpoint is judged by, in calls of one interval.
const LEAST_CALLS: u32 = 20;
/// How much worse than the others' an endpoint's share of failures must be: so many times, and so much more.
const TIMES_WORSE: f64 = 2.0;
const POINTS_WORSE: f64 = 0.1;
/// How long an endpoint stays out for the first time; the n-th time in succession n times as long.
pub(super) const FIRST_EJECTION: Duration = Duration::from_secs(10);
/// And at most.
pub(super) const LONGEST_EJECTION: Duration = Duration::from_secs(300);
/// Checks without an answer that take an endpoint out.
const UNANSWERED_CHECKS: u32 = 2;
/// The part of its share that an endpoint begins with.
const FIRST_WEIGHT: f64 = 0.1;

/// How a call ended, as far as it tells of the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered; that the answer may be an error is the caller's affair.
    Well,
    /// It said that it has too much to do. It is alive: to take it out would burden the others.
    Busy,
    /// Something went wrong inside it. A caller may know how to bring that about, so it counts only where others do
    /// better.
    Faulty,
    /// It did not answer, or said that it cannot.
    Failed,
}

impl Outcome {
    /// What the last headers of an answer tell: its trailers, or its only ones.
    pub fn of(headers: &HeaderMap) -> Self {
        match code_of(headers) {
            Some(Code::Unavailable | Code::ResourceExhausted) if headers.contains_key(PUSHBACK) => Self::Busy,
            Some(Code::Unavailable) => Self::Failed,
            Some(Code::Internal | Code::Unknown | Code::DataLoss) => Self::Faulty,
            _ => Self::Well,
        }
    }
}

/// What a health check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Serving,
    /// It said so itself.
    NotServing,
    /// No answer.
    Silent,
    /// It has no such service: its calls are all there is to judge by.
    Unknown,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Standing {
    /// `grpc.health.v1` and its silence.
    serving: bool,
    silent: u32,
    /// Until when others come first: no connection could be made.
    rests_until: Option<Instant>,
    /// Until when it is out for its failures.
    ejected_until: Option<Instant>,
    /// How often in succession.
    ejections: u32,
    consecutive: u32,
    calls: u32,
    failures: u32,
    /// Since when it is slowly given more; `None`: long enough.
    warms_since: Option<Instant>,
}

impl Standing {
    /// A new endpoint; `warms_since` unless it is there from the start.
    pub(super) fn new(warms_since: Option<Instant>) -> Self {
        Self {
            serving: true,
            silent: 0,
            rests_until: None,
            ejected_until: None,
            ejections: 0,
            consecutive: 0,
            calls: 0,
            failures: 0,
            warms_since,
        }
    }

    pub(super) fn is_serving(&self) -> bool {
        self.serving
    }

    pub(super) fn is_ejected(&self, now: Instant) -> bool {
        self.ejected_until.is_some_and(|until| now < until)
    }

    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }

    pub(super) fn rest(&mut self, until: Instant) {
        self.rests_until = Some(until);
    }

    /// Takes note of a call. True: by its failures in a row it should be taken out.
    pub(super) fn observe(&mut self, outcome: Outcome) -> bool {
        self.calls = self.calls.saturating_add(1);
        match outcome {
            Outcome::Well => self.consecutive = 0,
            Outcome::Busy => {}
            Outcome::Faulty => self.failures = self.failures.saturating_add(1),
            Outcome::Failed => {
                self.failures = self.failures.saturating_add(1);
                self.consecutive = self.consecutive.saturating_add(1);
            }
        }
        self.consecutive >= CONSECUTIVE
    }

    /// Takes it out for a while, and longer each time in succession.
    pub(super) fn eject(&mut self, now: Instant) -> Duration {
        self.ejections = self.ejections.saturating_add(1);
        let time = FIRST_EJECTION.saturating_mul(self.ejections).min(LONGEST_EJECTION);
        self.ejected_until = Some(now + time);
        (self.consecutive, self.calls, self.failures) = (0, 0, 0);
        time
    }

    /// Ends an ejection whose time is over: it begins anew, slowly. True: it did.
    pub(super) fn readmit(&mut self, now: Instant) -> bool {
        let over = self.ejected_until.is_some_and(|until| until <= now);
        if over {
            self.ejected_until = None;
            self.warms_since = Some(now);
        }
        over
    }

    /// Takes note of a health check. True: whether it serves has changed.
    pub(super) fn checked(&mut self, health: Health, now: Instant) -> bool {
        self.silent = if health == Health::Silent { self.silent.saturating_add(1) } else { 0 };
        let serving = match health {
            Health::Serving | Health::Unknown => true,
            Health::NotServing => false,
            Health::Silent => self.serving && self.silent < UNANSWERED_CHECKS,
        };
        if serving && !self.serving {
            self.warms_since = Some(now);
            (self.consecutive, self.rests_until, self.ejected_until) = (0, None, None);
        }
        std::mem::replace(&mut self.serving, serving) != serving
    }

    /// How many checks in a row had no answer.
    pub(super) fn silent_checks(&self) -> u32 {
        self.silent
    }

    /// The part of its full share that it is given.
    pub(super) fn weight(&self, now: Instant, slow_start: Duration) -> f64 {
        let Some(since) = self.warms_since else { return 1.0 };
        let warm = now.saturating_duration_since(since).as_secs_f64() / slow_start.as_secs_f64().max(f64::MIN_POSITIVE);
        FIRST_WEIGHT.max(warm).min(1.0)
    }

    /// The calls and failures since the last time; an interval without an ejection forgives one.
    pub(super) fn end_interval(&mut self, now: Instant) -> Tally {
        if !self.is_ejected(now) && self.failures * 10 <= self.calls {
            self.ejections = self.ejections.saturating_sub(1);
        }
        let tally = Tally { calls: self.calls, failures: self.failures };
        (self.calls, self.failures) = (0, 0);
        tally
    }
}

/// Calls of one endpoint in an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) calls: u32,
    pub(super) failures: u32,
}

/// Which endpoints fail so much more often than the others do together that they should be taken out; the worst first.
pub(super) fn outliers(tallies: &[Tally]) -> Vec<usize> {
    let share = |calls: u64, failures: u64| if calls == 0 { 0.0 } else { failures as f64 / calls as f64 };
    let all = |of: fn(&Tally) -> u32| tallies.iter().map(|tally| u64::from(of(tally))).sum::<u64>();
    let (calls, failures) = (all(|t| t.calls), all(|t| t.failures));
    let mut found: Vec<(usize, f64)> = Vec::new();
    for (index, tally) in tallies.iter().enumerate() {
        let (mine, bad) = (u64::from(tally.calls), u64::from(tally.failures));
        // Without enough calls of the others there is nothing to compare with.
        if tally.calls < LEAST_CALLS || calls - mine < u64::from(LEAST_CALLS) {
            continue;
        }
        let (own, others) = (share(mine, bad), share(calls - mine, failures - bad));
        if own > others * TIMES_WORSE && own > others + POINTS_WORSE {
            found.push((index, own));
        }
    }
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found.into_iter().map(|(index, _)| index).collect()
}

/// How many of so many endpoints that serve may be out for their failures at once: never all.
pub(super) fn most_ejected(serving: usize, most_share: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small whole number")]
    let most = (serving as f64 * most_share.clamp(0.0, 1.0)).floor() as usize;
    most.min(serving.saturating_sub(1))
}
