//! A histogram of durations with a relative error of at most 1 %.

use std::time::Duration;

/// The significant digits of a recorded duration: at most five.
const DIGITS: u8 = 2;

/// The recorded durations, in nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct Histogram(hdrhistogram::Histogram<u64>);

impl Default for Histogram {
    fn default() -> Self {
        Self(hdrhistogram::Histogram::new(DIGITS).expect("the number of digits is valid"))
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, nanos: u64) {
        self.0.record(nanos).expect("the histogram grows");
    }

    pub(crate) fn add(&mut self, other: &Self) {
        // Both have the same number of digits, and this one grows.
        self.0.add(&other.0).expect("the histogram grows");
    }

    /// The duration that `share` of all durations do not exceed. `None` if there are too few.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        // With fewer than ten durations beyond it, the result is random.
        let has_enough = (self.0.len() as f64) * (1.0 - share) >= 10.0;
        has_enough.then(|| Duration::from_nanos(self.0.value_at_quantile(share)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_needs_enough_durations() {
        let mut histogram = Histogram::default();
        (1..=2_000).for_each(|n| histogram.record(n * 1_000));
        let median = histogram.quantile(0.5).unwrap().as_micros();
        assert!((984..=1_016).contains(&median), "{median}");
        assert!(histogram.quantile(0.99).is_some());
        assert_eq!(histogram.quantile(0.999), None);
        let (mut twice, once) = (histogram.clone(), histogram);
        twice.add(&once);
        assert_eq!(twice.quantile(0.5), once.quantile(0.5));
    }
}
