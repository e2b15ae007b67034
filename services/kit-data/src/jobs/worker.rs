//! The worker of a service's jobs: one in each process.

use std::{
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use futures_util::future::BoxFuture;
use kit::{ClockAndRng, error::chain, shutdown::Shutdown};
use tokio::time::{Instant, sleep};

use super::{
    Attempt, Failure, Job, JobsConfig, Outcome, Queue,
    execution::Execution,
    measure,
    running::Running,
    store::{Claim, NewRow, Wanted},
};
use crate::store::Error;

/// Claims due jobs and runs their handlers.
pub struct Worker {
    shared: Shared,
    kinds: Vec<Arc<Kind>>,
}

/// The state that the worker shares with its attempts.
pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) config: JobsConfig,
    pub(super) clock_rng: ClockAndRng,
}

type Handler = Box<dyn Fn(i32, &str, Attempt) -> BoxFuture<'static, Result<Outcome, Failure>> + Send + Sync>;

/// A kind of jobs that this process can run.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// The newest version that it can read.
    version: i32,
    /// The interval of a recurring job.
    pub(super) schedule: Option<Duration>,
    /// Reads the stored job and runs it.
    pub(super) handler: Handler,
}

impl Worker {
    /// A worker without handlers.
    pub fn new(queue: Queue, config: JobsConfig, clock_rng: ClockAndRng) -> Self {
        Self { shared: Shared { queue, config, clock_rng }, kinds: Vec::new() }
    }

    /// Runs jobs of type `J` with `handler`, which is idempotent: a job may run again after success.
    pub fn on<J: Job, F, R>(mut self, handler: F) -> Self
    where
        F: Fn(J, Attempt) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Outcome, Failure>> + Send + 'static,
    {
        let handler: Handler = Box::new(move |version, payload, attempt| match J::read(version, payload) {
            Ok(job) => Box::pin(handler(job, attempt)),
            Err(unreadable) => Box::pin(std::future::ready(Err(Failure::permanent(unreadable)))),
        });
        self.kinds.push(Arc::new(Kind { name: J::KIND, version: J::VERSION, schedule: None, handler }));
        self
    }

    /// Runs `handler` every `interval`, counted from the end of the last run, in one of the service's processes. It has
    /// one row in the table, which stays after failures too.
    pub fn every<F, R>(mut self, name: &'static str, interval: Duration, handler: F) -> Self
    where
        F: Fn(Attempt) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Outcome, Failure>> + Send + 'static,
    {
        let handler: Handler = Box::new(move |_, _, attempt| Box::pin(handler(attempt)));
        self.kinds.push(Arc::new(Kind { name, version: 1, schedule: Some(interval), handler }));
        self
    }

    /// Runs until the process stops: a round at each commit of a job in this process, and at each interval. Then waits
    /// for the running jobs; at the end of the shutdown's grace period it stops and releases them.
    pub async fn run(self, shutdown: Shutdown) {
        let Self { shared, kinds } = self;
        let shared = Arc::new(shared);
        let names = kinds.iter().map(|kind| kind.name).collect();
        tokio::spawn(measure::run(Arc::clone(&shared), names, shutdown.clone()));
        let mut rounds = Rounds { shared, kinds, running: Running::default(), is_scheduled: false, is_short: false };
        while !shutdown.is_stopping() {
            if let Err(error) = rounds.round(&shutdown).await {
                tracing::warn!(error = %chain(&error), "jobs cannot be claimed; the next attempt follows soon");
            }
            rounds.pause(&shutdown).await;
        }
        while !rounds.running.is_empty() {
            rounds.running.ended().await;
        }
    }
}

/// The state between two rounds.
struct Rounds {
    shared: Arc<Shared>,
    kinds: Vec<Arc<Kind>>,
    running: Running,
    /// Whether the recurring jobs have their rows.
    is_scheduled: bool,
    /// Whether due jobs may be left because no place was free.
    is_short: bool,
}

impl Rounds {
    /// Claims due jobs for the free places, and starts them.
    async fn round(&mut self, shutdown: &Shutdown) -> Result<(), Error> {
        if !self.is_scheduled {
            self.schedule().await?;
        }
        let wanted = self.wanted();
        let free = self.free();
        self.is_short = wanted.len() < self.kinds.len();
        if wanted.is_empty() {
            return Ok(());
        }
        let (claimed, now) = (Instant::now(), self.shared.clock_rng.now());
        let claim = Claim { now, until: now + self.shared.config.lease.0, limit: as_limit(free), wanted };
        let jobs = self.shared.queue.statements.claim(&claim).await?;
        let is_full = |wanted: &Wanted| {
            let of_kind = jobs.iter().filter(|job| job.kind == wanted.kind).count();
            as_limit(of_kind) >= wanted.limit
        };
        self.is_short |= jobs.len() >= free || claim.wanted.iter().any(is_full);
        for job in jobs {
            let Some(kind) = self.kinds.iter().find(|kind| kind.name == job.kind) else { continue };
            if self.running.adopt(job.id, job.claims) {
                continue;
            }
            let (shared, kind, shutdown) = (Arc::clone(&self.shared), Arc::clone(kind), shutdown.clone());
            let claim = Arc::new(AtomicI64::new(job.claims));
            self.running.start(Execution { shared, kind, job, claim, claimed, shutdown });
        }
        Ok(())
    }

    fn free(&self) -> usize {
        self.shared.config.concurrency.saturating_sub(self.running.len())
    }

    /// The kinds with free places.
    fn wanted(&self) -> Vec<Wanted> {
        let (free, per_kind) = (self.free(), self.shared.config.concurrency_per_kind);
        let places = |kind: &Kind| per_kind.saturating_sub(self.running.of_kind(kind.name)).min(free);
        let wanted = |kind: &Arc<Kind>| {
            let limit = as_limit(places(kind));
            (limit > 0).then_some(Wanted { kind: kind.name, version: kind.version, limit })
        };
        self.kinds.iter().filter_map(wanted).collect()
    }

    /// Stores the recurring jobs that have no row.
    async fn schedule(&mut self) -> Result<(), Error> {
        let Shared { queue, clock_rng, .. } = &*self.shared;
        for kind in &self.kinds {
            let Some(interval) = kind.schedule else { continue };
            let (name, now) = (kind.name, clock_rng.now());
            let (id, payload, due) = (clock_rng.new_id(), "null".to_owned(), now + interval);
            let row = NewRow { id, kind: name, version: kind.version, payload, schedule: Some(name), now, due };
            queue.statements.schedule(&row).await?;
        }
        self.is_scheduled = true;
        Ok(())
    }

    /// Waits for the next round: a commit in this process, a free place if jobs may wait for it, the interval, or the
    /// end.
    async fn pause(&mut self, shutdown: &Shutdown) {
        let Shared { queue, config, clock_rng } = &*self.shared;
        let interval = config.poll_interval.0;
        let poll = sleep(clock_rng.between(interval - interval / 5, interval));
        tokio::pin!(poll);
        loop {
            tokio::select! {
                () = queue.wake.notified() => return,
                () = self.running.ended(), if !self.running.is_empty() => {
                    if self.is_short {
                        return;
                    }
                }
                () = &mut poll => return,
                () = shutdown.stopping() => return,
            }
        }
    }
}

fn as_limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
