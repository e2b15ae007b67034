//! How many streams of a caller are open at once.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use super::{Away, Key, shards::Shards};

/// The question whether one stream more may be opened.
#[derive(Debug, Clone, Copy)]
pub struct StreamAsk<'a> {
    /// What the streams belong to, such as a method.
    pub scope: &'a str,
    /// Whose they are.
    pub key: Key,
    /// How many there may be.
    pub most: u32,
    /// What to do while the shared count cannot be asked.
    pub away: Away,
}

/// A stream may not be opened now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooMany {
    /// As many as may be are open.
    Open,
    /// The limiter is away, and the policy says to refuse then.
    Away,
}

/// The answer, once it is there.
pub type Opening<'a> = Pin<Box<dyn Future<Output = Result<Hold, TooMany>> + Send + 'a>>;

/// A stream's place. Given back when dropped.
pub struct Hold {
    streams: Arc<Streams>,
    key: Key,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.streams.close(&self.key);
    }
}

/// The streams that this process has open.
#[derive(Default)]
pub(super) struct Streams {
    open: Shards<Open>,
    /// Keys whose number others have not been told.
    untold: Mutex<Vec<Key>>,
    changed: Notify,
}

/// Of one caller.
#[derive(Debug, Clone, Default)]
pub(super) struct Open {
    pub(super) count: u32,
    /// What it is called where it is shared; empty: it is not.
    pub(super) name: Arc<str>,
}

impl Streams {
    /// Opens one more, if this process has fewer than `most`. The answer is how many there are then.
    pub(super) fn open(self: &Arc<Self>, key: Key, most: u32, name: impl FnOnce() -> Arc<str>) -> Option<(u32, Hold)> {
        let mut all = self.open.lock(std::iter::once(key));
        // Of what is in use nothing is forgotten, unless there is no room at all.
        let open = all.entry(key, |open| open.count > 0);
        if open.count >= most {
            return None;
        }
        open.count += 1;
        if open.name.is_empty() {
            open.name = name();
        }
        Some((open.count, Hold { streams: Arc::clone(self), key }))
    }

    fn close(&self, key: &Key) {
        let mut all = self.open.lock(std::iter::once(*key));
        let Some(open) = all.get_mut(key) else { return };
        open.count = open.count.saturating_sub(1);
        let is_shared = !open.name.is_empty();
        if open.count == 0 && !is_shared {
            all.remove(key);
        }
        drop(all);
        if is_shared {
            self.untold.lock().unwrap_or_else(PoisonError::into_inner).push(*key);
            self.changed.notify_one();
        }
    }

    /// Ends when there is something to tell.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What others have not been told yet: by name, how many there are.
    pub(super) fn untold(&self) -> Vec<Open> {
        let mut keys = std::mem::take(&mut *self.untold.lock().unwrap_or_else(PoisonError::into_inner));
        keys.sort_unstable();
        keys.dedup();
        let mut told = Vec::with_capacity(keys.len());
        for key in keys {
            let mut all = self.open.lock(std::iter::once(key));
            let Some(open) = all.get(&key).cloned() else { continue };
            if open.count == 0 {
                all.remove(&key);
            }
            told.push(open);
        }
        told
    }

    /// All that are open.
    pub(super) fn all(&self) -> Vec<Open> {
        let mut all = Vec::new();
        self.open.each(|map| all.extend(map.values().filter(|open| open.count > 0).cloned()));
        all
    }
}
