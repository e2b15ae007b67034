//! The tokio runtime of the process.

use std::{num::NonZero, thread};

use tokio::runtime::{Builder, Runtime};

/// A worker polls the shared queue after this many tasks of its own local queue. A local queue holds 256 tasks; the
/// shared queue holds the rest, and tasks woken from other threads. tokio's default is up to 127: with 512 busy
/// connections, some waited ten times as long as others (docs/performance.md).
const SHARED_QUEUE_INTERVAL: u32 = 4;

/// Starts one worker per core that the affinity mask and the cgroup quota of the process allow. With one core, the
/// runtime runs on the calling thread, without cross-thread wake-ups.
pub(crate) fn start() -> Result<Runtime, String> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let mut builder = if cores == 1 {
        Builder::new_current_thread()
    } else {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(cores).global_queue_interval(SHARED_QUEUE_INTERVAL);
        builder
    };
    builder.enable_all().build().map_err(|e| format!("cannot start the worker threads: {e}"))
}
