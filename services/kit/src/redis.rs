//! Redis, which the processes of a mesh share: its configuration, and what each connection to it needs.
//!
//! Each use has its own connection. The bus has one for publications and subscriptions, because a canary proves only the
//! connection on which it travels. The limiter has one that is pipelined, because its calls wait for a few milliseconds
//! at most.

mod config;
mod node;

use std::time::Duration;

use tokio::time::sleep;

use crate::ClockAndRng;

pub use config::RedisConfig;
pub(crate) use config::RedisServer;
pub(crate) use node::{CHECK_INTERVAL, Node, Role, connect, is_replica, role};

/// The pauses between connection attempts. They grow from 100 ms to a maximum. Jitter shortens each pause, so that
/// processes that lost Redis together do not reconnect at the same time.
pub(crate) struct Pauses {
    next: Duration,
    most: Duration,
}

impl Pauses {
    const FIRST: Duration = Duration::from_millis(100);

    pub(crate) fn new(most: Duration) -> Self {
        Self { next: Self::FIRST, most }
    }

    /// Starts again with the first pause.
    pub(crate) fn reset(&mut self) {
        self.next = Self::FIRST;
    }

    /// Waits for one pause.
    pub(crate) async fn wait(&mut self, clock_rng: &ClockAndRng) {
        sleep(clock_rng.between(self.next / 2, self.next)).await;
        self.next = self.most.min(self.next * 2);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_their_maximum_and_start_again() {
        let (clock_rng, mut pauses) = (ClockAndRng::system(), Pauses::new(Duration::from_millis(300)));
        let expect = async |pauses: &mut Pauses, most: u64| {
            let started = Instant::now();
            pauses.wait(&clock_rng).await;
            // A timer rounds up to a millisecond.
            let bounds = Duration::from_millis(most / 2)..=Duration::from_millis(most + 1);
            assert!(bounds.contains(&started.elapsed()), "{:?} is not in {bounds:?}", started.elapsed());
        };
        for most in [100, 200, 300, 300] {
            expect(&mut pauses, most).await;
        }
        pauses.reset();
        expect(&mut pauses, 100).await;
    }
}
