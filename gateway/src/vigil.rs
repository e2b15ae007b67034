//! Watches over a caller's connection: who holds it without using it gives it back, and so does who asks for answers
//! and then does not read them. A sign of life (a PING) is not enough for either.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// How long a connection may do nothing of use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Without a call under way.
    pub(crate) idle: Duration,
    /// With an answer that its caller does not take.
    pub(crate) stalled: Duration,
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Idle,
    Stalled,
}

impl End {
    /// For a metric's label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Stalled => "stalled",
        }
    }
}

/// The state of one connection. Time is counted in looks, so that a frame costs a store and no clock.
pub(crate) struct Vigil {
    look: AtomicU32,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    /// The look at which an answer handed out a frame that was not taken yet; 0: it waits for nobody.
    waits: Vec<Arc<AtomicU32>>,
    /// Which of `waits` belong to no call.
    free: Vec<usize>,
    idle_looks: u32,
}

/// A call's part in its connection's vigil; it ends with the call.
pub(crate) struct Watched {
    vigil: Arc<Vigil>,
    place: usize,
    wait: Arc<AtomicU32>,
}

impl Vigil {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { look: AtomicU32::new(1), calls: Mutex::default() })
    }

    /// A call begins.
    pub(crate) fn begin(self: &Arc<Self>) -> Watched {
        let mut calls = self.lock();
        calls.idle_looks = 0;
        let place = calls.free.pop().unwrap_or_else(|| {
            calls.waits.push(Arc::default());
            calls.waits.len() - 1
        });
        Watched { vigil: Arc::clone(self), place, wait: Arc::clone(&calls.waits[place]) }
    }

    /// Ends when the connection has deserved to be closed.
    pub(crate) async fn keep(&self, patience: Patience) -> End {
        // Four looks in the shorter time: the error is a quarter of it at most.
        let pause = (patience.idle.min(patience.stalled) / 4).clamp(Duration::from_millis(10), Duration::from_secs(15));
        let looks = |time: Duration| u32::try_from(time.as_micros().div_ceil(pause.as_micros())).unwrap_or(u32::MAX);
        let (idle, stalled) = (looks(patience.idle), looks(patience.stalled));
        loop {
            tokio::time::sleep(pause).await;
            if let Some(end) = self.look(idle, stalled) {
                return end;
            }
        }
    }

    fn look(&self, idle: u32, stalled: u32) -> Option<End> {
        let now = self.look.fetch_add(1, Ordering::Relaxed);
        let mut calls = self.lock();
        let is_stalled = |wait: &Arc<AtomicU32>| match wait.load(Ordering::Relaxed) {
            0 => false,
            since => now.saturating_sub(since) >= stalled,
        };
        if calls.waits.iter().any(is_stalled) {
            return Some(End::Stalled);
        }
        calls.idle_looks = if calls.free.len() == calls.waits.len() { calls.idle_looks + 1 } else { 0 };
        (calls.idle_looks > idle).then_some(End::Idle)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// A frame was handed out: from now on the caller is waited for.
    pub(crate) fn handed_out(&self) {
        self.wait.store(self.vigil.look.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The caller wants the next one.
    pub(crate) fn asked(&self) {
        self.wait.store(0, Ordering::Relaxed);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.asked();
        self.vigil.lock().free.push(self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { idle: Duration::from_secs(8), stalled: Duration::from_secs(4) };

    async fn ends(vigil: &Vigil, within: u64) -> Option<End> {
        tokio::time::timeout(Duration::from_secs(within), vigil.keep(PATIENCE)).await.ok()
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
        stalled.handed_out();
        for _ in 0..3 {
            assert_eq!(ends(&vigil, 1).await, None);
            lively.handed_out();
            lively.asked();
        }
        assert_eq!(ends(&vigil, 3).await, Some(End::Stalled));
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_stays() {
        let vigil = Vigil::new();
        let slow = vigil.begin();
        for _ in 0..20 {
            slow.handed_out();
            assert_eq!(ends(&vigil, 3).await, None);
            slow.asked();
        }
    }
}
