//! Watches over a caller's connection: who holds it without using it gives it back, and so does who asks for answers
//! and then does not read them. A sign of life (a PING) is not enough for either.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    task::Context,
    time::Duration,
};

use crate::upstream::Intake;
use metrics::{Gauge, gauge};

/// How long a connection may do nothing of use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Without a call under way.
    pub(crate) idle: Duration,
    /// With an answer that its caller does not take, while few do so.
    pub(crate) stalled: Duration,
    /// With a request's head that has begun and does not end (HTTP/1.1).
    pub(crate) head: Duration,
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Idle,
    Stalled,
    SlowHead,
    /// The caller is gone, with a call under way.
    Left,
}

impl End {
    /// For a metric's label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::SlowHead => "slow_head",
            Self::Left => "left",
        }
    }
}

/// The answers of all connections that their callers do not take. The more there are, the less patience there is with
/// each, whoever opens how many connections.
pub(crate) struct Stalls {
    count: AtomicUsize,
    /// How many there may be before as little patience is left as there ever is.
    most: AtomicUsize,
    shown: Gauge,
}

/// The part of the patience that is always left: who reads slowly is no reader who has stopped.
const LEAST_PATIENCE: u32 = 6;

impl Stalls {
    pub(crate) fn new(most: usize) -> Self {
        let shown = gauge!("gateway_stalled_answers");
        Self { count: AtomicUsize::new(0), most: AtomicUsize::new(most), shown }
    }

    /// Another bound.
    pub(crate) fn bound(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// For how many looks an answer may not be taken: all of them up to half of the bound, then ever fewer, at last a
    /// sixth.
    fn patience(&self, looks: u32) -> u32 {
        let (count, most) = (self.count.load(Ordering::Relaxed), self.most.load(Ordering::Relaxed));
        let half = most / 2;
        let left = most.saturating_sub(count.max(half)) as u64;
        let shorter = u64::from(looks) * left / (most - half).max(1) as u64;
        u32::try_from(shorter).unwrap_or(u32::MAX).max(looks / LEAST_PATIENCE).max(1)
    }
}

/// What one connection has of the stalled answers.
struct Share<'a> {
    stalls: &'a Stalls,
    count: usize,
}

