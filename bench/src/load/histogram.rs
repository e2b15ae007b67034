//! A histogram of durations with a relative error of at most 1.6 %.

use std::time::Duration;

/// Each power of two has 2^6 buckets.
const BITS: u32 = 6;
const EACH: u64 = 1 << BITS;

/// The counts per bucket.
#[derive(Debug, Clone, Default)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn record(&mut self, nanos: u64) {
        let at = bucket(nanos);
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += 1;
        self.total += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
    }

    /// The duration that `share` of all durations do not exceed. `None` if there are too few.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        // With fewer than ten durations beyond it, the result is random.
        if (self.total as f64) * (1.0 - share) < 10.0 {
            return None;
        }
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        let at = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(Duration::from_nanos(middle(at)))
    }
}

fn bucket(nanos: u64) -> usize {
    let exponent = nanos.max(1).ilog2();
    let at = match exponent.checked_sub(BITS) {
        None => nanos,
        Some(shift) => (u64::from(shift) + 1) * EACH + ((nanos >> shift) - EACH),
    };
    usize::try_from(at).unwrap_or(usize::MAX)
}

fn middle(at: usize) -> u64 {
    let at = at as u64;
    match (at / EACH).checked_sub(1) {
        None => at,
        Some(shift) => ((EACH + at % EACH) << shift) + (1 << shift) / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_is_close_to_its_durations() {
        for nanos in (0..100_000).chain([1_000_000, 123_456_789, 9_999_999_999]) {
            let recorded = middle(bucket(nanos));
            assert!(recorded.abs_diff(nanos) * 64 <= nanos, "{nanos} became {recorded}");
        }
    }

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
