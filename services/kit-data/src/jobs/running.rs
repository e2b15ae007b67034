//! The jobs that the worker of this process runs.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use tokio::task::{Id, JoinSet};
use uuid::Uuid;

use super::execution::Execution;

/// The claim of an attempt that has ended and stores its result.
pub(super) const ENDED: i64 = -1;

/// The running jobs, at most [`JobsConfig::concurrency`](super::JobsConfig::concurrency).
#[derive(Default)]
pub(super) struct Running {
    tasks: JoinSet<()>,
    jobs: HashMap<Id, RunningJob>,
}

struct RunningJob {
    id: Uuid,
    kind: &'static str,
    /// The number of the claim, shared with the attempt; [`ENDED`] after it.
    claim: Arc<AtomicI64>,
}

impl Running {
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The running jobs of a kind.
    pub(super) fn of_kind(&self, kind: &str) -> usize {
        self.jobs.values().filter(|job| job.kind == kind).count()
    }

    /// Passes a new claim to a job that runs already: the clock has jumped beyond its lease. Returns whether it runs.
    pub(super) fn adopt(&self, id: Uuid, claim: i64) -> bool {
        let adopted = |job: &RunningJob| {
            let pass = |current| (current != ENDED).then_some(claim);
            job.id == id && job.claim.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pass).is_ok()
        };
        self.jobs.values().any(adopted)
    }

    /// Starts an attempt.
    pub(super) fn start(&mut self, execution: Execution) {
        let job = RunningJob { id: execution.job.id, kind: execution.kind.name, claim: Arc::clone(&execution.claim) };
        let task = self.tasks.spawn(execution.run());
        self.jobs.insert(task.id(), job);
    }

    /// Waits until a job has ended. Completes at once if none runs.
    pub(super) async fn ended(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => {
                // It catches the panics of handlers. After one of its own the job stays claimed until its lease expires.
                tracing::error!(%error, "the task of a job failed");
                error.id()
            }
            None => return,
        };
        self.jobs.remove(&id);
    }
}