impl Share<'_> {
    fn set(&mut self, count: usize) {
        if count != self.count {
            // Wraps around where it becomes less, as the counter does.
            self.stalls.count.fetch_add(count.wrapping_sub(self.count), Ordering::Relaxed);
            self.stalls.shown.increment(count as f64 - self.count as f64);
            self.count = count;
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// The state of one connection. Time is counted in looks, so that a frame costs a store and no clock.
pub(crate) struct Vigil {
    look: AtomicU32,
    /// Calls under way.
    under_way: AtomicU32,
    /// The look at which a head began; 0: none is on its way.
    head_since: AtomicU32,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    seats: Vec<Seat>,
    /// Which of `seats` belong to no call.
    free: Vec<usize>,
    idle_looks: u32,
    /// How many calls have begun.
    begun: u64,
}

/// What a call has of its connection's vigil.
#[derive(Default)]
struct Seat {
    wait: Arc<Wait>,
    /// Where its answer comes from, once there is one.
    intake: Option<Arc<Intake>>,
}

#[derive(Default)]
struct Wait {
    /// The look at which an answer handed out a frame that was not taken yet; 0: it waits for nobody.
    since: AtomicU32,
    /// What follows is taken in before it is asked for: behind a small frame, and where the caller keeps waiting.
    reads_ahead: AtomicBool,
}

/// A frame below this size is a small one. Behind larger ones there is no hurry: to look after each would cost wake-ups.
const SMALL: usize = 4 * 1024;

/// A call's part in its connection's vigil; it ends with the call.
pub(crate) struct Watched {
    vigil: Arc<Vigil>,
    place: usize,
    wait: Arc<Wait>,
}

impl Vigil {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            look: AtomicU32::new(1),
            under_way: AtomicU32::new(0),
            head_since: AtomicU32::new(0),
            calls: Mutex::default(),
        })
    }

    /// A call begins.
    pub(crate) fn begin(self: &Arc<Self>) -> Watched {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        let mut calls = self.lock();
        calls.idle_looks = 0;
        calls.begun += 1;
        let place = calls.free.pop().unwrap_or_else(|| {
            calls.seats.push(Seat::default());
            calls.seats.len() - 1
        });
        Watched { vigil: Arc::clone(self), place, wait: Arc::clone(&calls.seats[place].wait) }
    }

    /// Ends when the connection has deserved to be closed. `stalls` is what all connections share; `has_left` tells whether
    /// the caller has.
    pub(crate) async fn keep(&self, patience: Patience, stalls: &Stalls, has_left: impl Fn() -> bool) -> End {
        // Four looks in the shorter time: the error is a quarter of it at most.
        let shortest = patience.idle.min(patience.stalled).min(patience.head);
        let pause = (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(15));
        let looks = |time: Duration| u32::try_from(time.as_micros().div_ceil(pause.as_micros())).unwrap_or(u32::MAX);
        let (idle, stalled, head) = (looks(patience.idle), looks(patience.stalled), looks(patience.head));
        let mut share = Share { stalls, count: 0 };
        loop {
            tokio::time::sleep(pause).await;
            let now = self.look.fetch_add(1, Ordering::Relaxed);
            if lasts(&self.head_since, now, head) {
                return End::SlowHead;
            }
            if self.under_way.load(Ordering::Relaxed) > 0 && has_left() {
                return End::Left;
            }
            let mut calls = self.lock();
            let stalls_now = calls.seats.iter().filter(|seat| lasts(&seat.wait.since, now, 1));
            share.set(stalls_now.inspect(|seat| seat.wait.reads_ahead.store(true, Ordering::Relaxed)).count());
            let stalled = stalls.patience(stalled);
            if calls.seats.iter().any(|seat| lasts(&seat.wait.since, now, stalled)) {
                return End::Stalled;
            }
            calls.idle_looks = if calls.free.len() == calls.seats.len() { calls.idle_looks + 1 } else { 0 };
            if calls.idle_looks > idle {
                return End::Idle;
            }
        }
    }

    /// Takes in what comes of answers that their callers do not take; the task is woken when more comes.
    pub(crate) fn read_ahead(&self, cx: &mut Context<'_>) {
        if self.under_way.load(Ordering::Relaxed) == 0 {
            return;
        }
        let waits = |wait: &Wait| wait.since.load(Ordering::Relaxed) != 0 && wait.reads_ahead.load(Ordering::Relaxed);
        let calls = self.lock();
        for intake in calls.seats.iter().filter(|seat| waits(&seat.wait)).filter_map(|seat| seat.intake.as_ref()) {
            intake.read_ahead(cx);
        }
    }

    /// Ends when no call has been under way for about `time`.
    pub(crate) async fn quiet(&self, time: Duration) {
        const LOOKS: u32 = 4;
        let (mut before, mut looks) = (None, 0);
        while looks < LOOKS && !time.is_zero() {
            tokio::time::sleep(time / LOOKS).await;
            let now = self.lock().begun;
            looks = if self.is_quiet() && before == Some(now) { looks + 1 } else { 0 };
            before = Some(now);
        }
    }

    /// No call is under way, and no head of one has begun.
    pub(crate) fn is_quiet(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0 && self.head_since.load(Ordering::Relaxed) == 0
    }

    /// What has come since the last call was the rest of its request, and not a head.
    pub(crate) fn was_no_head(&self) {
        self.head_since.store(0, Ordering::Relaxed);
    }

    /// Bytes have come. Between two calls they begin a head.
    pub(crate) fn heard(&self) {
        if self.under_way.load(Ordering::Relaxed) == 0 && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.look.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what began at look `since` has lasted so many looks; 0: it has not begun.
fn lasts(since: &AtomicU32, now: u32, looks: u32) -> bool {
    match since.load(Ordering::Relaxed) {
        0 => false,
        since => now.saturating_sub(since) >= looks,
    }
}

impl Watched {
    /// Where the answer comes from.
    pub(crate) fn comes_from(&self, intake: Arc<Intake>) {
        self.vigil.lock().seats[self.place].intake = Some(intake);
    }

    /// A frame with so many bytes of messages was handed out: from now on the caller is waited for.
    pub(crate) fn handed_out(&self, bytes: usize) {
        self.wait.reads_ahead.store(bytes < SMALL, Ordering::Relaxed);
        self.wait.since.store(self.vigil.look.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The caller wants the next one.
    pub(crate) fn asked(&self) {
        self.wait.since.store(0, Ordering::Relaxed);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.asked();
        self.vigil.under_way.fetch_sub(1, Ordering::Relaxed);
        let mut calls = self.vigil.lock();
        let intake = calls.seats[self.place].intake.take();
        calls.free.push(self.place);
        drop(calls);
        // The upstream hears of it.
        drop(intake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience =
        Patience { idle: Duration::from_secs(8), stalled: Duration::from_secs(4), head: Duration::from_secs(4) };

    async fn ends(vigil: &Vigil, within: u64) -> Option<End> {
        ends_among(&Stalls::new(8), vigil, within).await
    }

    async fn ends_among(stalls: &Stalls, vigil: &Vigil, within: u64) -> Option<End> {
        tokio::time::timeout(Duration::from_secs(within), vigil.keep(PATIENCE, stalls, || false)).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_nothing_is_let_go() {
        let vigil = Vigil::new();
        assert_eq!(ends(&vigil, 7).await, None);
        let call = vigil.begin();
        assert_eq!(ends(&vigil, 60).await, None, "a call that waits for its upstream is no idleness");
        drop(call);
        assert_eq!(ends(&vigil, 10).await, Some(End::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_let_go_whatever_else_goes_on() {
        let vigil = Vigil::new();
        let (stalled, lively) = (vigil.begin(), vigil.begin());
        stalled.handed_out(1);
        for _ in 0..3 {
            assert_eq!(ends(&vigil, 1).await, None);
            lively.handed_out(1);
            lively.asked();
        }
        assert_eq!(ends(&vigil, 3).await, Some(End::Stalled));
    }

    #[tokio::test(start_paused = true)]
    async fn the_more_answers_wait_the_less_patience_there_is() {
        let stalls = Stalls::new(8);
        let patience = |others: usize| {
            stalls.count.store(others, Ordering::Relaxed);
            stalls.patience(60)
        };
        assert_eq!([0, 4, 5, 6, 7, 8, 100].map(patience), [60, 60, 45, 30, 15, 10, 10]);
        assert_eq!(stalls.patience(1), 1);

        stalls.count.store(0, Ordering::Relaxed);
        let vigil = Vigil::new();
        let calls: Vec<_> = (0..8).map(|_| vigil.begin()).collect();
        calls[0].handed_out(1);
        assert_eq!(ends_among(&stalls, &vigil, 3).await, None, "there are few");
        calls.iter().for_each(|call| call.handed_out(1));
        assert_eq!(ends_among(&stalls, &vigil, 3).await, Some(End::Stalled));
        assert_eq!(stalls.count.load(Ordering::Relaxed), 0, "a connection that is gone counts no more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_must_end_and_what_comes_before_it_does_not_count() {
        let vigil = Vigil::new();
        assert_eq!(ends(&vigil, 4).await, None);
        vigil.heard();
        assert_eq!(ends(&vigil, 3).await, None);
        let call = vigil.begin();
        // The call's own body.
        vigil.heard();
        assert_eq!(ends(&vigil, 60).await, None);
        drop(call);
        vigil.heard();
        assert_eq!(ends(&vigil, 6).await, Some(End::SlowHead));
    }

    #[tokio::test(start_paused = true)]
    async fn connection_is_quiet_after_a_while_without_calls() {
        let (vigil, second) = (Vigil::new(), Duration::from_secs(1));
        let quiet = async || tokio::time::timeout(2 * second, vigil.quiet(second)).await.is_ok();
        assert!(quiet().await);
        let call = vigil.begin();
        assert!(!quiet().await, "a call is under way");
        drop(call);
        let calling = async {
            for _ in 0..20 {
                tokio::time::sleep(second / 5).await;
                drop(vigil.begin());
            }
            false
        };
        assert!(!tokio::select! { quiet = quiet() => quiet, called = calling => called }, "calls come and go");
        vigil.heard();
        assert!(!quiet().await, "a head has begun");
        vigil.was_no_head();
        assert!(quiet().await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_stays() {
        let vigil = Vigil::new();
        let slow = vigil.begin();
        for _ in 0..20 {
            slow.handed_out(1);
            assert_eq!(ends(&vigil, 3).await, None);
            slow.asked();
        }
    }
}
