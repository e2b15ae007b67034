//! The configuration of jobs.

use std::time::Duration;

use kit::config::Span;
use serde::{Deserialize, Serialize};

/// The section `[jobs]`: how each service works through its jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobsConfig {
    /// Jobs that a service of this process runs at once.
    pub concurrency: usize,
    /// Jobs of one kind among them, so that many jobs of one kind leave places for others.
    pub concurrency_per_kind: usize,
    /// How often a process looks for due jobs, in addition to the wake-up by its own transactions: the longest delay of
    /// a job that another process has stored, and the shortest delay of a retry.
    pub poll_interval: Span,
    /// How long a job stays claimed by a process that has ended. A running process renews it.
    pub lease: Span,
    /// How long one attempt may take.
    pub timeout: Span,
    /// Attempts until a job becomes a dead letter.
    pub attempts: u32,
    /// Attempts in a row during which the process ended, or lost the database, until a job becomes a dead letter.
    pub lost_leases: u32,
    /// The wait after the first failed attempt. It doubles with each further one.
    pub backoff: Span,
    /// The longest wait between two attempts.
    pub most_backoff: Span,
}

impl Default for JobsConfig {
    fn default() -> Self {
        Self {
            concurrency: 8,
            concurrency_per_kind: 4,
            poll_interval: Span(Duration::from_secs(2)),
            lease: Span(Duration::from_secs(30)),
            timeout: Span(Duration::from_secs(5 * 60)),
            attempts: 2_000,
            lost_leases: 10,
            backoff: Span(Duration::from_secs(1)),
            most_backoff: Span(Duration::from_secs(5 * 60)),
        }
    }
}

impl JobsConfig {
    /// Returns an error with the key and the fix.
    pub fn check(&self) -> Result<(), String> {
        let counts = [
            ("concurrency", self.concurrency),
            ("concurrency_per_kind", self.concurrency_per_kind),
            ("attempts", self.attempts as usize),
            ("lost_leases", self.lost_leases as usize),
        ];
        if let Some((key, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(format!("jobs.{key}: 0 is below the least, 1"));
        }
        let times = [
            ("poll_interval", self.poll_interval, Duration::from_millis(10)),
            ("lease", self.lease, Duration::from_secs(1)),
            ("timeout", self.timeout, Duration::from_secs(1)),
            ("backoff", self.backoff, Duration::from_millis(10)),
        ];
        if let Some((key, value, least)) = times.into_iter().find(|(_, value, least)| value.0 < *least) {
            return Err(format!("jobs.{key}: {value} is below the least, {}", Span(least)));
        }
        if self.most_backoff.0 < self.backoff.0 {
            return Err(format!("jobs.most_backoff: {} is below jobs.backoff, {}", self.most_backoff, self.backoff));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut JobsConfig)) -> String {
        let mut config = JobsConfig::default();
        change(&mut config);
        config.check().unwrap_err()
    }

    #[test]
    fn values_without_effect_are_refused() {
        assert_eq!(JobsConfig::default().check(), Ok(()));
        assert_eq!(refused(|c| c.concurrency_per_kind = 0), "jobs.concurrency_per_kind: 0 is below the least, 1");
        assert_eq!(refused(|c| c.lease = Span(Duration::from_millis(999))), "jobs.lease: 999ms is below the least, 1s");
        let line = refused(|c| c.most_backoff = Span(Duration::from_millis(500)));
        assert_eq!(line, "jobs.most_backoff: 500ms is below jobs.backoff, 1s");
    }
}
