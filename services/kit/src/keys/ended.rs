//! Auth's list of the sessions that were ended of late: read before the process is ready, and again whenever signals may
//! have been lost.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{
    sync::{Mutex, Notify},
    time::Instant,
};
use uuid::Uuid;

use super::KeySet;
use crate::Timestamp;

/// Between two reads, at least: while the bus is away, every one of its polls asks for another.
const PAUSE: Duration = Duration::from_secs(1);

/// Which part of the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndedPage {
    /// Where the page begins; empty: the first.
    pub token: String,
    /// The time of an earlier list, after which this one begins. `None`: all.
    pub since: Option<Timestamp>,
}

/// A page of the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndedSessions {
    /// The ids.
    pub sessions: Vec<Uuid>,
    /// Asks for the next page. Empty on the last.
    pub next_token: String,
    /// When the page was read.
    pub list_time: Option<Timestamp>,
}

/// How far the list was read.
#[derive(Default)]
pub(super) struct Ended {
    /// It was read to its end once.
    is_known: AtomicBool,
    /// Where to go on after a failure. Async, so that callers who wait for a read share it.
    progress: Mutex<Progress>,
    /// Asks for another read.
    outdated: Notify,
}

/// For how long failures are not worth a warning.
const QUIET: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Progress {
    page: EndedPage,
    /// The time of the list that is being read.
    list_time: Option<Timestamp>,
    /// When a read failed last: whoever asks next gets the same result for a while.
    failed: Option<Instant>,
    /// When the failures began.
    failing_since: Option<Instant>,
}

impl Ended {
    pub(super) fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Acquire)
    }

    /// There may be sessions that were missed.
    pub(super) fn outdate(&self) {
        self.outdated.notify_one();
    }
}

impl KeySet {
    /// Reads the list of ended sessions from where the last read has stopped. Whether it came to the end. Memory is
    /// bounded by what is remembered of revoked sessions, of which the newest stay.
    pub(super) async fn read_ended(&self) -> bool {
        let mut progress = self.ended.progress.lock().await;
        if progress.failed.is_some_and(|at| at.elapsed() < PAUSE) {
            return false;
        }
        loop {
            let EndedSessions { sessions, next_token, list_time } = match self.source.list_ended(&progress.page).await {
                Ok(page) => page,
                Err(error) => {
                    // While a mesh starts, auth may come up last.
                    if progress.failing_since.get_or_insert_with(Instant::now).elapsed() >= QUIET {
                        tracing::warn!(%error, "the list of ended sessions cannot be read; it will be tried again");
                    }
                    progress.failed = Some(Instant::now());
                    return false;
                }
            };
            progress.failing_since = None;
            self.revoked.insert(sessions, self.clock_rng.now());
            let of_list = progress.list_time.or(list_time);
            if next_token.is_empty() {
                let page = EndedPage { token: String::new(), since: of_list };
                *progress = Progress { page, ..Progress::default() };
                self.ended.is_known.store(true, Ordering::Release);
                return true;
            }
            progress.list_time = of_list;
            progress.page.token = next_token;
        }
    }

    /// Reads the list now, and whenever signals may have been lost.
    pub(super) async fn keep_ended(&self) {
        loop {
            while !self.read_ended().await {
                tokio::time::sleep(PAUSE).await;
            }
            tokio::time::sleep(PAUSE).await;
            self.ended.outdated.notified().await;
        }
    }
}
