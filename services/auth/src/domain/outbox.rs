//! Events of accounts that other services must apply, and the backoff between attempts.

use std::time::Duration;

use kit::Timestamp;
use uuid::Uuid;

use super::AccountId;

/// An event of the outbox, taken by a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The id of the row.
    pub id: Uuid,
    /// The kind of event.
    pub kind: Kind,
    /// The account.
    pub subject: AccountId,
    /// When the event was stored.
    pub create_time: Timestamp,
    /// How often it was taken, including this time.
    pub attempts: i64,
}

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A sign-up was abandoned; users may have its profile.
    Abandoned,
    /// The account was deleted; users has its profile, messaging its memberships.
    Deleted,
}

impl Kind {
    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Abandoned => "account.abandoned",
            Self::Deleted => "account.deleted",
        }
    }

    /// Reads the name in the database.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Abandoned, Self::Deleted].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The events in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// The number of events.
    pub events: i64,
    /// When the oldest one was stored.
    pub oldest: Option<Timestamp>,
}

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// The wait after the given number of attempts. It doubles up to five minutes. `random` takes off up to half of it
/// (jitter), so that events that failed together are not retried together.
pub fn backoff(attempts: i64, random: u32) -> Duration {
    let doublings = u32::try_from(attempts.clamp(1, 16) - 1).unwrap_or(0);
    let full = SHORTEST.saturating_mul(1 << doublings).min(LONGEST);
    full - (full / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_to_its_limit_and_jitter_takes_at_most_half() {
        let seconds = |attempts, random| backoff(attempts, random).as_secs_f64();
        let full: Vec<f64> = (1..=10).map(|attempts| seconds(attempts, 0)).collect();
        assert_eq!(full, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0]);
        assert_eq!((seconds(1, u32::MAX), seconds(3, u32::MAX)), (0.5, 2.0));
        assert_eq!((seconds(i64::MAX, 0), seconds(0, 0)), (300.0, 1.0));
    }

    #[test]
    fn kinds_are_stored_by_name() {
        for kind in [Kind::Abandoned, Kind::Deleted] {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
    }
}
