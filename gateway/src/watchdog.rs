//! Watches over a caller's connection: who holds it without using it gives it back, and so does who asks for responses
//! and then does not read them. A sign of life (a PING) is not enough for either.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    task::Context,
    time::Duration,
};

use futures_util::task::AtomicWaker;
use metrics::{Gauge, gauge};
use tokio::sync::Notify;

use crate::{receive_buffer::ReceiveBuffer, upstream};

/// How long a connection may do nothing of use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Without a call under way.
    pub(crate) idle: Duration,
    /// With a response that its caller does not take, while few do so.
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

/// What is held of responses that their callers do not take, of all connections, in bytes. The more there is, the less
/// patience there is with each; beyond the bound the connection that holds the most loses its oldest response, until the
/// rest is within it.
pub(crate) struct Stalls {
    held: AtomicUsize,
    /// The bound.
    most: AtomicUsize,
    /// The connections that hold any.
    holders: Mutex<HashMap<usize, Weak<Watchdog>>>,
    /// Counts responses that began to wait: who has a lower number waits longer.
    waited: AtomicU64,
    shown: Gauge,
}

/// The part of the patience that is always left: a slow reader is not stalled.
const LEAST_PATIENCE: u32 = 6;
/// Connections that hold about as much are told apart by how long they do.
const ABOUT: usize = 1024 * 1024;
/// What may wait for one caller in h2 (`max_send_buffer_size`) and before it, a frame of the upstream's. hyper's buffer
/// over HTTP/1.1 is smaller.
const TOWARDS_CALLER: usize = (64 + 32) * 1024;

impl Stalls {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        let shown = gauge!("gateway_stalled_response_bytes");
        Arc::new(Self {
            held: AtomicUsize::new(0),
            most: AtomicUsize::new(most),
            holders: Mutex::default(),
            waited: AtomicU64::new(1),
            shown,
        })
    }

    /// Another bound.
    pub(crate) fn bound(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// For how many looks a response may not be taken: all of them up to half of the bound, then ever fewer, at last a
    /// sixth.
    fn patience(&self, looks: u32) -> u32 {
        let (held, most) = (self.held.load(Ordering::Relaxed), self.most.load(Ordering::Relaxed));
        let half = most / 2;
        let left = most.saturating_sub(held.max(half)) as u64;
        let shorter = u64::from(looks) * left / (most - half).max(1) as u64;
        u32::try_from(shorter).unwrap_or(u32::MAX).max(looks / LEAST_PATIENCE).max(1)
    }

    /// So much is held that each response is to be measured, and not taken for a whole window.
    fn is_pressed(&self) -> bool {
        self.held.load(Ordering::Relaxed) > self.most.load(Ordering::Relaxed) / 4
    }

    /// Takes note that a connection holds `now`, and no longer `before`.
    fn change(&self, watchdog: &Arc<Watchdog>, before: usize, now: usize) {
        if before == now {
            return;
        }
        // Wraps around where it becomes less, as the counter does.
        let change = now.wrapping_sub(before);
        let held = self.held.fetch_add(change, Ordering::Relaxed).wrapping_add(change);
        self.shown.set(held as f64);
        let key = Arc::as_ptr(watchdog).addr();
        if before == 0 || now == 0 {
            let mut holders = lock(&self.holders);
            // What it holds by now counts: another thread may have come between.
            if watchdog.holds.load(Ordering::Relaxed) > 0 {
                holders.insert(key, Arc::downgrade(watchdog));
            } else {
                holders.remove(&key);
            }
        }
        let most = self.most.load(Ordering::Relaxed);
        if now > before && held > most {
            // A bit more than must be, so that not every frame begins anew.
            self.evict(held - (most - most / 8));
        }
    }

    /// Ends responses until `excess` bytes are free.
    fn evict(&self, mut excess: usize) {
        let holders: Vec<_> = lock(&self.holders).values().filter_map(Weak::upgrade).collect();
        let limit_state = |at: usize| holders[at].limit_state().map(|limit_state| (limit_state, at));
        let mut worst: BinaryHeap<_> = (0..holders.len()).filter_map(limit_state).collect();
        while excess > 0
            && let Some((_, at)) = worst.pop()
        {
            let Some(freed) = holders[at].evict() else { continue };
            excess = excess.saturating_sub(freed);
            worst.extend(limit_state(at));
            metrics::counter!("gateway_stalled_responses_ended_total").increment(1);
        }
    }
}

