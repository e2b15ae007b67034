//! The load of an endpoint as its client measures it: peak EWMA, after Finagle. Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// How fast old samples lose weight: after this time e⁻¹ of the weight is left.
const DECAY: Duration = Duration::from_secs(10);
/// A moving average of response times. It follows a rise at once and a fall slowly.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeakEwma {
    seconds: f64,
    at: Instant,
}

impl PeakEwma {
    /// An endpoint without a response yet starts at `seconds`, an estimate from the other endpoints.
    pub(super) fn new(seconds: f64, now: Instant) -> Self {
        Self { seconds, at: now }
    }

    /// Adds a response time.
    pub(super) fn observe(&mut self, took: Duration, now: Instant) {
        let (took, weight) = (took.as_secs_f64(), self.weight(now));
        let average = self.seconds * weight + took * (1.0 - weight);
        self.seconds = average.max(took);
        self.at = self.at.max(now);
    }

    /// The expected response time. It falls without responses, so that a slow endpoint is tried again.
    pub(super) fn seconds(&self, now: Instant) -> f64 {
        self.seconds * self.weight(now)
    }

    /// The time of the last response.
    pub(super) fn last(&self) -> Instant {
        self.at
    }

    /// The remaining weight of the last value.
    fn weight(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.at);
        (-elapsed.as_secs_f64() / DECAY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rise_counts_at_once_and_fall_slowly() {
        let start = Instant::now();
        let mut load = PeakEwma::new(0.0, start);
        load.observe(Duration::from_secs(1), start);
        assert!((load.seconds(start) - 1.0).abs() < 1e-9);
        let mut now = start;
        for _ in 0..10 {
            now += Duration::from_secs(1);
            let before = load.seconds(now);
            load.observe(Duration::from_millis(1), now);
            assert!(load.seconds(now) > 0.001 && load.seconds(now) >= before);
        }
        assert!(load.seconds(now) < 0.4, "e⁻¹ after ten seconds: {}", load.seconds(now));
        assert!(load.seconds(now + DECAY * 10) < 0.001, "the average decays without responses");
    }
}
