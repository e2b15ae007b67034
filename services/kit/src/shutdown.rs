//! The way down, in order: readiness goes off; after the settle time listeners stop and connections are told
//! to go away; calls finish within the grace period; what is left is cut.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::config::Span;

/// How long the steps take.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Between "not ready" and the end of accepting, so that load balancers notice. On Kubernetes 5 s.
    pub settle: Span,
    /// What calls in flight get to finish.
    pub grace: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self { settle: Span(Duration::ZERO), grace: Span(Duration::from_secs(20)) }
    }
}

/// One shutdown, shared by everything in the process.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    stopping: CancellationToken,
    draining: CancellationToken,
    cut: CancellationToken,
}

impl Shutdown {
    /// Nothing has been asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes through all steps; ends when the grace period has. Whoever finishes earlier need not wait for it.
    pub async fn run(&self, config: &Config) {
        self.stopping.cancel();
        tokio::time::sleep(config.settle.0).await;
        self.draining.cancel();
        tokio::time::sleep(config.grace.0).await;
        self.cut.cancel();
    }

    /// Ends at the first step: say "not ready".
    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Whether the first step was taken.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Ends at the second step: accept nothing more, send GOAWAY, end long streams.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// The second step, as something to hold.
    pub fn drain_token(&self) -> CancellationToken {
        self.draining.clone()
    }

    /// Ends at the last step: cut what is left.
    pub async fn cut(&self) {
        self.cut.cancelled().await;
    }
}
