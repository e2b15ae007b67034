//! Limits the signals of read marks, which change often and in bursts. Each subject (a conversation, or a reader whose
//! marks no other user sees) publishes the first change at once, then at most one signal in each interval while changes
//! arrive.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};

use parking_lot::Mutex;
use uuid::Uuid;

pub(super) struct Reads {
    interval: Duration,
    /// Subjects that published within the last interval, each with the highest read mark since. Bounded by the
    /// calls of one interval.
    held: Mutex<HashMap<Uuid, Option<i64>>>,
}

impl Reads {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, held: Mutex::default() }
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// Delays a change if the subject published within the interval. Returns whether to publish it now; then the
    /// caller calls [`Reads::take`] after each interval until it returns `None`.
    pub(super) fn hold(&self, subject: Uuid, number: i64) -> bool {
        match self.held.lock().entry(subject) {
            Entry::Vacant(free) => {
                free.insert(None);
                true
            }
            Entry::Occupied(mut held) => {
                let latest = held.get_mut();
                *latest = Some(latest.map_or(number, |latest| latest.max(number)));
                false
            }
        }
    }

    /// The delayed change. `None`: there is none, and the next change is published at once.
    pub(super) fn take(&self, subject: Uuid) -> Option<i64> {
        let mut held = self.held.lock();
        let latest = held.get_mut(&subject).and_then(Option::take);
        if latest.is_none() {
            held.remove(&subject);
        }
        latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Uuid = Uuid::from_u128(1);
    const THERE: Uuid = Uuid::from_u128(2);

    #[test]
    fn first_change_is_published_and_later_ones_together() {
        let reads = Reads::new(Duration::from_secs(1));
        assert!(reads.hold(HERE, 3));
        assert!(!reads.hold(HERE, 5) && !reads.hold(HERE, 4));
        assert!(reads.hold(THERE, 1), "another conversation does not wait");
        assert_eq!(reads.take(HERE), Some(5));
        // Published within the last interval.
        assert!(!reads.hold(HERE, 6));
        assert_eq!(reads.take(HERE), Some(6));
        assert_eq!(reads.take(HERE), None);
        assert!(reads.hold(HERE, 7));
    }
}
