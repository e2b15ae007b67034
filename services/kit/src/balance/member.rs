//! One endpoint of a set, and a call assigned to it.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::HeaderMap;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::{
    Location,
    endpoint_health::{EndpointHealth, EndpointOutcome},
    health::Prober,
    load::PeakEwma,
    set::Set,
};

/// How long other endpoints are preferred after a failed connection attempt.
const REST: Duration = Duration::from_secs(1);
/// A call cancelled after this time counts as a failure of the endpoint; an earlier cancellation does not.
const CANCELLED_AFTER: Duration = Duration::from_secs(1);

/// An endpoint with its load and health.
pub(super) struct Member<E> {
    pub(super) endpoint: E,
    pub(super) location: Location,
    pub(super) prober: Prober,
    pending: AtomicUsize,
    record: Mutex<Record>,
}

/// The results of calls and health checks.
pub(super) struct Record {
    pub(super) load: PeakEwma,
    pub(super) endpoint_health: EndpointHealth,
}

impl<E> Member<E> {
    pub(super) fn new(
        endpoint: E,
        location: Location,
        prober: Prober,
        load: PeakEwma,
        warms_since: Option<Instant>,
    ) -> Self {
        let record = Record { load, endpoint_health: EndpointHealth::new(warms_since) };
        Self { endpoint, location, prober, pending: AtomicUsize::new(0), record: Mutex::new(record) }
    }

    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        // Plain numbers are consistent after every step.
        self.record.lock()
    }

    /// The expected wait of a call at this endpoint, in seconds.
    pub(super) fn score(&self, now: Instant) -> f64 {
        let pending = u32::try_from(self.pending.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        // The microsecond makes pending calls count when all endpoints respond equally fast.
        (self.record().load.seconds(now) + 1e-6) * (f64::from(pending) + 1.0)
    }
}

/// An endpoint chosen for a call. The call counts as pending until this is dropped.
pub struct Pick<E> {
    member: Arc<Member<E>>,
    set: Arc<Set<E>>,
    since: Instant,
    /// Whether the response time has been recorded, or is not to be recorded.
    is_timed: AtomicBool,
    /// Whether the outcome has been recorded, or is not to be recorded.
    is_judged: AtomicBool,
}

impl<E> Pick<E> {
    pub(super) fn new(member: Arc<Member<E>>, set: Arc<Set<E>>, now: Instant) -> Self {
        member.pending.fetch_add(1, Ordering::Relaxed);
        Self { member, set, since: now, is_timed: AtomicBool::new(false), is_judged: AtomicBool::new(false) }
    }

    /// The location of the endpoint.
    pub fn location(&self) -> &Location {
        &self.member.location
    }

    /// Records the response time when the response begins. Its outcome is not known yet.
    pub fn begun(&self) {
        if self.is_timed.swap(true, Ordering::Relaxed) {
            return;
        }
        let now = Instant::now();
        self.member.record().load.observe(now.saturating_duration_since(self.since), now);
    }

    /// Changes the endpoint's health, and updates the state of the upstream if the endpoint begins or ends to fail.
    fn change<T>(&self, change: impl FnOnce(&mut EndpointHealth) -> T) -> T {
        let (result, has_changed) = {
            let mut record = self.member.record();
            let was_failing = record.endpoint_health.is_failing();
            let result = change(&mut record.endpoint_health);
            (result, record.endpoint_health.is_failing() != was_failing)
        };
        if has_changed {
            self.set.count(Instant::now());
        }
        result
    }

    /// Records the outcome of the call. Only the first report counts.
    pub fn report(&self, outcome: EndpointOutcome) {
        if self.is_judged.swap(true, Ordering::Relaxed) {
            return;
        }
        let now = Instant::now();
        // A fast failure must not make the endpoint look fast.
        let slow = || now.saturating_duration_since(self.since).as_secs_f64() > self.member.record().load.seconds(now);
        if !matches!(outcome, EndpointOutcome::Failed | EndpointOutcome::Faulty) || slow() {
            self.begun();
        }
        let is_failing = self.change(|health| health.observe(outcome));
        if is_failing {
            self.set.eject(&self.member, "consecutive", now);
        }
    }

    /// Records the response headers. They may also be the trailers (a response with trailers only).
    pub fn head(&self, headers: &HeaderMap) {
        if headers.contains_key("grpc-status") {
            self.report(EndpointOutcome::of(headers));
        } else {
            self.begun();
            self.change(EndpointHealth::reached);
        }
    }

    /// Records that no connection was made: other endpoints are preferred for a while, and names are resolved again.
    pub fn unreachable(&self) {
        self.unused();
        self.change(|health| health.rest(Instant::now() + REST));
        self.set.resolve_now.notify_one();
    }

    /// Records nothing: the call did not reach the endpoint, or the endpoint did not cause its outcome.
    pub fn unused(&self) {
        self.is_timed.store(true, Ordering::Relaxed);
        self.is_judged.store(true, Ordering::Relaxed);
    }
}

impl<E> Deref for Pick<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.member.endpoint
    }
}

impl<E> Drop for Pick<E> {
    fn drop(&mut self) {
        if !self.is_timed.load(Ordering::Relaxed) && self.since.elapsed() >= CANCELLED_AFTER {
            // Given up: the deadline passed, or the client cancelled.
            self.report(EndpointOutcome::Failed);
        }
        self.member.pending.fetch_sub(1, Ordering::Relaxed);
    }
}
