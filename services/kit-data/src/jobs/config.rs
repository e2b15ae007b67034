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
