//! Which failures of the service are logged: the first of an outage. Failures between successes are no flood either.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// The shortest time between two logged outages.
const PERIOD: Duration = Duration::from_secs(60);

/// The outage that has been logged last.
#[derive(Debug, Default)]
pub(super) struct OutageLog {
    /// It goes on. Decisions read it without a lock.
    is_open: AtomicBool,
    began: Mutex<Option<Instant>>,
}

impl OutageLog {
    /// Records a failure. Returns whether it is to be logged.
    pub(super) fn begins(&self, now: Instant) -> bool {
        if self.is_open.load(Relaxed) {
            return false;
        }
        let mut began = self.began.lock();
        if began.is_some_and(|began| now.saturating_duration_since(began) < PERIOD) {
            return false;
        }
        *began = Some(now);
        !self.is_open.swap(true, Relaxed)
    }

    /// Records a decision. Returns whether it is the first one after a logged outage.
    pub(super) fn ends(&self) -> bool {
        self.is_open.load(Relaxed) && self.is_open.swap(false, Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outage_is_logged_once() {
        let (log, start) = (OutageLog::default(), Instant::now());
        assert!(!log.ends(), "nothing has failed");
        assert!(log.begins(start) && !log.begins(start + 2 * PERIOD), "once");
        assert!(log.ends() && !log.ends(), "once");
        assert!(log.begins(start + 3 * PERIOD) && log.ends());
        let soon = start + 3 * PERIOD + PERIOD / 2;
        assert!(!log.begins(soon) && !log.ends(), "failures between successes");
        assert!(log.begins(start + 4 * PERIOD), "an outage that goes on is logged in the end");
    }
}