/// The state of one connection. Time is counted in looks, so that a frame costs a store and no clock.
pub(crate) struct Watchdog {
    stalls: Arc<Stalls>,
    /// What it has of the bytes in `stalls`.
    holds: AtomicUsize,
    /// One of its responses was ended to free memory. HTTP/1.1 can end it only with the connection.
    evicted: Notify,
    ends_streams: bool,
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

/// What a call has of its connection's watchdog.
#[derive(Default)]
struct Seat {
    wait: Arc<Wait>,
    /// Where its response comes from, once there is one.
    receive_buffer: Option<Arc<ReceiveBuffer>>,
}

#[derive(Default)]
pub(crate) struct Wait {
    /// The look at which a response handed out a frame that was not taken yet; 0: it waits for nobody.
    since: AtomicU32,
    /// What follows is taken in before it is asked for: behind a small frame, and where the caller keeps waiting.
    reads_ahead: AtomicBool,
    /// The number of the wait among all (`Stalls::waited`); 0: it has none yet.
    number: AtomicU64,
    /// The response is to be ended at once.
    is_evicted: AtomicBool,
    /// Of the task that sends it.
    sender: AtomicWaker,
}

impl Wait {
    /// Whether the response is to be ended at once; the task is woken when it is.
    pub(crate) fn is_evicted(&self, cx: &mut Context<'_>) -> bool {
        self.sender.register(cx.waker());
        self.is_evicted.load(Ordering::Relaxed)
    }
}

impl Calls {
    /// The one whose response waits longest for its caller.
    fn oldest(&self) -> Option<&Seat> {
        // Without a number it has only just begun to wait: its connection is in the middle of a turn.
        let is_numbered = |seat: &&Seat| seat.wait.number.load(Ordering::Relaxed) != 0;
        let waiting = self.seats.iter().filter(|seat| is_numbered(seat) && seat.bytes() > 0);
        waiting.min_by_key(|seat| seat.wait.number.load(Ordering::Relaxed))
    }
}

impl Seat {
    /// What is held of a response whose caller does not take it.
    fn bytes(&self) -> usize {
        let wait = &self.wait;
        if wait.since.load(Ordering::Relaxed) == 0 || wait.is_evicted.load(Ordering::Relaxed) {
            return 0;
        }
        let from_upstream = match &self.receive_buffer {
            None => 0,
            Some(receive_buffer) if wait.reads_ahead.load(Ordering::Relaxed) => receive_buffer.held(),
            Some(_) => upstream::STREAM_WINDOW as usize,
        };
        TOWARDS_CALLER + from_upstream
    }
}

/// A frame below this size is a small one. Behind larger ones there is no hurry: to look after each would cost wake-ups.
const SMALL: usize = 4 * 1024;

/// A call's part in its connection's watchdog; it ends with the call.
pub(crate) struct Watched {
    watchdog: Arc<Watchdog>,
    place: usize,
    wait: Arc<Wait>,
}

impl Watchdog {
    /// `ends_streams`: a response can be ended without its connection.
    pub(crate) fn new(stalls: &Arc<Stalls>, ends_streams: bool) -> Arc<Self> {
        Arc::new(Self {
            stalls: Arc::clone(stalls),
            holds: AtomicUsize::new(0),
            evicted: Notify::new(),
            ends_streams,
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
        Watched { watchdog: Arc::clone(self), place, wait: Arc::clone(&calls.seats[place].wait) }
    }

    /// Ends when the connection has deserved to be closed. `has_left` tells whether the caller has.
    pub(crate) async fn keep(self: &Arc<Self>, patience: Patience, has_left: impl Fn() -> bool) -> End {
        // Four looks in the shorter time: the error is a quarter of it at most.
        let shortest = patience.idle.min(patience.stalled).min(patience.head);
        let pause = (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(15));
        let looks = |time: Duration| u32::try_from(time.as_micros().div_ceil(pause.as_micros())).unwrap_or(u32::MAX);
        let (idle, stalled, head) = (looks(patience.idle), looks(patience.stalled), looks(patience.head));
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.evicted.notified(), if !self.ends_streams => return End::Stalled,
            }
            let now = self.look.fetch_add(1, Ordering::Relaxed);
            if lasts(&self.head_since, now, head) {
                return End::SlowHead;
            }
            if self.under_way.load(Ordering::Relaxed) > 0 && has_left() {
                return End::Left;
            }
            let mut calls = self.lock();
            for seat in calls.seats.iter().filter(|seat| lasts(&seat.wait.since, now, 1)) {
                seat.wait.reads_ahead.store(true, Ordering::Relaxed);
            }
            let stalled = self.stalls.patience(stalled);
            if calls.seats.iter().any(|seat| lasts(&seat.wait.since, now, stalled)) {
                return End::Stalled;
            }
            calls.idle_looks = if calls.free.len() == calls.seats.len() { calls.idle_looks + 1 } else { 0 };
            if calls.idle_looks > idle {
                return End::Idle;
            }
        }
    }

