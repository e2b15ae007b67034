//! What a token says about its own time, and how far that may differ from our clock.

use std::time::Duration;

use crate::Timestamp;

/// How far the clocks of two processes may be apart (`docs/keys.md`). Twice what NTP calls broken, and as long as
/// a service token lives: with less, a token that is used again near its end would be refused by a callee that is ahead.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// A token's own times, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) issued: i64,
    pub(crate) expires: i64,
    pub(crate) not_before: Option<i64>,
}

/// Claims that carry `iat` and `exp`.
pub(crate) trait Timed {
    /// Both, in seconds since 1970.
    fn issued_and_expires(&self) -> (i64, i64);
}

/// Why a token with a good signature is not good now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Untimely {
    /// It was made out for longer than any token of its kind.
    TooLong,
    /// It becomes good later: its issuer's clock is ahead of ours.
    Early,
    /// It has ended.
    Late,
}

/// When tokens of a kind are good.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// The longest `exp - iat`.
    pub(crate) longest: Duration,
    /// How long a token is accepted after its end.
    pub(crate) grace: Duration,
}

impl Window {
    pub(crate) fn check(&self, times: Times, now: Timestamp) -> Result<(), Untimely> {
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        let Times { issued, expires, not_before } = times;
        if expires.saturating_sub(issued) > seconds(self.longest) {
            return Err(Untimely::TooLong);
        }
        let begins = not_before.map_or(issued, |not_before| not_before.max(issued));
        if begins > (now + CLOCK_SKEW).as_secs() {
            return Err(Untimely::Early);
        }
        if (now - self.grace).as_secs() >= expires { Err(Untimely::Late) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_good_within_its_window_only() {
        let window = Window { longest: Duration::from_secs(60), grace: Duration::from_secs(10) };
        let check = |issued: i64, expires: i64, not_before: Option<i64>| {
            let now = Timestamp::from_micros(1_000_000_000);
            window.check(Times { issued: 1_000 + issued, expires: 1_000 + expires, not_before }, now)
        };
        assert_eq!(check(0, 60, None), Ok(()));
        assert_eq!(check(0, 61, None), Err(Untimely::TooLong));
        assert_eq!(check(60, 120, None), Ok(()));
        assert_eq!(check(61, 120, None), Err(Untimely::Early));
        assert_eq!(check(0, 60, Some(1_060)), Ok(()));
        assert_eq!(check(0, 60, Some(1_061)), Err(Untimely::Early));
        assert_eq!(check(-60, -9, None), Ok(()));
        assert_eq!(check(-60, -10, None), Err(Untimely::Late));
        assert_eq!(check(i64::MIN + 1_000, i64::MAX - 1_000, None), Err(Untimely::TooLong));
    }
}
