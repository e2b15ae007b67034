//! Signals that wait for publication: bounded, each subject once, with its highest position.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use super::Signal;

/// The maximum number of waiting subjects in a channel. Beyond it the batch becomes "check all subjects".
const CAPACITY: usize = 4_096;

/// The waiting signals, by channel.
#[derive(Default)]
pub(super) struct Outbox {
    waiting: Mutex<HashMap<&'static str, Batch>>,
    filled: Notify,
}

/// The waiting signals of one channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Batch {
    /// These subjects.
    Signals(HashMap<Uuid, i64>),
    /// More subjects than fit.
    Everything,
}

impl Batch {
    /// Adds a signal. If there is no room, the batch becomes `Everything`.
    fn add(&mut self, signal: Signal) {
        if let Self::Signals(signals) = self {
            if signals.len() < CAPACITY || signals.contains_key(&signal.subject) {
                let reached = signals.entry(signal.subject).or_insert(signal.reached);
                *reached = signal.reached.max(*reached);
                return;
            }
            *self = Self::Everything;
        }
        metrics::counter!("bus_signals_dropped_total").increment(1);
    }
}

/// Adds `more` to `there`.
pub(super) fn merge(there: &mut HashMap<&'static str, Batch>, more: HashMap<&'static str, Batch>) {
    for (channel, batch) in more {
        match batch {
            Batch::Everything => drop(there.insert(channel, Batch::Everything)),
            Batch::Signals(signals) => {
                let here = there.entry(channel).or_insert_with(|| Batch::Signals(HashMap::new()));
                signals.into_iter().for_each(|(subject, reached)| here.add(Signal { subject, reached }));
            }
        }
    }
}

impl Outbox {
    /// Adds a signal. Never waits.
    pub(super) fn add(&self, channel: &'static str, signal: Signal) {
        self.waiting.lock().entry(channel).or_insert_with(|| Batch::Signals(HashMap::new())).add(signal);
        self.filled.notify_one();
    }

    /// Takes all waiting signals, as soon as there is one.
    pub(super) async fn take(&self) -> HashMap<&'static str, Batch> {
        loop {
            let taken = std::mem::take(&mut *self.waiting.lock());
            if !taken.is_empty() {
                return taken;
            }
            self.filled.notified().await;
        }
    }

    /// Returns signals that could not be published.
    pub(super) fn put_back(&self, taken: HashMap<&'static str, Batch>) {
        let mut waiting = self.waiting.lock();
        let is_empty = taken.is_empty();
        merge(&mut waiting, taken);
        drop(waiting);
        if !is_empty {
            self.filled.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(subject: usize, reached: i64) -> Signal {
        Signal { subject: Uuid::from_u128(u128::try_from(subject).unwrap()), reached }
    }

    fn signals(of: &[(usize, i64)]) -> Batch {
        Batch::Signals(of.iter().map(|(subject, reached)| (signal(*subject, 0).subject, *reached)).collect())
    }

    #[tokio::test]
    async fn subject_waits_once_with_its_highest_position() {
        let outbox = Outbox::default();
        for (subject, reached) in [(1, 1), (2, 5), (1, 3), (1, 2)] {
            outbox.add("c", signal(subject, reached));
        }
        outbox.add("d", signal(1, 9));
        let taken = outbox.take().await;
        assert_eq!(taken, HashMap::from([("c", signals(&[(1, 3), (2, 5)])), ("d", signals(&[(1, 9)]))]));
    }

    #[tokio::test]
    async fn full_outbox_becomes_everything() {
        let outbox = Outbox::default();
        for subject in 0..CAPACITY {
            outbox.add("c", signal(subject, 1));
        }
        outbox.add("c", signal(0, 2));
        outbox.add("d", signal(0, 1));
        let Batch::Signals(full) = &outbox.take().await["c"] else { panic!("a waiting subject needs no more room") };
        assert_eq!((full.len(), full[&Uuid::nil()]), (CAPACITY, 2));

        (0..=CAPACITY + 1).for_each(|subject| outbox.add("c", signal(subject, 1)));
        outbox.add("d", signal(0, 1));
        assert_eq!(outbox.take().await, HashMap::from([("c", Batch::Everything), ("d", signals(&[(0, 1)]))]));
    }

    #[tokio::test]
    async fn returned_signals_merge_with_newer_ones() {
        let outbox = Outbox::default();
        outbox.add("c", signal(1, 3));
        let taken = outbox.take().await;
        outbox.add("c", signal(1, 2));
        outbox.add("c", signal(2, 1));
        outbox.put_back(taken);
        assert_eq!(outbox.take().await, HashMap::from([("c", signals(&[(1, 3), (2, 1)]))]));
        outbox.put_back(HashMap::from([("c", Batch::Everything)]));
        assert_eq!(outbox.take().await, HashMap::from([("c", Batch::Everything)]));
    }
}
