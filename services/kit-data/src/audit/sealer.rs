//! Seals records into the hash chain, and prunes old ones.

use std::time::Duration;

use kit::{ClockAndRng, Timestamp, error::chain, shutdown::Shutdown, telemetry::AUDIT};
use tokio::time::{Instant, sleep};

use super::{AuditConfig, Head, Log};
use crate::store::Error;

/// Records that one transaction seals.
const SEALED: i64 = 128;
/// Records that one transaction prunes.
const PRUNED: i64 = 500;
/// The time between two rounds of pruning, after which the end of the chain is logged too.
const PRUNE_INTERVAL: Duration = Duration::from_secs(3_600);

/// Seals the records of a service: one in each process.
#[derive(Clone)]
pub struct Sealer {
    log: Log,
    config: AuditConfig,
    clock_rng: ClockAndRng,
}

impl Sealer {
    /// A sealer of `log`.
    pub fn new(log: Log, config: AuditConfig, clock_rng: ClockAndRng) -> Self {
        log.set_refusals_per_minute(config.refusals_per_minute);
        Self { log, config, clock_rng }
    }

    /// Runs until the process stops accepting calls.
    pub async fn run(self, shutdown: Shutdown) {
        let (mut are_refusals_failing, mut is_failing) = (false, false);
        let (mut last_prune, mut noted) = (None::<Instant>, None);
        loop {
            tokio::select! {
                () = sleep(self.config.seal_interval.0) => {}
                () = shutdown.stopping() => return,
            }
            // Records are sealed even if the refusals cannot be stored.
            let stored = self.log.store_refusals().await;
            self.succeeded(
                stored,
                &mut are_refusals_failing,
                "refusals cannot be stored in the audit log; they wait in memory",
            );
            let is_prune_due = last_prune.is_none_or(|at| at.elapsed() >= PRUNE_INTERVAL);
            let sealed = self.round(is_prune_due).await;
            let sealed = self.succeeded(sealed, &mut is_failing, "audit records cannot be sealed");
            if let Some(head) = sealed.filter(|_| is_prune_due) {
                last_prune = Some(Instant::now());
                self.note(head, &mut noted);
            }
        }
    }

    /// The result of a step. Warns of the first failure in a row; the next attempt follows soon.
    fn succeeded<T>(&self, result: Result<T, Error>, is_failing: &mut bool, failure: &'static str) -> Option<T> {
        match result {
            Ok(done) => {
                *is_failing = false;
                Some(done)
            }
            Err(error) => {
                if !std::mem::replace(is_failing, true) {
                    tracing::warn!(service.name = self.log.service(), error = %chain(&error), "{failure}; the next attempt follows soon");
                }
                None
            }
        }
    }

    /// Stores and seals the records of the last calls.
    pub async fn finish(&self) {
        if let Err(error) = self.log.store_refusals().await {
            tracing::warn!(service.name = self.log.service(), error = %chain(&error), "the last audit records of refusals cannot be stored, and are lost");
        }
        if let Err(error) = self.seal().await {
            tracing::warn!(service.name = self.log.service(), error = %chain(&error), "the last audit records are not sealed; the next start seals them");
        }
    }

    async fn round(&self, prunes: bool) -> Result<Head, Error> {
        let head = self.seal().await?;
        if prunes && !self.config.retention.0.is_zero() {
            self.prune(self.clock_rng.now() - self.config.retention.0).await?;
        }
        Ok(head)
    }

    /// Seals all records that are not sealed. Returns the end of the chain.
    pub async fn seal(&self) -> Result<Head, Error> {
        loop {
            let (sealed, head) = self.log.ledger().seal(SEALED).await?;
            if sealed < SEALED {
                return Ok(head);
            }
        }
    }

    /// Prunes the records at the start of the chain that are older than `before`. Returns how many.
    pub async fn prune(&self, before: Timestamp) -> Result<u64, Error> {
        let mut all = 0;
        loop {
            let pruned = self.log.ledger().prune(before, PRUNED, &self.clock_rng).await?;
            all += pruned;
            if pruned < PRUNED.unsigned_abs() {
                return Ok(all);
            }
        }
    }

    /// Logs the end of the chain when it has moved: an anchor outside of the database. The target is logged at every level.
    fn note(&self, head: Head, noted: &mut Option<Head>) {
        if head.seq > 0 && noted.as_ref() != Some(&head) {
            let (service, anchor) = (self.log.service(), head.to_string());
            tracing::info!(target: AUDIT, { service.name = service, audit.anchor = anchor }, "the audit log is sealed up to here");
            *noted = Some(head);
        }
    }
}
