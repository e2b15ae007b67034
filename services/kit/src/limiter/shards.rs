//! A map spread over many locks. A call holds the locks of all its keys together.

use std::collections::HashMap;

use super::{BucketKey, MOST_LIMITS};
use parking_lot::{Mutex, MutexGuard};

/// The number of maps, so that threads rarely contend.
const SHARDS: usize = 64;
/// The maximum number of keys in a shard. When it is reached, idle keys are dropped, then all if that frees nothing. 64
/// × 16 384 keys bound the memory at about 100 MiB. An attacker with a million keys in one period gains no more than a
/// fresh bucket.
const KEYS_PER_SHARD: usize = 16_384;

/// The maximum number of keys in all shards.
pub(super) const MOST_KEYS: usize = SHARDS * KEYS_PER_SHARD;

type Map<V> = HashMap<BucketKey, V>;

/// A map of keys over several locks.
pub(super) struct Shards<V>(Vec<Mutex<Map<V>>>);

impl<V> Default for Shards<V> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

fn shard(key: &BucketKey) -> usize {
    // Keys are hashes: any of their bytes is evenly distributed.
    usize::from(key.as_bytes()[0]) % SHARDS
}

impl<V> Shards<V> {
    /// Locks the shards of `keys`, at most [`MOST_LIMITS`] keys, until the guard is dropped.
    pub(super) fn lock(&self, keys: impl Iterator<Item = BucketKey>) -> Locked<'_, V> {
        let mut wanted = [SHARDS; MOST_LIMITS];
        for (place, key) in wanted.iter_mut().zip(keys) {
            *place = shard(&key);
        }
        // A fixed lock order prevents deadlocks.
        wanted.sort_unstable();
        let mut held = Locked(std::array::from_fn(|_| None));
        let mut last = SHARDS;
        for (place, at) in held.0.iter_mut().zip(wanted) {
            if at < SHARDS && at != last {
                *place = Some((at, self.one(at)));
                last = at;
            }
        }
        held
    }

    /// Visits each shard in turn.
    pub(super) fn each(&self, mut with: impl FnMut(&mut Map<V>)) {
        (0..SHARDS).for_each(|at| with(&mut self.one(at)));
    }

    fn one(&self, at: usize) -> MutexGuard<'_, Map<V>> {
        // A panic elsewhere leaves plain numbers behind, which stay usable.
        self.0[at].lock()
    }
}

/// The locked shards of a call.
pub(super) struct Locked<'a, V>([Option<(usize, MutexGuard<'a, Map<V>>)>; MOST_LIMITS]);

impl<V: Default> Locked<'_, V> {
    pub(super) fn get(&self, key: &BucketKey) -> Option<&V> {
        let at = shard(key);
        self.0.iter().flatten().find(|(held, _)| *held == at).and_then(|(_, map)| map.get(key))
    }

    pub(super) fn get_mut(&mut self, key: &BucketKey) -> Option<&mut V> {
        let at = shard(key);
        self.0.iter_mut().flatten().find(|(held, _)| *held == at).and_then(|(_, map)| map.get_mut(key))
    }

    pub(super) fn remove(&mut self, key: &BucketKey) {
        let at = shard(key);
        if let Some((_, map)) = self.0.iter_mut().flatten().find(|(held, _)| *held == at) {
            map.remove(key);
        }
    }

    /// The value of a key whose shard is locked. A full shard first drops values that are not `in_use`.
    pub(super) fn entry(&mut self, key: BucketKey, in_use: impl Fn(&V) -> bool) -> &mut V {
        let at = shard(&key);
        let held = self.0.iter_mut().flatten().find(|(held, _)| *held == at);
        let (_, map) = held.expect("the keys of a call are those that were locked");
        if map.len() >= KEYS_PER_SHARD && !map.contains_key(&key) {
            map.retain(|_, value| in_use(value));
            if map.len() >= KEYS_PER_SHARD {
                map.clear();
            }
        }
        map.entry(key).or_default()
    }
}
