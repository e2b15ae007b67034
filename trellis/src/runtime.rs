//! The threads that the process works on.

use std::{num::NonZero, thread};

use tokio::runtime::{Builder, Runtime};

/// A worker of several keeps 256 tasks for itself; more, and those that come from elsewhere, wait in a queue that all
/// share. After so many tasks of its own it takes one from there. tokio's own choice is up to 127: with 512 busy
/// connections some waited ten times as long as others (docs/performance.md).
const SHARED_QUEUE_INTERVAL: u32 = 4;

/// One worker for each core that the process may use, by its affinity and its cgroup's quota. A single one is the thread
/// that asks: it has nobody to wake and nothing to share.
pub(crate) fn start() -> Result<Runtime, String> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let mut builder = if cores == 1 {
        Builder::new_current_thread()
    } else {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(cores).global_queue_interval(SHARED_QUEUE_INTERVAL);
        builder
    };
    builder.enable_all().build().map_err(|e| format!("no threads can be started: {e}"))
}
