//! Reads auth's list of recently ended sessions: before the process is ready, and again whenever signals may have been
//! lost.

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

/// The minimum time between two reads: while the bus is unavailable, each of its polls requests a read.
const PAUSE: Duration = Duration::from_secs(1);

/// A part of the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndedPage {
    /// The page token; empty: the first page.
    pub token: String,
    /// The time of an earlier list: this one contains only later sessions. `None`: all sessions.
    pub since: Option<Timestamp>,
}

/// A page of the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndedSessions {
    /// The ids.
    pub sessions: Vec<Uuid>,
    /// The token of the next page. Empty on the last page.
    pub next_token: String,
    /// When the page was read.
    pub list_time: Option<Timestamp>,
}

/// The state of reading the list.
#[derive(Default)]
pub(super) struct Ended {
    /// The list has been read to its end at least once.
    is_known: AtomicBool,
    /// Where to continue after a failure. An async mutex, so that callers that wait for a read share it.
    progress: Mutex<Progress>,
    /// Requests another read.
    outdated: Notify,
}

/// How long failures are not logged.
const QUIET: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Progress {
    page: EndedPage,
    /// The time of the list that is being read.
    list_time: Option<Timestamp>,
    /// When the last read failed. Calls within [`PAUSE`] after it fail without a read.
    failed: Option<Instant>,
    /// When the failures began.
    failing_since: Option<Instant>,
}

impl Ended {
    pub(super) fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Acquire)
    }

    /// Signals may have been lost: read the list again.
    pub(super) fn outdate(&self) {
        self.outdated.notify_one();
    }
}

impl KeySet {
    /// Reads the list of ended sessions from where the last read stopped. Returns whether it reached the end. Memory is
    /// bounded: the set of revoked sessions keeps the newest.
    pub(super) async fn read_ended(&self) -> bool {
        let mut progress = self.ended.progress.lock().await;
        if progress.failed.is_some_and(|at| at.elapsed() < PAUSE) {
            return false;
        }
        loop {
            let EndedSessions { sessions, next_token, list_time } = match self.source.list_ended(&progress.page).await {
                Ok(page) => page,
                Err(error) => {
                    // While a mesh starts, auth may start last.
                    if progress.failing_since.get_or_insert_with(Instant::now).elapsed() >= QUIET {
                        tracing::warn!(%error, "cannot read the list of ended sessions; retrying");
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

    /// Reads the list now and whenever signals may have been lost.
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
