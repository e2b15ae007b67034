//! The measurements by scenario and contender, and their summary over several rounds.

use std::collections::BTreeMap;

use super::{contenders::Contender, scenarios::Scenario};
use crate::load::{Histogram, Sample};

#[derive(Default)]
pub(crate) struct Results {
    /// One sample per round.
    samples: BTreeMap<(String, Contender), Vec<Sample>>,
    /// The memory of idle streams in bytes, one number per round.
    held: BTreeMap<(String, Contender), Vec<f64>>,
}

/// The rate of an open loop, as a share of the slowest contender's: every contender can keep up, and none is idle.
const OPEN_SHARE: f64 = 0.5;

impl Results {
    pub(super) fn add(&mut self, scenario: &str, contender: Contender, sample: Sample) {
        self.samples.entry((scenario.to_owned(), contender)).or_default().push(sample);
    }

    pub(super) fn hold(&mut self, scenario: &str, contender: Contender, bytes: u64) {
        self.held.entry((scenario.to_owned(), contender)).or_default().push(bytes as f64);
    }

    fn samples(&self, scenario: &str, contender: Contender) -> &[Sample] {
        self.samples.get(&(scenario.to_owned(), contender)).map_or(&[], Vec::as_slice)
    }

    /// The median over the rounds.
    pub(super) fn median(&self, scenario: &str, contender: Contender, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        median(self.samples(scenario, contender).iter().map(of).collect())
    }

    /// The median of the ratios of each round. A slow phase of the machine affects both figures of a round.
    pub(super) fn ratio(
        &self,
        scenario: &str,
        contender: Contender,
        to: Contender,
        of: impl Fn(&Sample) -> f64,
    ) -> Option<f64> {
        let pairs = self.samples(scenario, contender).iter().zip(self.samples(scenario, to));
        median(pairs.map(|(one, other)| of(one) / of(other)).collect())
    }

    pub(super) fn sum(&self, scenario: &str, contender: Contender, of: impl Fn(&Sample) -> u64) -> u64 {
        self.samples(scenario, contender).iter().map(of).sum()
    }

    /// The latencies of all rounds.
    pub(super) fn latency(&self, scenario: &str, contender: Contender) -> Histogram {
        let mut all = Histogram::default();
        self.samples(scenario, contender).iter().for_each(|sample| all.add(&sample.latency));
        all
    }

    /// The memory of idle streams, in bytes.
    pub(super) fn held(&self, scenario: &str, contender: Contender) -> Option<f64> {
        median(self.held.get(&(scenario.to_owned(), contender))?.clone())
    }

    /// The rate of an open loop in calls/s, from the first round of the closed loop.
    pub(super) fn open_rate(&self, scenario: &Scenario) -> Option<f64> {
        let closed = scenario.closed();
        let rates = scenario.contenders.iter().filter_map(|contender| self.samples(&closed, *contender).first());
        rates.map(|sample| sample.per_second() * OPEN_SHARE).min_by(f64::total_cmp)
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 0 => Some(f64::midpoint(values[middle - 1], values[middle])),
        _ => Some(values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_an_even_count_is_the_midpoint() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
