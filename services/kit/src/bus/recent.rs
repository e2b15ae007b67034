//! Recently published signals. A demoted node accepts published messages but delivers them to no client of the new
//! master. Until a client notices, its signals are lost. So the next connection publishes the signals of the last
//! seconds again: at once, and after all other clients have noticed. Signals are hints: repeating them does no harm.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::outbox::{Batch, Outbox};

/// Longer than a client takes to notice that its node was demoted or that its name resolves elsewhere, lookups
/// included.
pub(super) const NOTICED: Duration = Duration::from_secs(12);

/// By channel: each subject once, and at most as many as an outbox holds.
type SignalBatches = HashMap<&'static str, Batch>;

/// Two generations: when the newer one is [`NOTICED`] old, it becomes the older one.
#[derive(Default)]
pub(super) struct Recent(Mutex<SignalGenerations>);

#[derive(Default)]
struct SignalGenerations {
    newer: SignalBatches,
    older: SignalBatches,
    since: Option<Instant>,
}

impl Recent {
    /// Records published signals.
    pub(super) fn add(&self, published: SignalBatches) {
        let mut generations = self.0.lock();
        let since = *generations.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= NOTICED {
            generations.older = std::mem::take(&mut generations.newer);
            // After two generations all clients have noticed.
            if since.elapsed() >= 2 * NOTICED {
                generations.older.clear();
            }
            generations.since = Some(Instant::now());
        }
        super::outbox::merge(&mut generations.newer, published);
    }

    /// Puts all recent signals back into the outbox.
    pub(super) fn repeat(&self, outbox: &Outbox) {
        let mut generations = self.0.lock();
        let SignalGenerations { newer, older, .. } = std::mem::take(&mut *generations);
        drop(generations);
        outbox.put_back(older);
        outbox.put_back(newer);
    }
}
