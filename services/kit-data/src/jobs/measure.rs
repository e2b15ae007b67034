//! The metrics of a queue, and jobs from the future.

use std::{sync::Arc, time::Duration};

use kit::{Timestamp, error::chain, shutdown::Shutdown};
use tokio::time::sleep;

use super::{
    store::{Backlog, State},
    worker::Shared,
};
use crate::store::Error;

/// The interval of the metrics. Counting reads the whole table.
const PERIOD: Duration = Duration::from_secs(10);
/// A row that was changed later than this after now was changed before the clock was set back. Larger than the skew
/// that services accept of one another.
const TOLERANCE: Duration = Duration::from_secs(60);
/// The kind of all jobs that this process does not know, so that the labels are bounded.
const OTHER: &str = "other";

/// Measures until the process stops.
pub(super) async fn run(shared: Arc<Shared>, kinds: Vec<&'static str>, shutdown: Shutdown) {
    loop {
        if let Err(error) = round(&shared, &kinds).await {
            tracing::warn!(error = %chain(&error), "the jobs cannot be counted; the next attempt follows soon");
        }
        tokio::select! {
            () = sleep(PERIOD) => {}
            () = shutdown.stopping() => return,
        }
    }
}

async fn round(shared: &Shared, kinds: &[&'static str]) -> Result<(), Error> {
    let backlog = shared.queue.statements.backlog().await?;
    let now = shared.clock_rng.now();
    for kind in kinds.iter().copied().chain([OTHER]) {
        let of_kind =
            |found: &&Backlog| found.kind == kind || (kind == OTHER && !kinds.iter().any(|known| *known == found.kind));
        let found: Vec<_> = backlog.iter().filter(of_kind).collect();
        report(shared.queue.name, kind, &found, now);
    }
    let is_future = |found: &Backlog| found.state != State::Dead && found.update_time > now + TOLERANCE;
    if backlog.iter().any(is_future) {
        let rescued = shared.queue.statements.rescue(now + TOLERANCE, now, now + shared.config.lease.0).await?;
        tracing::warn!(jobs = rescued, "the clock was set back; jobs that waited for an earlier time are due now");
        shared.queue.wake.notify_one();
    }
    Ok(())
}

fn report(queue: &'static str, kind: &'static str, found: &[&Backlog], now: Timestamp) {
    for state in State::ALL {
        let jobs: i64 = found.iter().filter(|found| found.state == state).map(|found| found.jobs).sum();
        metrics::gauge!("jobs", "queue" => queue, "kind" => kind, "state" => state.as_str()).set(jobs as f64);
    }
    let alive = found.iter().filter(|found| found.state != State::Dead);
    let age = alive.filter_map(|found| found.oldest).min().map_or(Duration::ZERO, |oldest| oldest.until(now));
    metrics::gauge!("jobs_oldest_age_seconds", "queue" => queue, "kind" => kind).set(age.as_secs_f64());
}
