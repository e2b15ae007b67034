//! The bound on unread response bytes that all connections share.

use std::{
    collections::{BinaryHeap, HashMap},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use metrics::{Gauge, gauge};
use parking_lot::Mutex;

use super::Watchdog;

/// The unread response bytes of all connections. The more there are, the shorter is the stall timeout; beyond the bound
/// the connection with the most loses its oldest response, until the rest is within the bound.
pub(crate) struct Stalls {
    unread: AtomicUsize,
    bound: AtomicUsize,
    /// The shutdown drains: clients that do not read must not delay it.
    is_draining: AtomicBool,
    /// The connections with unread bytes.
    holders: Mutex<HashMap<usize, Weak<Watchdog>>>,
    /// The number of the next response that waits: a lower number has waited longer.
    next_wait: AtomicU64,
    gauge: Gauge,
}

/// The stall timeout is at least this fraction of its configured value: a slow reader is not stalled.
const SHORTEST_FRACTION: u32 = 6;

impl Stalls {
    pub(crate) fn new(bound: usize) -> Arc<Self> {
        Arc::new(Self {
            unread: AtomicUsize::new(0),
            bound: AtomicUsize::new(bound),
            is_draining: AtomicBool::new(false),
            holders: Mutex::default(),
            next_wait: AtomicU64::new(1),
            gauge: gauge!("gateway_stalled_response_bytes"),
        })
    }

    /// Sets another bound.
    pub(crate) fn set_bound(&self, bound: usize) {
        self.bound.store(bound, Ordering::Relaxed);
    }

    /// The shutdown drains.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// The stall timeout in ticks: the full `ticks` up to half of the bound, then linearly fewer, at least a sixth. A sixth
    /// also while the shutdown drains.
    pub(super) fn timeout(&self, ticks: u32) -> u32 {
        let shortest = (ticks / SHORTEST_FRACTION).max(1);
        if self.is_draining.load(Ordering::Relaxed) {
            return shortest;
        }
        let (unread, bound) = (self.unread.load(Ordering::Relaxed), self.bound.load(Ordering::Relaxed));
        let half = bound / 2;
        let left = bound.saturating_sub(unread.max(half)) as u64;
        let shortened = u64::from(ticks) * left / (bound - half).max(1) as u64;
        u32::try_from(shortened).unwrap_or(u32::MAX).max(shortest)
    }

    /// Whether there are so many unread bytes that each response must be measured, and not counted as a whole window.
    pub(super) fn is_under_pressure(&self) -> bool {
        self.unread.load(Ordering::Relaxed) > self.bound.load(Ordering::Relaxed) / 4
    }

    /// The number of a response that begins to wait.
    pub(super) fn number_wait(&self) -> u64 {
        self.next_wait.fetch_add(1, Ordering::Relaxed)
    }

    /// Replaces a connection's unread bytes: `now` in place of `before`.
    pub(super) fn change(&self, watchdog: &Arc<Watchdog>, before: usize, now: usize) {
        if before == now {
            return;
        }
        // A decrease wraps around, as the counter does.
        let change = now.wrapping_sub(before);
        let unread = self.unread.fetch_add(change, Ordering::Relaxed).wrapping_add(change);
        self.gauge.set(unread as f64);
        let key = Arc::as_ptr(watchdog).addr();
        if before == 0 || now == 0 {
            let mut holders = self.holders.lock();
            // The current value counts: another thread may have changed it in between.
            if watchdog.unread.load(Ordering::Relaxed) > 0 {
                holders.insert(key, Arc::downgrade(watchdog));
            } else {
                holders.remove(&key);
            }
        }
        let bound = self.bound.load(Ordering::Relaxed);
        if now > before && unread > bound {
            // Frees an eighth more than necessary, so that not every frame ends a response.
            self.evict(unread - (bound - bound / 8));
        }
    }

    /// Removes a closed connection.
    pub(super) fn remove(&self, watchdog: &Watchdog, bytes: usize) {
        let before = self.unread.fetch_sub(bytes, Ordering::Relaxed);
        if bytes > 0 {
            self.gauge.set(before.wrapping_sub(bytes) as f64);
        }
        self.holders.lock().remove(&std::ptr::from_ref(watchdog).addr());
    }

    /// Ends responses until `excess` bytes are free.
    pub(super) fn evict(&self, mut excess: usize) {
        let holders: Vec<_> = self.holders.lock().values().filter_map(Weak::upgrade).collect();
        let ranked = |at: usize| holders[at].eviction_rank().map(|rank| (rank, at));
        let mut worst: BinaryHeap<_> = (0..holders.len()).filter_map(ranked).collect();
        while excess > 0
            && let Some((_, at)) = worst.pop()
        {
            let Some(freed) = holders[at].evict() else { continue };
            excess = excess.saturating_sub(freed);
            worst.extend(ranked(at));
            metrics::counter!("gateway_stalled_responses_ended_total").increment(1);
        }
    }

    #[cfg(test)]
    pub(super) fn set_unread(&self, bytes: usize) {
        self.unread.store(bytes, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn unread(&self) -> usize {
        self.unread.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn holders(&self) -> parking_lot::MutexGuard<'_, HashMap<usize, Weak<Watchdog>>> {
        self.holders.lock()
    }
}
