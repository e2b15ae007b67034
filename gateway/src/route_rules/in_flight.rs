//! Limits on calls in flight: how many calls of some methods may be in progress in this process. A stream counts while
//! it is open.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use kit::config::quoted;
use parking_lot::Mutex;
use tonic::Status;

use super::{later, selection::Selection};
use crate::{config::InFlightConfig, rate_limit::KnownMethods};

/// The section of the configuration.
const KEY: &str = "gateway.in_flight";

/// The counts of all limits, by name: a reload keeps them, because the calls stay in progress.
#[derive(Default)]
pub(crate) struct InFlightCounts(Mutex<HashMap<String, Weak<AtomicU32>>>);

impl InFlightCounts {
    fn of(&self, name: &str) -> Arc<AtomicU32> {
        let mut counts = self.0.lock();
        if let Some(count) = counts.get(name).and_then(Weak::upgrade) {
            return count;
        }
        counts.retain(|_, count| count.strong_count() > 0);
        let count = Arc::default();
        counts.insert(name.to_owned(), Arc::downgrade(&count));
        count
    }
}

/// One limit, and the methods that share it.
pub(super) struct InFlightRule {
    pub(super) selection: Selection,
    limit: InFlightLimit,
}

/// One limit.
#[derive(Clone)]
pub(super) struct InFlightLimit {
    name: Arc<str>,
    calls: u32,
    retry_after: Duration,
    /// Shared by all snapshots.
    count: Arc<AtomicU32>,
}

/// Reads the section. Errors name the key.
pub(super) fn read(
    config: &BTreeMap<String, InFlightConfig>,
    known: KnownMethods<'_>,
    counts: &InFlightCounts,
) -> Result<Vec<InFlightRule>, String> {
    let one = |(name, of): (&String, &InFlightConfig)| {
        let key = format!("{KEY}.{}", quoted(name));
        of.check().map_err(|error| format!("{key}.{error}"))?;
        let selection = Selection::new(format!("{key}.methods"), &of.methods, known)?;
        let count = counts.of(name);
        let limit = InFlightLimit { name: name.as_str().into(), calls: of.calls, retry_after: of.retry_after.0, count };
        Ok(InFlightRule { selection, limit })
    };
    config.iter().map(one).collect()
}

/// The limits of a method: all that cover it apply.
pub(super) fn of(rules: &[InFlightRule], scope: &str) -> Arc<[InFlightLimit]> {
    rules.iter().filter(|rule| rule.selection.rank(scope).is_some()).map(|rule| rule.limit.clone()).collect()
}

/// Takes a call into all limits, or into none. `jitter` is a random number from 0 to 1.
pub(super) fn enter(
    limits: &Arc<[InFlightLimit]>,
    jitter: impl FnOnce() -> f64,
) -> Result<Option<InFlightPermit>, Status> {
    if limits.is_empty() {
        return Ok(None);
    }
    for (at, limit) in limits.iter().enumerate() {
        if !limit.take() {
            limits[..at].iter().for_each(InFlightLimit::release);
            return Err(limit.refusal(jitter()));
        }
    }
    Ok(Some(InFlightPermit(Arc::clone(limits))))
}

impl InFlightLimit {
    fn take(&self) -> bool {
        let next = |count: u32| (count < self.calls).then(|| count + 1);
        self.count.fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    fn release(&self) {
        self.count.fetch_sub(1, Relaxed);
    }

    /// Jitter spreads the retries of calls that were refused together.
    fn refusal(&self, jitter: f64) -> Status {
        let message = "too many calls of this method are in progress; try again later";
        later(crate::reason::CALLS_IN_FLIGHT_LIMITED, message, self.retry_after.mul_f64(0.5 + jitter))
    }

    /// A row of `trellis policy`.
    pub(super) fn row(&self) -> [String; 3] {
        [
            "in flight".to_owned(),
            format!("{} calls of all callers", self.calls),
            format!("{KEY}.{}", quoted(&self.name)),
        ]
    }
}

/// A call's place in its limits; released when dropped.
pub(crate) struct InFlightPermit(Arc<[InFlightLimit]>);

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        self.0.iter().for_each(InFlightLimit::release);
    }
}
