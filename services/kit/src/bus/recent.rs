//! What was published of late. A node that has been demoted takes what is published and tells nobody; until that is
//! noticed, signals are lost. So what the last seconds brought is published once more on the next link, and a second time
//! when everybody else has noticed too. Signals are hints: a repeat does no harm.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::outbox::{Batch, Outbox};

/// Longer than a link takes to notice that its node was demoted or that its name leads elsewhere, look-ups included.
pub(super) const NOTICED: Duration = Duration::from_secs(12);

/// By channel: each subject once, and at most as many as an outbox holds.
type Published = HashMap<&'static str, Batch>;

/// Two generations: when the newer is [`NOTICED`] old it becomes the older.
#[derive(Default)]
pub(super) struct Recent(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    newer: Published,
    older: Published,
    since: Option<Instant>,
}

impl Recent {
    /// Takes note of what was published.
    pub(super) fn add(&self, published: Published) {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *generations.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= NOTICED {
            generations.older = std::mem::take(&mut generations.newer);
            // Older than two generations: everybody has noticed.
            if since.elapsed() >= 2 * NOTICED {
                generations.older.clear();
            }
            generations.since = Some(Instant::now());
        }
        super::outbox::merge(&mut generations.newer, published);
    }

    /// Lets all of it be published again.
    pub(super) fn repeat(&self, outbox: &Outbox) {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Generations { newer, older, .. } = std::mem::take(&mut *generations);
        drop(generations);
        outbox.put_back(older);
        outbox.put_back(newer);
    }
}
