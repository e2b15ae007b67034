//! One attempt at a claimed job: runs the handler, keeps the claim meanwhile, and stores the result.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use kit::{error::chain, shutdown::Shutdown};
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument as _;

use super::{
    Attempt, Failure, Outcome,
    next::{Change, after, after_cut},
    running::ENDED,
    store::{Claimed, Next, State},
    worker::{Kind, Shared},
};
use crate::store::Error;

/// How long a process that is cut tries to release its jobs.
const RELEASE: Duration = Duration::from_secs(1);
/// The wait after a failed statement at the end of an attempt.
const PAUSE: Duration = Duration::from_millis(500);

/// An attempt at a claimed job.
pub(super) struct Execution {
    pub(super) shared: Arc<Shared>,
    pub(super) kind: Arc<Kind>,
    pub(super) job: Claimed,
    /// The number of the claim. The worker replaces it if it claims the job again, after a jump of the clock.
    pub(super) claim: Arc<AtomicI64>,
    /// When the claim began, at the latest.
    pub(super) claimed: Instant,
    pub(super) shutdown: Shutdown,
}

/// How an attempt ended.
enum End {
    Returned(Result<Outcome, Failure>),
    /// Another process may have the job.
    LeaseLost,
    /// The shutdown's grace period is over.
    Cut,
}

impl Execution {
    /// Runs the attempt and stores its result.
    pub(super) async fn run(self) {
        let Claimed { id, kind, attempts, .. } = &self.job;
        let span = tracing::info_span!("job", job.id = %id, job.kind = kind.as_str(), job.attempt = attempts);
        self.execute().instrument(span).await;
    }

    async fn execute(&self) {
        let started = Instant::now();
        let end = tokio::select! {
            biased;
            result = self.attempt() => End::Returned(result),
            () = self.keep() => End::LeaseLost,
            () = self.shutdown.cut() => End::Cut,
        };
        let took = started.elapsed();
        let outcome = self.settle(end).await;
        let (queue, kind) = (self.shared.queue.name, self.kind.name);
        metrics::histogram!("jobs_duration_seconds", "queue" => queue, "kind" => kind, "outcome" => outcome)
            .record(took.as_secs_f64());
        tracing::debug!(outcome, duration_ms = took.as_millis(), "an attempt ended");
    }

    /// Calls the handler. A panic and a timeout are failures.
    async fn attempt(&self) -> Result<Outcome, Failure> {
        let config = &self.shared.config;
        if self.kind.schedule.is_none() && self.job.lost_leases >= i64::from(config.lost_leases) {
            let lost = self.job.lost_leases;
            return Err(Failure::permanent(format!(
                "the process ended, or lost the database, during {lost} attempts in a row"
            )));
        }
        let Claimed { id, version, payload, create_time, attempts, .. } = &self.job;
        let shutdown = self.shutdown.clone();
        let attempt = Attempt { job_id: *id, create_time: *create_time, number: *attempts, shutdown };
        let handling = async { (self.kind.handler)(*version, payload, attempt).await };
        match timeout(config.timeout.0, AssertUnwindSafe(handling).catch_unwind()).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Failure::transient("the handler panicked")),
            Err(_) => Err(Failure::transient(format!("the attempt exceeded jobs.timeout, {}", config.timeout))),
        }
    }

    /// Renews the claim. Completes when the claim is lost, or before it may expire because the database is away.
    async fn keep(&self) {
        let lease = self.shared.config.lease.0;
        let mut renewed = self.claimed;
        loop {
            sleep(lease / 4).await;
            let (begun, now) = (Instant::now(), self.shared.clock_rng.now());
            let claim = self.claim.load(Ordering::Relaxed);
            let renewal = self.shared.queue.statements.renew(self.job.id, claim, now, now + lease);
            match timeout(lease / 8, renewal).await {
                Ok(Ok(true)) => renewed = begun,
                // Otherwise the worker has claimed the job again meanwhile, for this attempt.
                Ok(Ok(false)) if claim == self.claim.load(Ordering::Relaxed) => return,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!(error = %chain(&error), "the lease of a job cannot be renewed"),
                Err(_) => tracing::warn!("the lease of a job cannot be renewed in time"),
            }
            if renewed.elapsed() + lease / 4 >= lease {
                return;
            }
        }
    }

    /// Stores the result. Returns the outcome for metrics.
    async fn settle(&self, end: End) -> &'static str {
        let now = self.shared.clock_rng.now();
        match end {
            End::LeaseLost => {
                // No new claim is passed to an attempt that has ended.
                self.claim.store(ENDED, Ordering::Relaxed);
                tracing::warn!("the lease of a job was lost; its attempt was stopped");
                "lost"
            }
            End::Cut => {
                timeout(RELEASE, self.store(&after_cut(&self.job, now))).await.ok();
                "cut"
            }
            End::Returned(result) => {
                let is_continued = result == Ok(Outcome::Continue);
                let random = u32::from_be_bytes(self.shared.clock_rng.random());
                let change = after(result, &self.job, self.kind.schedule, &self.shared.config, now, random);
                self.report(&change);
                // After the grace period the process does not wait longer than to release a job.
                let late = async {
                    self.shutdown.cut().await;
                    sleep(RELEASE).await;
                };
                tokio::select! {
                    () = self.store(&change) => {}
                    () = late => {}
                }
                if is_continued {
                    self.shared.queue.wake.notify_one();
                }
                change.outcome()
            }
        }
    }

    fn report(&self, change: &Change) {
        let Change::PutBack(Next { state, now, due, failure, .. }) = change else { return };
        if failure.is_empty() {
            return;
        }
        let (queue, kind) = (self.shared.queue.name, self.kind.name);
        metrics::counter!("jobs_failures_total", "queue" => queue, "kind" => kind).increment(1);
        if *state == State::Dead {
            tracing::error!(error = failure.as_str(), "a job failed and became a dead letter; see trellis jobs list");
        } else {
            let wait_ms = now.until(*due).as_millis();
            tracing::warn!(error = failure.as_str(), wait_ms, "a job failed; it is retried after wait_ms");
        }
    }

    /// Stores the change. Repeats it while the database is away, but not for longer than a lease: then the job is
    /// claimed again.
    async fn store(&self, change: &Change) {
        let (claim, since) = (self.claim.swap(ENDED, Ordering::Relaxed), Instant::now());
        loop {
            match self.apply(change, claim).await {
                Ok(true) => return,
                Ok(false) => return tracing::warn!("a job was claimed again before its result was stored"),
                Err(error) if since.elapsed() >= self.shared.config.lease.0 => {
                    return tracing::warn!(error = %chain(&error), "the result of a job cannot be stored; it runs again");
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    async fn apply(&self, change: &Change, claim: i64) -> Result<bool, Error> {
        let statements = &self.shared.queue.statements;
        match change {
            Change::Remove => statements.remove(self.job.id, claim).await,
            Change::PutBack(next) => statements.put_back(self.job.id, claim, next).await,
        }
    }
}
