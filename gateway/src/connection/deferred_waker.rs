//! What wakes a connection's task.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// h2 rings whenever there is something to write. Most of that comes from calls that are worked on in the very task that
/// writes it afterwards: it must not be woken for that once more.
pub(super) struct DeferredWaker {
    shared: Arc<SharedWaker>,
    waker: Waker,
}

#[derive(Default)]
struct SharedWaker {
    at_work: AtomicBool,
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Wake for SharedWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        if !self.at_work.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

impl DeferredWaker {
    pub(super) fn new() -> Self {
        let shared = Arc::<SharedWaker>::default();
        Self { waker: Waker::from(Arc::clone(&shared)), shared }
    }

    /// The task begins to work: until [`DeferredWaker::end`] nobody wakes it.
    pub(super) fn begin(&self, cx: &Context<'_>) {
        self.shared.task.register(cx.waker());
        self.shared.at_work.store(true, Ordering::SeqCst);
    }

    /// What h2 is to wake, about to do what was rung for so far.
    pub(super) fn answer(&self) -> Context<'_> {
        self.shared.rung.store(false, Ordering::SeqCst);
        Context::from_waker(&self.waker)
    }

    /// The task goes to sleep, unless it was rung for meanwhile.
    pub(super) fn end(&self) {
        self.shared.at_work.store(false, Ordering::SeqCst);
        if self.shared.rung.load(Ordering::SeqCst) {
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
    fn what_is_done_at_once_wakes_nobody_and_nothing_else_is_lost() {
        let (deferred_waker, count) = (DeferredWaker::new(), Arc::<Count>::default());
        let woken = || count.0.load(Ordering::SeqCst);
        let task = Waker::from(Arc::clone(&count));
        deferred_waker.begin(&Context::from_waker(&task));
        deferred_waker.answer().waker().wake_by_ref();
        deferred_waker.answer();
        deferred_waker.end();
        assert_eq!(woken(), 0, "it was done before the end");
        deferred_waker.answer().waker().wake_by_ref();
        assert_eq!(woken(), 1, "nobody was at work");
        deferred_waker.begin(&Context::from_waker(&task));
        deferred_waker.answer().waker().wake_by_ref();
        deferred_waker.end();
        assert_eq!(woken(), 2, "it was still to be done at the end");
    }
}
