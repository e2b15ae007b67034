//! Limits how many streams of a client are open at once.

use std::{pin::Pin, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{BucketKey, FailureMode, shards::Shards};

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
    /// Keys whose changed number has not been sent to Redis.
    unsent: Mutex<Vec<BucketKey>>,
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
        let is_shared = !open.name.is_empty();
        if open.count == 0 && !is_shared {
            all.remove(key);
        }
        drop(all);
        if is_shared {
            self.unsent.lock().push(*key);
            self.changed.notify_one();
        }
    }

    /// Completes when a number has changed.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The changed numbers that have not been sent.
    pub(super) fn unsent(&self) -> Vec<OpenStreams> {
        let mut keys = std::mem::take(&mut *self.unsent.lock());
        keys.sort_unstable();
        keys.dedup();
        let mut changed = Vec::with_capacity(keys.len());
        for key in keys {
            let mut all = self.open.lock(std::iter::once(key));
            let Some(open) = all.get(&key).cloned() else { continue };
            if open.count == 0 {
                all.remove(&key);
            }
            changed.push(open);
        }
        changed
    }

    /// All open streams.
    pub(super) fn all(&self) -> Vec<OpenStreams> {
        let mut all = Vec::new();
        self.open.each(|map| all.extend(map.values().filter(|open| open.count > 0).cloned()));
        all
    }
}
