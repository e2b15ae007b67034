//! The health of one endpoint from its calls and checks. Pure: the time is an argument.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;
use tonic::Code;

use crate::grpc::{PUSHBACK, code_of};

/// Consecutive failures that eject an endpoint.
pub(super) const CONSECUTIVE: u32 = 5;
/// The minimum number of calls in an interval for judging an endpoint's failure rate.
const LEAST_CALLS: u32 = 20;
/// How much an endpoint's failure rate must exceed that of the others: as a factor, and as a difference.
const TIMES_WORSE: f64 = 2.0;
const POINTS_WORSE: f64 = 0.1;
/// The duration of the first ejection. The n-th ejection in succession lasts n times as long.
pub(super) const FIRST_EJECTION: Duration = Duration::from_secs(10);
/// The maximum duration of an ejection.
pub(super) const LONGEST_EJECTION: Duration = Duration::from_secs(300);
/// Health checks in a row without a response after which an endpoint counts as not serving.
const SILENT_CHECKS: u32 = 2;
/// The initial fraction of its share in slow start.
const FIRST_WEIGHT: f64 = 0.1;

/// The outcome of a call, as far as it concerns the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointOutcome {
    /// The endpoint responded. An error status may still be correct for the request.
    Well,
    /// The endpoint is overloaded but alive. Ejecting it would move its load to the others.
    Busy,
    /// The endpoint failed internally. A client may be able to provoke this, so it counts only in comparison with other
    /// endpoints.
    Faulty,
    /// The endpoint did not respond, or reported that it is unavailable.
    Failed,
}

impl EndpointOutcome {
    /// The outcome from the trailers of a response, or from the headers of a response with trailers only.
    pub fn of(headers: &HeaderMap) -> Self {
        match code_of(headers) {
            Some(Code::Unavailable | Code::ResourceExhausted) if headers.contains_key(PUSHBACK) => Self::Busy,
            Some(Code::Unavailable) => Self::Failed,
            Some(Code::Internal | Code::Unknown | Code::DataLoss) => Self::Faulty,
            _ => Self::Well,
        }
    }
}

/// The result of a health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Serving,
    /// The endpoint reported NOT_SERVING or accepts no connections.
    NotServing,
    /// The check got no response.
    Silent,
    /// The endpoint has no health service: outlier detection alone judges it.
    Unknown,
}

/// The health of one endpoint.
#[derive(Debug)]
pub(super) struct EndpointHealth {
    /// The result of the health checks.
    serving: bool,
    silent: u32,
    /// Until when other endpoints are preferred, because no connection could be made.
    rests_until: Option<Instant>,
    /// Until when the endpoint is ejected for its failures.
    ejected_until: Option<Instant>,
    /// The number of ejections in succession.
    ejections: u32,
    consecutive: u32,
    /// Whether the last attempt to connect failed, and no response has arrived since.
    is_unreachable: bool,
    calls: u32,
    failures: u32,
    /// When slow start began; `None`: the endpoint is warm.
    warms_since: Option<Instant>,
}

