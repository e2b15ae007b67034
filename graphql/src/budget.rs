//! Bounds the memory of one response.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What a field of an object takes in memory, besides its name and its text.
const FIELD: usize = 32;
/// What an object of a list takes.
pub(crate) const OBJECT: usize = 48;
/// The maximum number of objects to which the fields of one response refer.
pub(crate) const REFERENCES: usize = 10_000;

/// The bytes that an operation may still use: once for what its calls return, and once for its response.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    fetched: AtomicUsize,
    written: AtomicUsize,
    references: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, fetched: AtomicUsize::new(0), written: AtomicUsize::new(0), references: AtomicUsize::new(0) }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Counts the JSON of a call's response. Returns whether it is within the limit.
    pub(crate) fn fetch(&self, bytes: usize) -> bool {
        add(&self.fetched, bytes) <= self.limit
    }

    /// Counts a field of the response. Returns whether the response is within the limit: if not, it is not sent, and
    /// its fields may be null.
    pub(crate) fn write(&self, name: &str, bytes: usize) -> bool {
        add(&self.written, FIELD + name.len() + bytes) <= self.limit
    }

    /// Counts ids of objects that calls load. Returns whether they are within the limit.
    pub(crate) fn refer(&self, ids: usize) -> bool {
        add(&self.references, ids) <= REFERENCES
    }

    /// Whether the response is larger than the limit.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.written.load(Relaxed) > self.limit
    }

    /// Begins the next response of a subscription.
    pub(crate) fn reset(&self) {
        self.fetched.store(0, Relaxed);
        self.written.store(0, Relaxed);
        self.references.store(0, Relaxed);
    }
}

/// Adds without an overflow: an operation ends soon after it has used its budget.
fn add(to: &AtomicUsize, bytes: usize) -> usize {
    to.fetch_add(bytes, Relaxed).saturating_add(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_beyond_the_limit_is_detected() {
        let budget = Budget::new(100);
        assert!(budget.fetch(100) && !budget.fetch(1));
        assert!(budget.write("name", 100 - FIELD - 4) && !budget.is_exceeded());
        assert!(!budget.write("", 0) && budget.is_exceeded());
        assert!(budget.refer(REFERENCES) && !budget.refer(1));
        budget.reset();
        assert!(budget.refer(REFERENCES));
        assert!(budget.fetch(100) && budget.write("name", 10) && !budget.is_exceeded());
    }
}
