//! A map spread over many locks, of which the keys of one call are held together.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Key, MOST_LIMITS};

/// How many maps the keys are spread over, so that threads seldom meet.
const SHARDS: usize = 64;
/// How many keys a shard holds before it drops what is idle, then, if that did not help, all: 64 × 16 384 keys bound
/// the memory at about 100 MiB, and an attacker who can bring a million keys in one period gains no more than a fresh
/// bucket.
const KEYS_PER_SHARD: usize = 16_384;

type Map<V> = HashMap<Key, V>;

/// See the module.
pub(super) struct Shards<V>(Vec<Mutex<Map<V>>>);

impl<V> Default for Shards<V> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

fn shard(key: &Key) -> usize {
    // Keys are hashes: any byte of them is as good as a hash of the key.
    usize::from(key.as_bytes()[0]) % SHARDS
}

impl<V> Shards<V> {
    /// The shards of `keys`, at most [`MOST_LIMITS`] of them, held until the answer is dropped.
    pub(super) fn lock(&self, keys: impl Iterator<Item = Key>) -> Locked<'_, V> {
        let mut wanted = [SHARDS; MOST_LIMITS];
        for (place, key) in wanted.iter_mut().zip(keys) {
            *place = shard(&key);
        }
        // Everybody locks in the same order, so that none waits for one another.
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

    /// Each shard in its turn.
    pub(super) fn each(&self, mut with: impl FnMut(&mut Map<V>)) {
        (0..SHARDS).for_each(|at| with(&mut self.one(at)));
    }

    fn one(&self, at: usize) -> MutexGuard<'_, Map<V>> {
        // A panic elsewhere leaves plain numbers behind: they stay usable.
        self.0[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The shards that a call needs.
pub(super) struct Locked<'a, V>([Option<(usize, MutexGuard<'a, Map<V>>)>; MOST_LIMITS]);

impl<V: Default> Locked<'_, V> {
    pub(super) fn get(&self, key: &Key) -> Option<&V> {
        let at = shard(key);
        self.0.iter().flatten().find(|(held, _)| *held == at).and_then(|(_, map)| map.get(key))
    }

    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut V> {
        let at = shard(key);
        self.0.iter_mut().flatten().find(|(held, _)| *held == at).and_then(|(_, map)| map.get_mut(key))
    }

    pub(super) fn remove(&mut self, key: &Key) {
        let at = shard(key);
        if let Some((_, map)) = self.0.iter_mut().flatten().find(|(held, _)| *held == at) {
            map.remove(key);
        }
    }

    /// The value of a key whose shard is held. Where there is no room, values that are not `in_use` go first.
    pub(super) fn entry(&mut self, key: Key, in_use: impl Fn(&V) -> bool) -> &mut V {
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
