//! What others must come to know of an account, and when to try again.

use std::time::Duration;

use kit::Timestamp;
use uuid::Uuid;

use super::AccountId;

/// Something that became true of an account, taken to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The row's id.
    pub id: Uuid,
    /// What became true.
    pub kind: Kind,
    /// Of whom.
    pub subject: AccountId,
    /// When.
    pub create_time: Timestamp,
    /// How often it was taken, this time included.
    pub attempts: i64,
}

/// What became true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A sign-up was given up; users may have its profile.
    Abandoned,
    /// The owner is gone; users has the profile, messaging the memberships.
    Deleted,
}

impl Kind {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Abandoned => "account.abandoned",
            Self::Deleted => "account.deleted",
        }
    }

    /// From what is stored.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Abandoned, Self::Deleted].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// How much is waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// How many events.
    pub events: i64,
    /// When the oldest became true.
    pub oldest: Option<Timestamp>,
}

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// How long to wait after the given number of attempts: twice as long each time, up to five minutes, of which up to
/// half is taken off by chance (`random`), so that events that failed together do not come back together.
pub fn backoff(attempts: i64, random: u32) -> Duration {
    let doublings = u32::try_from(attempts.clamp(1, 16) - 1).unwrap_or(0);
    let full = SHORTEST.saturating_mul(1 << doublings).min(LONGEST);
    full - (full / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_end_and_chance_takes_off_half_at_most() {
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
