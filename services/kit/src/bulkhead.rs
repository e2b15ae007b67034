//! A bulkhead per key: of all work on one thing (a conversation, an account) only a few pieces run at once and a bounded
//! number waits, in order. Work on one thing that is stuck cannot use up what work on other things needs.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How much work on one key is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Pieces of work that run at once.
    pub running: usize,
    /// Pieces of work that wait; one more is refused.
    pub waiting: usize,
    /// How long one waits.
    pub patience: Duration,
}

/// Bulkheads, one for each key in use. Clones share them.
pub struct Bulkhead<K> {
    bounds: Bounds,
    slots: Arc<Mutex<HashMap<K, Slot>>>,
}

/// The bulkhead of one key. It lives as long as somebody is in it.
struct Slot {
    places: Arc<Semaphore>,
    /// Running and waiting.
    members: usize,
}

/// Why work was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The queue is full.
    Full,
    /// The wait took too long.
    Elapsed,
}

/// A running piece of work. The next one starts when it is dropped.
pub struct Place<K: Eq + Hash + Clone> {
    _permit: OwnedSemaphorePermit,
    _member: Member<K>,
}

/// Counts one piece of work, running or waiting.
struct Member<K: Eq + Hash + Clone> {
    slots: Arc<Mutex<HashMap<K, Slot>>>,
    key: K,
}

impl<K: Eq + Hash + Clone> Bulkhead<K> {
    /// No work yet.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, slots: Arc::default() }
    }

    /// Waits for a place among the work on `key`, first come, first served.
    pub async fn enter(&self, key: K) -> Result<Place<K>, Refused> {
        self.within_patience(self.wait(key)).await
    }

    /// Waits for a place with each of `keys`, in their order and together no longer than for one. Callers name keys
    /// that they have in common in the same order: they hold places while they wait for others.
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
        let mut slots = lock(&self.slots);
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
        let mut slots = lock(&self.slots);
        if let Some(slot) = slots.get_mut(&self.key) {
            slot.members -= 1;
            if slot.members == 0 {
                slots.remove(&self.key);
            }
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "too many changes of the same thing wait already",
            Self::Elapsed => "other changes of the same thing took too long",
        })
    }
}

impl std::error::Error for Refused {}

fn lock<K>(slots: &Mutex<HashMap<K, Slot>>) -> MutexGuard<'_, HashMap<K, Slot>> {
    slots.lock().unwrap_or_else(PoisonError::into_inner)
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
        assert!(lock(&bulkhead.slots).is_empty(), "a key that is not in use takes no memory");
    }

    #[tokio::test(start_paused = true)]
    async fn several_keys_share_the_patience_of_one() {
        let bulkhead = Bulkhead::new(Bounds { running: 1, ..BOUNDS });
        let held = [bulkhead.enter(1).await.unwrap(), bulkhead.enter(2).await.unwrap()];
        let (waiting, started) = (bulkhead.clone(), tokio::time::Instant::now());
        let waiting = tokio::spawn(async move { waiting.enter_all([1, 2]).await.map(drop) });
        tokio::time::sleep(BOUNDS.patience / 2).await;
        let [first, second] = held;
        drop(first);
        assert_eq!(waiting.await.unwrap(), Err(Refused::Elapsed));
        assert_eq!(started.elapsed(), BOUNDS.patience);
        assert!(bulkhead.enter(1).await.is_ok(), "the place that it had got is free again");
        drop(second);
        assert_eq!(bulkhead.enter_all([1, 2]).await.unwrap().len(), 2);
        assert!(lock(&bulkhead.slots).is_empty());
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
                order.lock().unwrap().push(number);
            }));
            tokio::task::yield_now().await;
        }
        waiting[1].abort();
        drop(first);
        for wait in waiting {
            wait.await.ok();
        }
        assert_eq!(*order.lock().unwrap(), [0, 2]);
        assert!(lock(&bulkhead.slots).is_empty());
    }
}