    /// Ends a turn of the connection's task: takes in what comes of responses that their callers do not take, and counts
    /// it. The task is woken when more comes.
    pub(crate) fn end_turn(self: &Arc<Self>, cx: &mut Context<'_>) {
        if self.under_way.load(Ordering::Relaxed) == 0 && self.holds.load(Ordering::Relaxed) == 0 {
            return;
        }
        let is_pressed = self.stalls.is_pressed();
        let calls = self.lock();
        for seat in calls.seats.iter().filter(|seat| seat.wait.since.load(Ordering::Relaxed) != 0) {
            let (reads_ahead, number) = (&seat.wait.reads_ahead, &seat.wait.number);
            if number.load(Ordering::Relaxed) == 0 {
                number.store(self.stalls.waited.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
            }
            if is_pressed {
                reads_ahead.store(true, Ordering::Relaxed);
            }
            if let Some(receive_buffer) = seat.receive_buffer.as_ref().filter(|_| reads_ahead.load(Ordering::Relaxed)) {
                receive_buffer.read_ahead(cx);
            }
        }
        self.count(calls);
    }

    fn count(self: &Arc<Self>, calls: MutexGuard<'_, Calls>) {
        let now = calls.seats.iter().map(Seat::bytes).sum();
        let before = self.holds.swap(now, Ordering::Relaxed);
        // Ending responses, perhaps of this connection, takes the lock again.
        drop(calls);
        self.stalls.change(self, before, now);
    }

    /// How much it holds, about, and for how long. `None`: nothing.
    fn limit_state(&self) -> Option<(usize, Reverse<u64>)> {
        let number = self.lock().oldest()?.wait.number.load(Ordering::Relaxed);
        Some((self.holds.load(Ordering::Relaxed) / ABOUT, Reverse(number)))
    }

    /// Ends the response that waits longest for its caller. What that frees; `None`: none waits.
    fn evict(self: &Arc<Self>) -> Option<usize> {
        let calls = self.lock();
        let oldest = calls.oldest()?;
        let (freed, wait) = (oldest.bytes(), Arc::clone(&oldest.wait));
        wait.is_evicted.store(true, Ordering::Relaxed);
        self.count(calls);
        wait.sender.wake();
        self.evicted.notify_one();
        Some(freed)
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

    fn lock(&self) -> MutexGuard<'_, Calls> {
        lock(&self.calls)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let holds = *self.holds.get_mut();
        let held = self.stalls.held.fetch_sub(holds, Ordering::Relaxed);
        if holds > 0 {
            self.stalls.shown.set(held.wrapping_sub(holds) as f64);
        }
        lock(&self.stalls.holders).remove(&std::ptr::from_ref(self).addr());
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether what began at look `since` has lasted so many looks; 0: it has not begun.
fn lasts(since: &AtomicU32, now: u32, looks: u32) -> bool {
    match since.load(Ordering::Relaxed) {
        0 => false,
        since => now.saturating_sub(since) >= looks,
    }
}

impl Watched {
    /// What tells that the response is to be ended.
    pub(crate) fn wait(&self) -> Arc<Wait> {
        Arc::clone(&self.wait)
    }

    /// Where the response comes from.
    pub(crate) fn comes_from(&self, receive_buffer: Arc<ReceiveBuffer>) {
        self.watchdog.lock().seats[self.place].receive_buffer = Some(receive_buffer);
    }

    /// A frame with so many bytes of messages was handed out: from now on the caller is waited for.
    pub(crate) fn handed_out(&self, bytes: usize) {
        self.wait.reads_ahead.store(bytes < SMALL, Ordering::Relaxed);
        self.wait.since.store(self.watchdog.look.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The caller wants the next one.
    pub(crate) fn asked(&self) {
        self.wait.since.store(0, Ordering::Relaxed);
        self.wait.number.store(0, Ordering::Relaxed);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.asked();
        self.watchdog.under_way.fetch_sub(1, Ordering::Relaxed);
        let mut calls = self.watchdog.lock();
        let seat = &mut calls.seats[self.place];
        // The next call's state is its own, whoever still has this one's.
        if seat.wait.is_evicted.load(Ordering::Relaxed) {
            seat.wait = Arc::default();
        }
        let receive_buffer = seat.receive_buffer.take();
        calls.free.push(self.place);
        drop(calls);
        // The upstream hears of it.
        drop(receive_buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience =
        Patience { idle: Duration::from_secs(8), stalled: Duration::from_secs(4), head: Duration::from_secs(4) };

    fn watchdog() -> Arc<Watchdog> {
        Watchdog::new(&Stalls::new(1 << 30), true)
    }

    async fn ends(watchdog: &Arc<Watchdog>, within: u64) -> Option<End> {
        tokio::time::timeout(Duration::from_secs(within), watchdog.keep(PATIENCE, || false)).await.ok()
    }

    fn end_turn(watchdog: &Arc<Watchdog>) {
        watchdog.end_turn(&mut Context::from_waker(std::task::Waker::noop()));
    }

    fn is_evicted(call: &Watched) -> bool {
        call.wait.is_evicted(&mut Context::from_waker(std::task::Waker::noop()))
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_nothing_is_let_go() {
        let watchdog = watchdog();
        assert_eq!(ends(&watchdog, 7).await, None);
        let call = watchdog.begin();
        assert_eq!(ends(&watchdog, 60).await, None, "a call that waits for its upstream is no idleness");
        drop(call);
        assert_eq!(ends(&watchdog, 10).await, Some(End::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_let_go_whatever_else_goes_on() {
        let watchdog = watchdog();
        let (stalled, lively) = (watchdog.begin(), watchdog.begin());
        stalled.handed_out(1);
        for _ in 0..3 {
            assert_eq!(ends(&watchdog, 1).await, None);
            lively.handed_out(1);
            lively.asked();
        }
        assert_eq!(ends(&watchdog, 3).await, Some(End::Stalled));
    }

    #[tokio::test(start_paused = true)]
    async fn patience_shrinks_with_the_bytes_held() {
        let stalls = Stalls::new(8);
        let patience = |held: usize| {
            stalls.held.store(held, Ordering::Relaxed);
            stalls.patience(60)
        };
        assert_eq!([0, 4, 5, 6, 7, 8, 100].map(patience), [60, 60, 45, 30, 15, 10, 10]);
        assert_eq!(stalls.patience(1), 1);

        let stalls = Stalls::new(8 * TOWARDS_CALLER);
        let watchdog = Watchdog::new(&stalls, true);
        let calls: Vec<_> = (0..8).map(|_| watchdog.begin()).collect();
        calls[0].handed_out(1);
        end_turn(&watchdog);
        assert_eq!(ends(&watchdog, 3).await, None, "there is little");
        calls.iter().for_each(|call| call.handed_out(1));
        end_turn(&watchdog);
        assert_eq!(ends(&watchdog, 3).await, Some(End::Stalled));
        assert_eq!(stalls.held.load(Ordering::Relaxed), 8 * TOWARDS_CALLER);
        drop((calls, watchdog));
        assert_eq!(stalls.held.load(Ordering::Relaxed), 0, "a connection that is gone holds nothing");
    }

    /// The connection that holds the most loses its oldest, at once.
    #[tokio::test(start_paused = true)]
    async fn beyond_the_bound_responses_end_at_once() {
        // More than [`ABOUT`]: less is told apart by its age.
        let stalls = Stalls::new(40 * TOWARDS_CALLER);
        let (large, small) = (Watchdog::new(&stalls, true), Watchdog::new(&stalls, false));
        let one = small.begin();
        one.handed_out(1);
        end_turn(&small);
        let many: Vec<_> = (0..80).map(|_| large.begin()).collect();
        for call in &many {
            call.handed_out(1);
            large.look.fetch_add(1, Ordering::Relaxed);
            end_turn(&large);
        }
        let kept = many.iter().filter(|call| !is_evicted(call)).count();
        assert!((33..=39).contains(&kept), "{kept} are left");
        assert!(is_evicted(&many[0]) && !is_evicted(&many[79]));
        assert!(!is_evicted(&one));
        assert!(stalls.held.load(Ordering::Relaxed) <= 40 * TOWARDS_CALLER);
        // Over HTTP/1.1 the connection ends with its response.
        drop(many);
        end_turn(&large);
        stalls.bound(0);
        stalls.evict(1);
        assert_eq!(ends(&small, 1).await, Some(End::Stalled));
        drop((one, small, large));
        assert!(lock(&stalls.holders).is_empty());
    }

    /// The one that has waited longest ends, whichever connection was looked at first.
    #[tokio::test(start_paused = true)]
    async fn of_connections_that_hold_alike_the_longest_wait_ends_first() {
        let stalls = Stalls::new(8 * TOWARDS_CALLER);
        let watchdogs: Vec<_> = (0..8).map(|_| Watchdog::new(&stalls, true)).collect();
        let calls: Vec<_> = watchdogs.iter().map(Watchdog::begin).collect();
        let order = [5, 2, 7, 0, 3, 6, 1, 4];
        for at in order {
            calls[at].handed_out(1);
            end_turn(&watchdogs[at]);
        }
        for ended in 1..=order.len() {
            stalls.evict(1);
            let evicted: Vec<_> = order.iter().map(|at| is_evicted(&calls[*at])).collect();
            assert!(evicted[..ended].iter().all(|is| *is), "{ended}: {evicted:?}");
            assert!(!evicted[ended..].iter().any(|is| *is), "{ended}: {evicted:?}");
        }
    }

    /// Two threads may change the list of holders in another order than the counts: the entry goes with the connection.
    #[tokio::test(start_paused = true)]
    async fn closed_connection_that_holds_nothing_is_no_holder() {
        let stalls = Stalls::new(1 << 30);
        let watchdog = Watchdog::new(&stalls, true);
        lock(&stalls.holders).insert(Arc::as_ptr(&watchdog).addr(), Arc::downgrade(&watchdog));
        drop(watchdog);
        assert!(lock(&stalls.holders).is_empty());
        assert_eq!(stalls.held.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_must_end_and_what_comes_before_it_does_not_count() {
        let watchdog = watchdog();
        assert_eq!(ends(&watchdog, 4).await, None);
        watchdog.heard();
        assert_eq!(ends(&watchdog, 3).await, None);
        let call = watchdog.begin();
        // The call's own body.
        watchdog.heard();
        assert_eq!(ends(&watchdog, 60).await, None);
        drop(call);
        watchdog.heard();
        assert_eq!(ends(&watchdog, 6).await, Some(End::SlowHead));
    }

    #[tokio::test(start_paused = true)]
    async fn connection_is_quiet_after_a_while_without_calls() {
        let (watchdog, second) = (watchdog(), Duration::from_secs(1));
        let quiet = async || tokio::time::timeout(2 * second, watchdog.quiet(second)).await.is_ok();
        assert!(quiet().await);
        let call = watchdog.begin();
        assert!(!quiet().await, "a call is under way");
        drop(call);
        let calling = async {
            for _ in 0..20 {
                tokio::time::sleep(second / 5).await;
                drop(watchdog.begin());
            }
            false
        };
        assert!(!tokio::select! { quiet = quiet() => quiet, called = calling => called }, "calls come and go");
        watchdog.heard();
        assert!(!quiet().await, "a head has begun");
        watchdog.was_no_head();
        assert!(quiet().await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_stays() {
        let watchdog = watchdog();
        let slow = watchdog.begin();
        for _ in 0..20 {
            slow.handed_out(1);
            assert_eq!(ends(&watchdog, 3).await, None);
            slow.asked();
        }
    }
}
