//! Limits how many streams of a client are open at once.

use std::{collections::HashSet, pin::Pin, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    BucketKey, FailureMode,
    shards::{MOST_KEYS, Shards},
};

/// A request to open one more stream.
#[derive(Debug, Clone, Copy)]
pub struct StreamAsk<'a> {
    /// The owner of the streams, such as a method.
    pub scope: &'a str,
    /// The client or principal.
    pub key: BucketKey,
    /// The maximum number of open streams.
    pub most: u32,
    /// The decision while Redis is unreachable.
    pub failure_mode: FailureMode,
}

/// Why a stream was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooMany {
    /// The maximum is open.
    Open,
    /// Redis is unreachable, and the failure mode refuses streams.
    Unavailable,
}

/// The pending decision about a stream.
pub type Opening<'a> = Pin<Box<dyn Future<Output = Result<Hold, TooMany>> + Send + 'a>>;

/// An open stream. Dropping it closes the stream.
pub struct Hold {
    streams: Arc<Streams>,
    key: BucketKey,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.streams.close(&self.key);
    }
}

/// The streams that this process has open.
#[derive(Default)]
pub(super) struct Streams {
    open: Shards<OpenStreams>,
    /// Keys whose changed number Redis has not acknowledged. A lock of `open` is never taken while this one is held.
    unsent: Mutex<HashSet<BucketKey>>,
    changed: Notify,
}

/// The streams of one client.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenStreams {
    pub(super) count: u32,
    /// The name in Redis; empty if the streams are not shared.
    pub(super) name: Arc<str>,
}

impl Streams {
    /// Opens one more stream if this process has fewer than `most`. Returns the new number.
    pub(super) fn open(
        self: &Arc<Self>,
        key: BucketKey,
        most: u32,
        name: impl FnOnce() -> Arc<str>,
    ) -> Option<(u32, Hold)> {
        let mut all = self.open.lock(std::iter::once(key));
        // Entries in use are dropped only if there is no other room.
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

    fn close(&self, key: &BucketKey) {
        let mut all = self.open.lock(std::iter::once(*key));
        let Some(open) = all.get_mut(key) else { return };
        open.count = open.count.saturating_sub(1);
        if !open.name.is_empty() {
            self.mark_unsent(*key);
            self.changed.notify_one();
        } else if open.count == 0 {
            all.remove(key);
        }
    }

    fn mark_unsent(&self, key: BucketKey) {
        let mut unsent = self.unsent.lock();
        // While Redis is unreachable, full shards drop keys that are still here. A number that is lost here is renewed
        // later, or expires.
        if unsent.len() >= MOST_KEYS {
            unsent.clear();
        }
        unsent.insert(key);
    }

    /// Completes when a number has changed.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether Redis has not acknowledged a changed number.
    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.lock().is_empty()
    }

    /// The changed numbers that Redis has not acknowledged.
    pub(super) fn unsent(&self) -> Vec<(BucketKey, OpenStreams)> {
        let keys: Vec<BucketKey> = self.unsent.lock().iter().copied().collect();
        let number = |key| {
            // Held until the key is removed: a change meanwhile would be lost.
            let all = self.open.lock(std::iter::once(key));
            let open = all.get(&key).cloned();
            if open.is_none() {
                // A full shard has dropped it.
                self.unsent.lock().remove(&key);
            }
            open.map(|open| (key, open))
        };
        keys.into_iter().filter_map(number).collect()
    }

    /// Redis has stored `count` for a client. If the number has changed meanwhile, it is sent again.
    pub(super) fn acknowledge(&self, key: BucketKey, count: u32) {
        let mut all = self.open.lock(std::iter::once(key));
        if !self.is_current(key, all.get(&key), count) {
            return;
        }
        self.unsent.lock().remove(&key);
        if count == 0 {
            all.remove(&key);
        }
    }

    /// Redis has stored `count` for a stream that opens. Of two that open at once, it may store the lower number last and
    /// acknowledge it first. The acknowledgement of the higher number must then not prevent that it is sent again.
    pub(super) fn resend_if_changed(&self, key: BucketKey, count: u32) {
        let all = self.open.lock(std::iter::once(key));
        self.is_current(key, all.get(&key), count);
    }

    /// Whether the number is still `count`. If not, it is sent again.
    fn is_current(&self, key: BucketKey, open: Option<&OpenStreams>, count: u32) -> bool {
        let is_current = open.map_or(0, |open| open.count) == count;
        if !is_current {
            self.mark_unsent(key);
            self.changed.notify_one();
        }
        is_current
    }

    /// All open streams.
    pub(super) fn all(&self) -> Vec<(BucketKey, OpenStreams)> {
        let mut all = Vec::new();
        self.open.each(|map| {
            all.extend(map.iter().filter(|(_, open)| open.count > 0).map(|(key, open)| (*key, open.clone())));
        });
        all
    }

    /// Closes all shared streams. For shutdown.
    pub(super) fn close_all(&self) {
        self.open.each(|map| {
            for (key, open) in map.iter_mut().filter(|(_, open)| !open.name.is_empty()) {
                open.count = 0;
                self.mark_unsent(*key);
            }
        });
    }
}
