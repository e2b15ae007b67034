//! Wakes a connection's task once per turn.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// The waker for h2. h2 wakes whenever there is something to write, mostly for calls that run in the very task that
/// then writes it: such a wake-up is deferred to the end of the turn, and dropped if the work is done by then.
pub(super) struct DeferredWaker {
    shared: Arc<SharedWaker>,
    waker: Waker,
}

#[derive(Default)]
struct SharedWaker {
    is_active: AtomicBool,
    is_woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for SharedWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        if !self.is_active.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

impl DeferredWaker {
    pub(super) fn new() -> Self {
        let shared = Arc::<SharedWaker>::default();
        Self { waker: Waker::from(Arc::clone(&shared)), shared }
    }

    /// The task begins a turn: until [`DeferredWaker::end`] wake-ups are only recorded.
    pub(super) fn begin(&self, cx: &Context<'_>) {
        self.shared.task.register(cx.waker());
        self.shared.is_active.store(true, Ordering::SeqCst);
    }

    /// Clears the recorded wake-ups and returns the context for h2, which does that work now.
    pub(super) fn context(&self) -> Context<'_> {
        self.shared.is_woken.store(false, Ordering::SeqCst);
        Context::from_waker(&self.waker)
    }

    /// Ends the turn: wakes the task if a wake-up was recorded since the last pass.
    pub(super) fn end(&self) {
        self.shared.is_active.store(false, Ordering::SeqCst);
        if self.shared.is_woken.load(Ordering::SeqCst) {
            self.shared.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_wakeup_is_dropped_only_if_its_work_is_done_in_the_turn() {
        let (deferred_waker, count) = (DeferredWaker::new(), Arc::<Count>::default());
        let woken = || count.0.load(Ordering::SeqCst);
        let task = Waker::from(Arc::clone(&count));
        deferred_waker.begin(&Context::from_waker(&task));
        deferred_waker.context().waker().wake_by_ref();
        deferred_waker.context();
        deferred_waker.end();
        assert_eq!(woken(), 0, "the work was done before the end");
        deferred_waker.context().waker().wake_by_ref();
        assert_eq!(woken(), 1, "no turn was in progress");
        deferred_waker.begin(&Context::from_waker(&task));
        deferred_waker.context().waker().wake_by_ref();
        deferred_waker.end();
        assert_eq!(woken(), 2, "the work was still to be done at the end");
    }
}
