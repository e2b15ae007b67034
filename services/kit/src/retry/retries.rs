//! The retries of one upstream: decisions and metrics.

use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};
use tokio::time::Instant;

use super::{Attempt, NotRetried, RetryBudget, RetryConfig, RetryState};
use crate::rng::Rng;

/// The retry policy and budget of one upstream.
pub struct Retries {
    config: RetryConfig,
    budget: RetryBudget,
    chance: Rng,
    name: String,
    sent: Counter,
    recovered: Counter,
    left: Gauge,
}

impl Retries {
    /// For the upstream with the metrics label `name`.
    pub(crate) fn new(name: &str, config: &RetryConfig) -> Self {
        let label = || [("upstream", name.to_owned())];
        Self {
            budget: RetryBudget::new(config.budget_percent, config.budget_per_second, Instant::now()),
            config: config.clone(),
            chance: Rng::new(),
            name: name.to_owned(),
            sent: counter!("retries_total", &label()),
            recovered: counter!("retries_recovered_total", &label()),
            left: gauge!("retry_budget", &label()),
        }
    }

    /// How much of a request is buffered, in bytes.
    pub fn buffer_bytes(&self) -> usize {
        self.config.buffer_bytes
    }

    /// Records that a call is about to be sent for the first time.
    pub fn begin(&self, is_idempotent: bool, deadline: Option<Instant>) -> RetryState {
        self.budget.pay_in();
        RetryState::new(is_idempotent, deadline, Instant::now())
    }

    /// Returns the pause before the next attempt, or why there is none. `rewind` restarts the request body and returns
    /// false if it cannot; it is called last.
    pub fn again(
        &self,
        trial: &mut RetryState,
        attempt: Attempt,
        rewind: impl FnOnce() -> bool,
    ) -> Result<Duration, NotRetried> {
        let pause = trial.again(attempt, &self.config, &self.budget, self.chance.share(), Instant::now());
        self.left.set(f64::from(self.budget.left()));
        let pause = pause.and_then(|pause| if rewind() { Ok(pause) } else { Err(NotRetried::Buffer) });
        match pause {
            Ok(_) => self.sent.increment(1),
            Err(reason) => self.withheld(reason),
        }
        pause
    }

    /// Records that a response began.
    pub fn responded(&self, trial: &RetryState) {
        if trial.previous() > 0 {
            self.recovered.increment(1);
        }
    }

    fn withheld(&self, reason: NotRetried) {
        counter!("retries_withheld_total", "upstream" => self.name.clone(), "reason" => reason.name()).increment(1);
    }
}
