//! The retries of one upstream: what decides on them, and what is told of them.

use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};
use tokio::time::Instant;

use super::{Attempt, Budget, Config, Trial, Withheld};
use crate::balance::Chance;

/// See the module.
pub struct Retries {
    config: Config,
    budget: Budget,
    chance: Chance,
    name: String,
    sent: Counter,
    recovered: Counter,
    left: Gauge,
}

impl Retries {
    /// Of the upstream that metrics call `name`.
    pub(crate) fn new(name: &str, config: &Config) -> Self {
        let label = || [("upstream", name.to_owned())];
        Self {
            budget: Budget::new(config.budget_percent, config.budget_per_second, Instant::now()),
            config: config.clone(),
            chance: Chance::new(),
            name: name.to_owned(),
            sent: counter!("retries_total", &label()),
            recovered: counter!("retries_recovered_total", &label()),
            left: gauge!("retry_budget", &label()),
        }
    }

    /// How much of a request is kept, in bytes.
    pub fn buffer_bytes(&self) -> usize {
        self.config.buffer_bytes
    }

    /// A call is about to be sent for the first time.
    pub fn begin(&self, is_idempotent: bool, deadline: Option<Instant>) -> Trial {
        self.budget.pay_in();
        Trial::new(is_idempotent, deadline)
    }

    /// How long to wait before the call is sent again. `rewind` brings what was sent back to its beginning, if that can
    /// be; it is asked last.
    pub fn again(
        &self,
        trial: &mut Trial,
        attempt: Attempt,
        rewind: impl FnOnce() -> bool,
    ) -> Result<Duration, Withheld> {
        let pause = trial.again(attempt, &self.config, &self.budget, self.chance.share(), Instant::now());
        self.left.set(f64::from(self.budget.left()));
        let pause = pause.and_then(|pause| if rewind() { Ok(pause) } else { Err(Withheld::Buffer) });
        match pause {
            Ok(_) => self.sent.increment(1),
            Err(reason) => self.withheld(reason),
        }
        pause
    }

    /// An answer has begun.
    pub fn answered(&self, trial: &Trial) {
        if trial.previous() > 0 {
            self.recovered.increment(1);
        }
    }

    fn withheld(&self, reason: Withheld) {
        counter!("retries_withheld_total", "upstream" => self.name.clone(), "reason" => reason.name()).increment(1);
    }
}
