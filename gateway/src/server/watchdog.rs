//! Monitors a caller's connection, and ends it when it exceeds a timeout: one that carries no call, and one whose
//! caller requests responses and does not read them. A PING does not extend either timeout.

mod calls;
mod stalls;
#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    task::Context,
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use calls::{Calls, Slot};
pub(crate) use calls::{Wait, Watched};
pub(crate) use stalls::Stalls;

/// The timeouts of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// Without an active call.
    pub(crate) idle: Duration,
    /// With a response that its caller does not read, while few bytes are unread.
    pub(crate) stalled: Duration,
    /// From the first byte of a request's head to its end (HTTP/1.1).
    pub(crate) head: Duration,
}

impl Timeouts {
    /// The time between two checks. Four are in the shortest timeout: the error is at most a quarter of it.
    pub(crate) fn tick(&self) -> Duration {
        let shortest = self.idle.min(self.stalled).min(self.head);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(15))
    }
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseReason {
    Idle,
    Stalled,
    SlowHead,
    /// The caller is gone, with an active call.
    Left,
}

impl CloseReason {
    /// The label in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::SlowHead => "slow_head",
            Self::Left => "left",
        }
    }
}

/// Connections whose unread bytes differ by less than this are ordered by the age of their oldest response.
const SIMILAR_BYTES: usize = 1024 * 1024;

/// The state of one connection. Time is counted in ticks, so that a frame costs a store and does not read the clock.
pub(crate) struct Watchdog {
    stalls: Arc<Stalls>,
    /// The connection's share of the unread bytes in `stalls`.
    unread: AtomicUsize,
    /// Notified when one of its responses is ended to free memory. HTTP/1.1 can end it only with the connection.
    evicted: Notify,
    ends_streams: bool,
    tick: AtomicU32,
    /// The number of active calls.
    active: AtomicU32,
    /// The tick at which a head began; 0: no head has begun.
    head_since: AtomicU32,
    calls: Mutex<Calls>,
}

impl Watchdog {
    /// `ends_streams`: a response can be ended without its connection.
    pub(crate) fn new(stalls: &Arc<Stalls>, ends_streams: bool) -> Arc<Self> {
        Arc::new(Self {
            stalls: Arc::clone(stalls),
            unread: AtomicUsize::new(0),
            evicted: Notify::new(),
            ends_streams,
            tick: AtomicU32::new(1),
            active: AtomicU32::new(0),
            head_since: AtomicU32::new(0),
            calls: Mutex::default(),
        })
    }

    /// Begins a call.
    pub(crate) fn begin(self: &Arc<Self>) -> Watched {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        let (slot, wait) = self.lock().begin();
        Watched::new(Arc::clone(self), slot, wait)
    }

    /// Ends when the connection exceeds a timeout. `has_left` reports whether the caller has left.
    pub(crate) async fn run(self: &Arc<Self>, timeouts: Timeouts, has_left: impl Fn() -> bool) -> CloseReason {
        let pause = timeouts.tick();
        let ticks = |time: Duration| u32::try_from(time.as_micros().div_ceil(pause.as_micros())).unwrap_or(u32::MAX);
        let (idle, stalled, head) = (ticks(timeouts.idle), ticks(timeouts.stalled), ticks(timeouts.head));
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.evicted.notified(), if !self.ends_streams => return CloseReason::Stalled,
            }
            let now = self.tick.fetch_add(1, Ordering::Relaxed);
            if has_lasted(&self.head_since, now, head) {
                return CloseReason::SlowHead;
            }
            if self.active.load(Ordering::Relaxed) > 0 && has_left() {
                return CloseReason::Left;
            }
            let mut calls = self.lock();
            calls.read_ahead_of_waiting(now);
            if calls.is_stalled(now, self.stalls.timeout(stalled)) {
                return CloseReason::Stalled;
            }
            if calls.count_tick() > idle {
                return CloseReason::Idle;
            }
        }
    }

    /// Ends a turn of the connection's task: reads ahead of the responses that their callers do not read, and counts
    /// the unread bytes. The task is woken when more arrives.
    pub(crate) fn end_turn(self: &Arc<Self>, cx: &mut Context<'_>) {
        if self.active.load(Ordering::Relaxed) == 0 && self.unread.load(Ordering::Relaxed) == 0 {
            return;
        }
        let is_under_pressure = self.stalls.is_under_pressure();
        let calls = self.lock();
        calls.waiting().for_each(|slot| slot.end_turn(&self.stalls, is_under_pressure, cx));
        self.count(calls);
    }

    fn count(self: &Arc<Self>, calls: MutexGuard<'_, Calls>) {
        let now = calls.unread_bytes();
        let before = self.unread.swap(now, Ordering::Relaxed);
        // Ending responses, perhaps of this connection, takes the lock again.
        drop(calls);
        self.stalls.change(self, before, now);
    }

    /// The order in which connections lose responses: by unread bytes, roughly, then by age. `None`: no response waits.
    fn eviction_rank(&self) -> Option<(usize, Reverse<u64>)> {
        let number = self.lock().oldest().map(Slot::wait_number)?;
        Some((self.unread.load(Ordering::Relaxed) / SIMILAR_BYTES, Reverse(number)))
    }

    /// Ends the response that has waited longest for its caller. Returns the bytes that this frees; `None`: no response
    /// waits.
    fn evict(self: &Arc<Self>) -> Option<usize> {
        let calls = self.lock();
        let (freed, wait) = calls.oldest().map(Slot::mark_evicted)?;
        self.count(calls);
        wait.wake_sender();
        self.evicted.notify_one();
        Some(freed)
    }

    /// Ends when there has been no active call for about `time`, which begins with the end of the last call. `tick` is
    /// that of [`Self::run`].
    pub(crate) async fn wait_until_quiet(&self, time: Duration, tick: Duration) {
        const CHECKS: u32 = 4;
        let (mut before, idle) = {
            let calls = self.lock();
            // The last call ended within the first of these ticks.
            (Some(calls.begun()), tick * calls.idle_ticks().saturating_sub(1))
        };
        let mut checks = (1..=CHECKS).filter(|check| time / CHECKS * *check <= idle).max().unwrap_or_default();
        while checks < CHECKS && !time.is_zero() {
            tokio::time::sleep(time / CHECKS).await;
            let now = self.lock().begun();
            checks = if self.is_quiet() && before == Some(now) { checks + 1 } else { 0 };
            before = Some(now);
        }
    }

    /// Whether no call is active and no head has begun.
    pub(crate) fn is_quiet(&self) -> bool {
        self.active.load(Ordering::Relaxed) == 0 && self.head_since.load(Ordering::Relaxed) == 0
    }

    /// The bytes since the last call were the rest of its request, and did not begin a head.
    pub(crate) fn clear_head(&self) {
        self.head_since.store(0, Ordering::Relaxed);
    }

    /// Bytes have arrived. Between two calls they begin a head.
    pub(crate) fn received(&self) {
        if self.is_quiet() {
            self.head_since.store(self.tick.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let unread = *self.unread.get_mut();
        self.stalls.remove(self, unread);
    }
}

/// Whether a state that began at tick `since` has lasted that many ticks; 0: it has not begun.
fn has_lasted(since: &AtomicU32, now: u32, ticks: u32) -> bool {
    match since.load(Ordering::Relaxed) {
        0 => false,
        since => now.saturating_sub(since) >= ticks,
    }
}
