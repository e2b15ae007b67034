//! The validity period of a token, and its tolerance for clock skew.

use std::time::Duration;

use crate::Timestamp;

/// The maximum clock skew between two processes (`docs/keys.md`). It equals the lifetime of a service token: with less,
/// a callee whose clock is ahead would refuse a token that is reused near its end. It is twice what NTP considers
/// broken.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// The times in a token, in seconds since 1970.
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

/// Why a token with a valid signature is not valid now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Untimely {
    /// Its lifetime exceeds that of its kind.
    TooLong,
    /// It is not valid yet: the issuer's clock is ahead of ours.
    Early,
    /// It has expired.
    Late,
}

/// When tokens of a kind are valid.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// The maximum of `exp - iat`.
    pub(crate) longest: Duration,
    /// How long a token is accepted after it expires.
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
    fn token_is_valid_only_within_its_window() {
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
