//! Logs when an upstream is down and when it is up again: access logs alone would show only failing calls.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

/// The least time between two lines that an upstream is down: one that fails and responds by turns does not flood the log.
const PAUSE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(super) struct OutageLog {
    upstream: Arc<str>,
    is_down: bool,
    /// When the last outage was logged.
    logged: Option<Instant>,
}

impl OutageLog {
    pub(super) fn new(upstream: &str) -> Self {
        Self { upstream: upstream.into(), is_down: false, logged: None }
    }

    /// Records whether an endpoint is available. It is called at each change, and every second.
    pub(super) fn observe(&mut self, is_available: bool, endpoints: usize, now: Instant) {
        let upstream = Arc::clone(&self.upstream);
        if self.begins(is_available, now) {
            tracing::warn!(
                %upstream,
                endpoints,
                "upstream {upstream} is down: its only endpoint, or each of them, fails or accepts no connection"
            );
        } else if self.ends(is_available) {
            tracing::info!(%upstream, endpoints, "upstream {upstream} is up again");
        }
    }

    fn begins(&mut self, is_available: bool, now: Instant) -> bool {
        let is_early = self.logged.is_some_and(|logged| now.duration_since(logged) < PAUSE);
        if self.is_down || is_available || is_early {
            return false;
        }
        (self.is_down, self.logged) = (true, Some(now));
        true
    }

    fn ends(&mut self, is_available: bool) -> bool {
        let ends = self.is_down && is_available;
        self.is_down &= !is_available;
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outage_is_logged_at_its_begin_and_end() {
        let (mut log, mut now) = (OutageLog::new("acme"), Instant::now());
        assert!(!log.begins(true, now) && !log.ends(true));
        assert!(log.begins(false, now) && !log.begins(false, now), "once");
        assert!(!log.ends(false) && log.ends(true) && !log.ends(true), "once");
        now += PAUSE - Duration::from_millis(1);
        assert!(!log.begins(false, now) && !log.ends(true), "too early for another line");
        now += Duration::from_millis(1);
        assert!(log.begins(false, now) && log.ends(true));
    }
}
