//! The load generator: clients that check every response, and the results of one window of time.

mod body;
mod callers;
mod connection;
mod document;
mod events;
mod frames;
mod histogram;
mod http1;
mod http2;
mod received;
mod request;
mod tally;

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

pub(crate) use connection::Connection;
pub(crate) use document::Document;
pub(crate) use histogram::Histogram;
pub(crate) use received::{Expected, Received};
pub(crate) use request::{Dialect, Http, Request, Route};
use tally::Tally;

use crate::gateway::Process;

/// The load of one window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) connections: usize,
    /// Concurrent calls on each connection. More than one needs HTTP/2.
    pub(crate) calls_each: usize,
    pub(crate) drive: Drive,
    /// The time before the window, to open connections and fill caches.
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

/// When a client makes its next call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Drive {
    /// After the previous response (closed loop).
    Closed,
    /// At this rate per second (open loop). A free client takes the next call; the latency of a call that waits for a
    /// client includes the wait.
    Open(f64),
    /// Never: each call is a stream that outlives the window. The results count its messages, and contain their latency
    /// if the messages start with a stamp.
    Streams { stamped: bool },
}

/// The results of one window.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) elapsed: Duration,
    /// Completed calls, or received messages.
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// Connections reopened inside the window.
    pub(crate) reconnects: u64,
    /// The CPU time of the proxy's process.
    pub(crate) cpu: Duration,
    /// The peak memory of the proxy's process, in bytes.
    pub(crate) memory: u64,
    pub(crate) latency: Histogram,
}

impl Sample {
    pub(crate) fn per_second(&self) -> f64 {
        self.done as f64 / self.elapsed.as_secs_f64()
    }

    /// CPU time per call or message, in microseconds.
    pub(crate) fn cpu_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / (self.done.max(1) as f64)
    }
}

/// The interval of memory samples.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(50);
/// The timeout for opening all idle streams.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
/// The timeout for the last responses of a window.
const LAST_RESPONSES: Duration = Duration::from_millis(500);
/// The time that the proxy gets to close the connections of a window, so that the next window does not pay for them.
const SETTLE: Duration = Duration::from_millis(60);

/// Runs the plan against one contender. Must run inside a `LocalSet`.
pub(crate) async fn run(plan: &Plan, request: Rc<Request>, process: &Process) -> Result<Sample, String> {
    let tally = Rc::new(Tally::default());
    let mut callers = JoinSet::new();
    callers::start(&mut callers, plan, &request, &tally).await?;
    sleep(plan.warm_up).await;

    let (cpu, mut memory) = (process.cpu()?, process.memory()?);
    let started = Instant::now();
    tally.open();
    while let Some(left) = plan.window.checked_sub(started.elapsed()) {
        sleep(left.min(SAMPLE_INTERVAL)).await;
        memory = memory.max(process.memory()?);
    }
    tally.close();
    let (elapsed, cpu) = (started.elapsed(), process.cpu()?.saturating_sub(cpu));
    // Lets calls finish: servers close connections after many cancelled calls, which would slow down the next window.
    if !matches!(plan.drive, Drive::Streams { .. }) {
        timeout(LAST_RESPONSES, async { while callers.join_next().await.is_some() {} }).await.ok();
    }
    callers.shutdown().await;
    sleep(SETTLE).await;
    tally.sample(elapsed, cpu, memory)
}

/// Opens streams that carry one message each and are idle afterwards. Returns the memory of the process with them.
pub(crate) async fn hold(plan: &Plan, request: Rc<Request>, process: &Process) -> Result<u64, String> {
    let tally = Rc::new(Tally::default());
    tally.open();
    let mut callers = JoinSet::new();
    callers::start(&mut callers, plan, &request, &tally).await?;
    let (started, wanted) = (Instant::now(), (plan.connections * plan.calls_each) as u64);
    while tally.done() < wanted {
        if started.elapsed() > OPEN_TIMEOUT {
            let why = tally.failure().unwrap_or_default();
            return Err(format!("only {} of {wanted} streams opened: {why}", tally.done()));
        }
        sleep(SAMPLE_INTERVAL).await;
    }
    sleep(plan.window).await;
    let held = process.memory()?;
    callers.shutdown().await;
    Ok(held)
}
