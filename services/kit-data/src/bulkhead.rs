//! A bulkhead for each key (a conversation, an account): only a few operations on one key run at once and a bounded
//! number waits, in order. Stuck operations on one key cannot use up the resources of the others.

use std::{collections::HashMap, hash::Hash, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bounds for one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Operations that run at once.
    pub running: usize,
    /// Operations that wait; one more is refused.
    pub waiting: usize,
    /// How long an operation waits.
    pub patience: Duration,
}

/// Bulkheads, one for each key in use. Clones share them.
pub struct Bulkhead<K> {
    bounds: Bounds,
    slots: Arc<Mutex<HashMap<K, Slot>>>,
}

/// The bulkhead of one key. It exists while an operation runs or waits.
struct Slot {
    places: Arc<Semaphore>,
    /// The number of running and waiting operations.
    members: usize,
}

/// Why an operation was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The queue is full.
    #[error("too many changes of the same resource are waiting already")]
    Full,
    /// The wait took too long.
    #[error("other changes of the same resource took too long")]
    Elapsed,
}

/// The permit of a running operation. The next operation starts when it is dropped.
pub struct Place<K: Eq + Hash + Clone> {
    _permit: OwnedSemaphorePermit,
    _member: Member<K>,
}

/// Counts one operation, running or waiting.
struct Member<K: Eq + Hash + Clone> {
    slots: Arc<Mutex<HashMap<K, Slot>>>,
    key: K,
}

impl<K: Eq + Hash + Clone> Bulkhead<K> {
    /// Creates an empty set of bulkheads.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, slots: Arc::default() }
    }

    /// Waits for a place on `key`, first come, first served.
    pub async fn enter(&self, key: K) -> Result<Place<K>, Refused> {
        self.within_patience(self.wait(key)).await
    }

    /// Waits for a place on each of `keys`, in their order and in total no longer than for one. All callers must use
    /// the same order, because they hold places while they wait for others.
    pub async fn enter_all(&self, keys: impl IntoIterator<Item = K>) -> Result<Vec<Place<K>>, Refused> {
        self.within_patience(async {
            let mut places = Vec::new();
            for key in keys {
                places.push(self.wait(key).await?);
            }
            Ok(places)
        })
        .await
    }

    async fn within_patience<T>(&self, wait: impl Future<Output = Result<T, Refused>>) -> Result<T, Refused> {
        tokio::time::timeout(self.bounds.patience, wait).await.unwrap_or(Err(Refused::Elapsed))
    }

    async fn wait(&self, key: K) -> Result<Place<K>, Refused> {
        let (places, member) = self.join(key)?;
        // The semaphore is never closed.
        let permit = places.acquire_owned().await.map_err(|_| Refused::Elapsed)?;
        Ok(Place { _permit: permit, _member: member })
    }

    fn join(&self, key: K) -> Result<(Arc<Semaphore>, Member<K>), Refused> {
        let Bounds { running, waiting, .. } = self.bounds;
        let mut slots = self.slots.lock();
        let slot = slots.entry(key.clone()).or_insert_with(|| Slot {
            places: Arc::new(Semaphore::new(running.clamp(1, Semaphore::MAX_PERMITS))),
            members: 0,
        });
        if slot.members >= running.max(1).saturating_add(waiting) {
            return Err(Refused::Full);
        }
        slot.members += 1;
        Ok((Arc::clone(&slot.places), Member { slots: Arc::clone(&self.slots), key }))
    }
}

impl<K> Clone for Bulkhead<K> {
    fn clone(&self) -> Self {
        Self { bounds: self.bounds, slots: Arc::clone(&self.slots) }
    }
}

impl<K: Eq + Hash + Clone> Drop for Member<K> {
    fn drop(&mut self) {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get_mut(&self.key) {
            slot.members -= 1;
            if slot.members == 0 {
                slots.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { running: 2, waiting: 3, patience: Duration::from_secs(2) };

    #[tokio::test(start_paused = true)]
    async fn queue_is_bounded_per_key() {
        let bulkhead = Bulkhead::new(BOUNDS);
        let running = [bulkhead.enter(1).await.unwrap(), bulkhead.enter(1).await.unwrap()];
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let bulkhead = bulkhead.clone();
                tokio::spawn(async move { bulkhead.enter(1).await.map(drop) })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(bulkhead.enter(1).await.err(), Some(Refused::Full));
        assert!(bulkhead.enter(2).await.is_ok(), "another key has its own places");
        for wait in waiting {
            assert_eq!(wait.await.unwrap(), Err(Refused::Elapsed));
        }
        drop(running);
        assert!(bulkhead.slots.lock().is_empty(), "an unused key takes no memory");
    }

    #[tokio::test(start_paused = true)]
    async fn several_keys_share_the_wait_limit_of_one() {
        let bulkhead = Bulkhead::new(Bounds { running: 1, ..BOUNDS });
        let held = [bulkhead.enter(1).await.unwrap(), bulkhead.enter(2).await.unwrap()];
        let (waiting, started) = (bulkhead.clone(), tokio::time::Instant::now());
        let waiting = tokio::spawn(async move { waiting.enter_all([1, 2]).await.map(drop) });
        tokio::time::sleep(BOUNDS.patience / 2).await;
        let [first, second] = held;
        drop(first);
        assert_eq!(waiting.await.unwrap(), Err(Refused::Elapsed));
        assert_eq!(started.elapsed(), BOUNDS.patience);
        assert!(bulkhead.enter(1).await.is_ok(), "the place on the first key is free again");
        drop(second);
        assert_eq!(bulkhead.enter_all([1, 2]).await.unwrap().len(), 2);
        assert!(bulkhead.slots.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_given_in_order_and_after_cancellation() {
        let bulkhead = Bulkhead::new(Bounds { running: 1, ..BOUNDS });
        let first = bulkhead.enter("a").await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for number in 0..3 {
            let (bulkhead, order) = (bulkhead.clone(), Arc::clone(&order));
            waiting.push(tokio::spawn(async move {
                let _place = bulkhead.enter("a").await.unwrap();
                order.lock().push(number);
            }));
            tokio::task::yield_now().await;
        }
        waiting[1].abort();
        drop(first);
        for wait in waiting {
            wait.await.ok();
        }
        assert_eq!(*order.lock(), [0, 2]);
        assert!(bulkhead.slots.lock().is_empty());
    }
}
