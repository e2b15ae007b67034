//! Graceful shutdown, in steps: readiness turns off; after the settle time listeners stop accepting and connections get
//! a GOAWAY; long streams end one after another; calls finish within the grace period; the rest is cut.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::config::Span;

/// The durations of the steps.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShutdownConfig {
    /// The time between "not ready" and the end of accepting, so that load balancers notice. On Kubernetes 5 s.
    pub settle: Span,
    /// The time that calls in flight have to finish.
    pub grace: Span,
    /// The time between the ends of two long streams, so that their clients do not all reconnect at the same moment.
    /// All streams together take at most half of the grace period.
    pub pace: Span,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self {
            settle: Span(Duration::ZERO),
            grace: Span(Duration::from_secs(20)),
            pace: Span(Duration::from_millis(5)),
        }
    }
}

/// The shutdown state, shared by all parts of the process.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    stopping: CancellationToken,
    draining: CancellationToken,
    cut: CancellationToken,
    turns: Arc<Turns>,
}

/// The order in which long streams end.
#[derive(Debug, Default)]
struct Turns {
    /// The number of open streams.
    open: AtomicU32,
    /// The number of turns assigned.
    given: AtomicU32,
    /// Set when the drain begins: the time of the first turn, and the time between two turns.
    plan: OnceLock<(Instant, Duration)>,
}

impl Shutdown {
    /// A shutdown that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Performs all steps, until the end of the grace period. A process that finishes earlier need not wait for it.
    pub async fn run(&self, config: &ShutdownConfig) {
        self.stopping.cancel();
        sleep(config.settle.0).await;
        let streams = self.turns.open.load(Ordering::Relaxed).max(1);
        let pace = config.pace.0.min(config.grace.0 / 2 / streams);
        self.turns.plan.get_or_init(|| (Instant::now(), pace));
        self.draining.cancel();
        sleep(config.grace.0).await;
        self.cut.cancel();
    }

    /// Completes at the first step: report "not ready".
    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Whether the first step has begun.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Completes at the second step: stop accepting, send GOAWAY, begin to end long streams.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Completes at the last step: cut what is left.
    pub async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// Registers a stream without a natural end. Hold the result for as long as the stream lives.
    pub fn stay(&self) -> DrainGuard {
        self.turns.open.fetch_add(1, Ordering::Relaxed);
        DrainGuard { turns: Arc::clone(&self.turns), draining: self.draining.clone(), turn: OnceLock::new() }
    }
}

/// The part of a long stream in the shutdown.
#[derive(Debug)]
pub struct DrainGuard {
    turns: Arc<Turns>,
    draining: CancellationToken,
    /// When the stream is to end, once that is known.
    turn: OnceLock<Instant>,
}

impl DrainGuard {
    /// Whether the stream must end now, because the process stops.
    pub fn is_over(&self) -> bool {
        self.turn().is_some_and(|turn| Instant::now() >= turn)
    }

    /// Completes when the stream must end.
    pub async fn over(&self) {
        self.draining.cancelled().await;
        if let Some(turn) = self.turn() {
            sleep_until(turn).await;
        }
    }

    fn turn(&self) -> Option<Instant> {
        let (first, pace) = *self.turns.plan.get()?;
        let give = || first + pace * self.turns.given.fetch_add(1, Ordering::Relaxed);
        Some(*self.turn.get_or_init(give))
    }
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        self.turns.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(20);

    /// How long after the start of the drain each stream ends.
    async fn ends(streams: usize) -> Vec<Duration> {
        let shutdown = Shutdown::new();
        let ending: Vec<_> = (0..streams)
            .map(|_| {
                let stay = shutdown.stay();
                tokio::spawn(async move {
                    assert!(!stay.is_over());
                    stay.over().await;
                    assert!(stay.is_over());
                    Instant::now()
                })
            })
            .collect();
        tokio::task::yield_now().await;
        let began = Instant::now();
        let down = shutdown.clone();
        tokio::spawn(
            async move { down.run(&ShutdownConfig { grace: Span(GRACE), ..ShutdownConfig::default() }).await },
        );
        let mut ended = Vec::new();
        for stream in ending {
            ended.push(stream.await.unwrap() - began);
        }
        assert_eq!(shutdown.turns.open.load(Ordering::Relaxed), 0);
        ended.sort();
        ended
    }

    #[tokio::test(start_paused = true)]
    async fn long_streams_end_one_after_another() {
        let ends = ends(100).await;
        assert!(ends[0] <= Duration::from_millis(1), "the first ends at once: {ends:?}");
        // Tokio's timers have a resolution of one millisecond.
        assert!(ends.windows(2).all(|two| two[1] - two[0] >= Duration::from_millis(4)), "{ends:?}");
        assert!(ends[99] <= Duration::from_millis(500), "{ends:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn all_streams_end_within_half_of_the_grace() {
        let ends = ends(10_000).await;
        assert!(ends[9_999] <= GRACE / 2 + Duration::from_millis(1), "{:?}", ends[9_999]);
        let early = ends.iter().filter(|end| **end < GRACE / 4).count();
        assert!((4_900..5_100).contains(&early), "{early} of 10 000 in the first half of that time");
    }
}
