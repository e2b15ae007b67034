//! The load: callers that check every answer, and what they saw in one window of time.

mod answer;
mod callers;
mod connection;
mod frames;
mod histogram;
mod http1;
mod http2;
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

pub(crate) use answer::{Answer, Expected};
pub(crate) use connection::Connection;
pub(crate) use histogram::Histogram;
pub(crate) use request::{Dialect, Http, Request, Route};
use tally::Tally;

use crate::gateway::Process;

/// Who calls, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) connections: usize,
    /// Calls at once on each connection; more than one needs HTTP/2.
    pub(crate) calls_each: usize,
    pub(crate) drive: Drive,
    /// Before the window opens: connections are made, caches are filled.
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

/// What makes a caller call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Drive {
    /// The answer before.
    Closed,
    /// The clock: so many calls a second, whoever is free takes the next, and a call that waits for somebody counts
    /// from the moment that it should have begun.
    Open(f64),
    /// Nothing: each call is a stream that outlives the window, and what counts are its messages.
    Streams,
}

/// What one window saw.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) elapsed: Duration,
    /// Calls that were answered, or messages that came.
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// Connections made inside the window, because one before was closed.
    pub(crate) reconnects: u64,
    /// What the proxy's process spent.
    pub(crate) cpu: Duration,
    /// The most memory that it held, in bytes.
    pub(crate) memory: u64,
    pub(crate) latency: Histogram,
}

impl Sample {
    pub(crate) fn per_second(&self) -> f64 {
        self.done as f64 / self.elapsed.as_secs_f64()
    }

    /// Microseconds of CPU for one call or message.
    pub(crate) fn cpu_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / (self.done.max(1) as f64)
    }
}

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long idle streams get until all stand.
const STANDING: Duration = Duration::from_secs(60);
/// How long the last calls of a window get to be answered.
const PATIENCE: Duration = Duration::from_millis(500);
/// Until the callers of one window are gone from the proxy, so that the next does not pay for them.
const QUIET: Duration = Duration::from_millis(60);

/// Runs the plan against one contender. To be called inside a `LocalSet`.
pub(crate) async fn run(plan: &Plan, request: Rc<Request>, process: &Process) -> Result<Sample, String> {
    let tally = Rc::new(Tally::default());
    let mut callers = JoinSet::new();
    callers::start(&mut callers, plan, &request, &tally).await?;
    sleep(plan.warm_up).await;

    let (cpu, mut memory) = (process.cpu()?, process.memory()?);
    let started = Instant::now();
    tally.open();
    while let Some(left) = plan.window.checked_sub(started.elapsed()) {
        sleep(left.min(LOOK)).await;
        memory = memory.max(process.memory()?);
    }
    tally.close();
    let (elapsed, cpu) = (started.elapsed(), process.cpu()?.saturating_sub(cpu));
    // Calls that are cut make servers close connections: those of one window would be missing in the next.
    if !matches!(plan.drive, Drive::Streams) {
        timeout(PATIENCE, async { while callers.join_next().await.is_some() {} }).await.ok();
    }
    callers.shutdown().await;
    sleep(QUIET).await;
    tally.sample(elapsed, cpu, memory)
}

/// Opens streams that say one thing and are silent then, and tells what memory the process holds with them.
pub(crate) async fn hold(plan: &Plan, request: Rc<Request>, process: &Process) -> Result<u64, String> {
    let tally = Rc::new(Tally::default());
    tally.open();
    let mut callers = JoinSet::new();
    callers::start(&mut callers, plan, &request, &tally).await?;
    let (started, wanted) = (Instant::now(), (plan.connections * plan.calls_each) as u64);
    while tally.done() < wanted {
        if started.elapsed() > STANDING {
            let why = tally.failure().unwrap_or_default();
            return Err(format!("only {} of {wanted} streams came to stand: {why}", tally.done()));
        }
        sleep(LOOK).await;
    }
    sleep(plan.window).await;
    let held = process.memory()?;
    callers.shutdown().await;
    Ok(held)
}