impl EndpointHealth {
    /// A new endpoint. `warms_since` is `None` for the endpoints of the first resolution.
    pub(super) fn new(warms_since: Option<Instant>) -> Self {
        Self {
            serving: true,
            silent: 0,
            rests_until: None,
            ejected_until: None,
            ejections: 0,
            consecutive: 0,
            is_unreachable: false,
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

    /// No connection could be made.
    pub(super) fn rest(&mut self, until: Instant) {
        self.rests_until = Some(until);
        self.is_unreachable = true;
    }

    /// A response has arrived.
    pub(super) fn reached(&mut self) {
        self.is_unreachable = false;
    }

    /// Whether the last attempt to connect failed.
    pub(super) fn is_unreachable(&self) -> bool {
        self.is_unreachable
    }

    /// Whether the last calls failed, for the log and the metrics. It is no reason to avoid the endpoint: it may be the
    /// only one.
    pub(super) fn is_failing(&self) -> bool {
        self.is_unreachable || self.consecutive >= CONSECUTIVE
    }

    /// Records the outcome of a call. Returns true if the endpoint has enough consecutive failures to be ejected.
    pub(super) fn observe(&mut self, outcome: EndpointOutcome) -> bool {
        self.calls = self.calls.saturating_add(1);
        self.is_unreachable &= outcome == EndpointOutcome::Failed;
        match outcome {
            EndpointOutcome::Well => self.consecutive = 0,
            EndpointOutcome::Busy => {}
            EndpointOutcome::Faulty => self.failures = self.failures.saturating_add(1),
            EndpointOutcome::Failed => {
                self.failures = self.failures.saturating_add(1);
                self.consecutive = self.consecutive.saturating_add(1);
            }
        }
        self.consecutive >= CONSECUTIVE
    }

    /// Ejects the endpoint, longer each time in succession.
    pub(super) fn eject(&mut self, now: Instant) -> Duration {
        self.ejections = self.ejections.saturating_add(1);
        let time = FIRST_EJECTION.saturating_mul(self.ejections).min(LONGEST_EJECTION);
        self.ejected_until = Some(now + time);
        (self.consecutive, self.calls, self.failures) = (0, 0, 0);
        time
    }

    /// Ends an ejection whose time is over and begins slow start. Returns true if one ended.
    pub(super) fn readmit(&mut self, now: Instant) -> bool {
        let over = self.ejected_until.is_some_and(|until| until <= now);
        if over {
            self.ejected_until = None;
            self.warms_since = Some(now);
        }
        over
    }

    /// Records a health check. Returns true if the serving state changed.
    pub(super) fn checked(&mut self, health: Health, now: Instant) -> bool {
        self.silent = if health == Health::Silent { self.silent.saturating_add(1) } else { 0 };
        let serving = match health {
            Health::Serving | Health::Unknown => true,
            Health::NotServing => false,
            Health::Silent => self.serving && self.silent < SILENT_CHECKS,
        };
        self.is_unreachable &= !matches!(health, Health::Serving | Health::Unknown);
        if serving && !self.serving {
            self.warms_since = Some(now);
            (self.consecutive, self.rests_until, self.ejected_until) = (0, None, None);
        }
        std::mem::replace(&mut self.serving, serving) != serving
    }

    /// The number of checks in a row without a response.
    pub(super) fn silent_checks(&self) -> u32 {
        self.silent
    }

    /// The fraction of its full share during slow start.
    pub(super) fn weight(&self, now: Instant, slow_start: Duration) -> f64 {
        let Some(since) = self.warms_since else { return 1.0 };
        let warm = now.saturating_duration_since(since).as_secs_f64() / slow_start.as_secs_f64().max(f64::MIN_POSITIVE);
        FIRST_WEIGHT.max(warm).min(1.0)
    }

    /// Returns the calls and failures since the last interval. An interval with few failures reduces the ejection
    /// count.
    pub(super) fn end_interval(&mut self, now: Instant) -> Tally {
        if !self.is_ejected(now) && self.failures * 10 <= self.calls {
            self.ejections = self.ejections.saturating_sub(1);
        }
        let tally = Tally { calls: self.calls, failures: self.failures };
        (self.calls, self.failures) = (0, 0);
        tally
    }
}

/// The calls of one endpoint in an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) calls: u32,
    pub(super) failures: u32,
}

/// The endpoints whose failure rate exceeds that of the others enough to be ejected, the worst first.
pub(super) fn outliers(tallies: &[Tally]) -> Vec<usize> {
    let share = |calls: u64, failures: u64| if calls == 0 { 0.0 } else { failures as f64 / calls as f64 };
    let all = |of: fn(&Tally) -> u32| tallies.iter().map(|tally| u64::from(of(tally))).sum::<u64>();
    let (calls, failures) = (all(|t| t.calls), all(|t| t.failures));
    let mut found: Vec<(usize, f64)> = Vec::new();
    for (index, tally) in tallies.iter().enumerate() {
        let (mine, bad) = (u64::from(tally.calls), u64::from(tally.failures));
        // Too few calls of the other endpoints allow no comparison.
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

/// The maximum number of endpoints ejected at once, of those that serve. Never all of them.
pub(super) fn most_ejected(serving: usize, most_share: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small whole number")]
    let most = (serving as f64 * most_share.clamp(0.0, 1.0)).floor() as usize;
    most.min(serving.saturating_sub(1))
}
