//! Bounds the memory that an operation holds: what its calls return, and its response.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The maximum number of objects to which the fields of one response refer.
pub(crate) const REFERENCES: usize = 10_000;

/// The bytes that one operation may hold at the same time. Its calls share them.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    limit: usize,
    held: AtomicUsize,
}

/// Bytes that are held; they are given back when the share is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    bytes: usize,
}

/// The operation needs more than its limit of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    limit: usize,
}

impl Budget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Account { limit, held: AtomicUsize::new(0) }))
    }

    /// A share that holds nothing yet.
    #[must_use]
    pub fn share(&self) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }

    /// The bytes that are left.
    pub(crate) fn left(&self) -> usize {
        self.0.limit.saturating_sub(self.0.held.load(Relaxed))
    }

    pub(crate) fn exceeded(&self) -> Exceeded {
        Exceeded { limit: self.0.limit }
    }
}

impl Share {
    /// Holds more bytes.
    ///
    /// # Errors
    ///
    /// Fails if the operation would hold more than its limit. Nothing is added then.
    pub fn hold(&mut self, bytes: usize) -> Result<(), Exceeded> {
        let Account { limit, held } = &*self.budget.0;
        let within = |held: usize| held.checked_add(bytes).filter(|held| held <= limit);
        held.fetch_update(Relaxed, Relaxed, within).map_err(|_| self.budget.exceeded())?;
        self.bytes += bytes;
        Ok(())
    }

    /// Holds at least `bytes` in all.
    ///
    /// # Errors
    ///
    /// Fails if the operation would hold more than its limit. Nothing is added then.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Exceeded> {
        self.hold(bytes.saturating_sub(self.bytes))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.held.fetch_sub(self.bytes, Relaxed);
    }
}

impl Exceeded {
    /// The `reason` of the error.
    pub(crate) const REASON: &'static str = "RESPONSE_TOO_LARGE";

    pub(crate) fn message(self) -> String {
        let Self { limit } = self;
        format!(
            "the response, and those of the calls that it is made of, take more than {limit} bytes \
             (gateway.graphql.response_bytes)"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_hold_at_most_the_limit_together() {
        let budget = Budget::new(100);
        let (mut one, mut other) = (budget.share(), budget.share());
        assert_eq!((one.hold(60), other.hold(40)), (Ok(()), Ok(())));
        assert_eq!((other.hold(1), budget.left()), (Err(Exceeded { limit: 100 }), 0));
        assert_eq!(other.hold(usize::MAX), Err(Exceeded { limit: 100 }));
        drop(one);
        assert_eq!((budget.left(), other.grow_to(30), other.grow_to(100)), (60, Ok(()), Ok(())));
        let message = other.hold(1).unwrap_err().message();
        assert!(message.contains("100 bytes (gateway.graphql.response_bytes)"), "{message}");
        drop(other);
        assert_eq!(budget.left(), 100);
    }
}
