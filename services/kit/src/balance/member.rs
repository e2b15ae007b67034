//! One endpoint among others, and a call that it was given.

use std::{
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::HeaderMap;
use tokio::time::Instant;

use super::{
    Location,
    health::Prober,
    load::PeakEwma,
    set::Set,
    standing::{Outcome, Standing},
};

/// How long after a failed attempt to connect other endpoints come first.
const REST: Duration = Duration::from_secs(1);
/// A call that was given up after so long tells of its endpoint; one before, of its caller's haste.
const PATIENCE: Duration = Duration::from_secs(1);

/// An endpoint and what is known of it.
pub(super) struct Member<E> {
    pub(super) endpoint: E,
    pub(super) location: Location,
    pub(super) prober: Prober,
    pending: AtomicUsize,
    record: Mutex<Record>,
}

/// What calls and checks have shown.
pub(super) struct Record {
    pub(super) load: PeakEwma,
    pub(super) standing: Standing,
}

impl<E> Member<E> {
    pub(super) fn new(
        endpoint: E,
        location: Location,
        prober: Prober,
        load: PeakEwma,
        warms_since: Option<Instant>,
    ) -> Self {
        let record = Record { load, standing: Standing::new(warms_since) };
        Self { endpoint, location, prober, pending: AtomicUsize::new(0), record: Mutex::new(record) }
    }

    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        // Plain numbers are whole after every step.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a call may have to wait here, in seconds.
    pub(super) fn score(&self, now: Instant) -> f64 {
        let pending = u32::try_from(self.pending.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        // The microsecond lets the calls count where all answers are equally fast.
        (self.record().load.seconds(now) + 1e-6) * (f64::from(pending) + 1.0)
    }
}

/// An endpoint that has been given a call; the call counts until this is dropped.
pub struct Pick<E> {
    member: Arc<Member<E>>,
    set: Arc<Set<E>>,
    since: Instant,
    /// The time to the answer has been taken into account, or never is.
    is_timed: AtomicBool,
    /// How it ended has.
    is_judged: AtomicBool,
}

impl<E> Pick<E> {
    pub(super) fn new(member: Arc<Member<E>>, set: Arc<Set<E>>, now: Instant) -> Self {
        member.pending.fetch_add(1, Ordering::Relaxed);
        Self { member, set, since: now, is_timed: AtomicBool::new(false), is_judged: AtomicBool::new(false) }
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.member.location
    }

    /// The answer has begun; how it ends is not known yet.
    pub fn begun(&self) {
        if self.is_timed.swap(true, Ordering::Relaxed) {
            return;
        }
        let now = Instant::now();
        self.member.record().load.observe(now.saturating_duration_since(self.since), now);
    }

    /// Tells how the call went; the first word counts.
    pub fn report(&self, outcome: Outcome) {
        if self.is_judged.swap(true, Ordering::Relaxed) {
            return;
        }
        let now = Instant::now();
        // Who fails at once must not look fast.
        let slow = || now.saturating_duration_since(self.since).as_secs_f64() > self.member.record().load.seconds(now);
        if !matches!(outcome, Outcome::Failed | Outcome::Faulty) || slow() {
            self.begun();
        }
        let is_failing = self.member.record().standing.observe(outcome);
        if is_failing {
            self.set.eject(&self.member, "consecutive", now);
        }
    }

    /// Takes an answer's first headers into account: they may be its last.
    pub fn head(&self, headers: &HeaderMap) {
        if headers.contains_key("grpc-status") {
            self.report(Outcome::of(headers));
        } else {
            self.begun();
        }
    }

    /// Nobody listens there, or not in time: others come first for a while, and names are looked up again.
    pub fn unreachable(&self) {
        self.unused();
        self.member.record().standing.rest(Instant::now() + REST);
        self.set.look.notify_one();
    }

    /// Nothing is told of it: the call never came so far, or the endpoint had no part in what became of it.
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
        if !self.is_timed.load(Ordering::Relaxed) && self.since.elapsed() >= PATIENCE {
            // Given up: its time was over, or its caller has left.
            self.report(Outcome::Failed);
        }
        self.member.pending.fetch_sub(1, Ordering::Relaxed);
    }
}
