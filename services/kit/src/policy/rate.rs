//! How often a method may be called, and what is counted by.

use std::{fmt, time::Duration};

use proto::policy::v1 as wire;

use crate::limiter::{Away, Quota};

/// A quota and what it is counted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// The rule.
    pub quota: Quota,
    /// What one call costs.
    pub cost: u32,
    /// Whose calls are counted together.
    pub by: By,
}

/// How many streams of a method may be open at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamLimit {
    /// How many.
    pub streams: u32,
    /// Whose are counted together.
    pub by: By,
}

/// What is counted by. Who has not got it is counted by address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// The user, else the address.
    Caller,
    /// The address, signed in or not.
    Address,
    /// The session.
    Session,
    /// The API key.
    ApiKey,
    /// The value of the header of this name.
    Header(String),
}

/// As a word: `caller`, `address`, `session`, `api-key`, or the header's name.
impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caller => "caller",
            Self::Address => "address",
            Self::Session => "session",
            Self::ApiKey => "api-key",
            Self::Header(name) => name,
        })
    }
}

impl By {
    fn new(key: wire::RateLimitKey, header: &str) -> Self {
        match key {
            wire::RateLimitKey::Unspecified => Self::Caller,
            wire::RateLimitKey::Address => Self::Address,
            wire::RateLimitKey::Session => Self::Session,
            wire::RateLimitKey::ApiKey => Self::ApiKey,
            wire::RateLimitKey::Header => Self::Header(header.to_owned()),
        }
    }

    /// Whether it is nothing that a caller can make up anew for each call.
    pub fn is_proved(&self) -> bool {
        matches!(self, Self::Caller | Self::Address | Self::Session)
    }
}

impl From<&wire::RateLimit> for RateLimit {
    fn from(limit: &wire::RateLimit) -> Self {
        let period = limit.period.as_ref().map_or(Duration::from_secs(1), super::span);
        let burst = if limit.burst == 0 { limit.requests } else { limit.burst };
        let quota = match limit.kind() {
            wire::RateLimitKind::Unspecified => Quota::new(limit.requests, period, burst),
            wire::RateLimitKind::Count => Quota::count(limit.requests, period),
        };
        // A stranger's contract was not seen by our build: a call that costs more than there ever is would lock all out.
        let cost = limit.cost.clamp(1, quota.burst());
        Self { quota, cost, by: By::new(limit.key(), &limit.header) }
    }
}

impl From<&wire::StreamLimit> for StreamLimit {
    fn from(limit: &wire::StreamLimit) -> Self {
        // Our build refuses a key that a caller makes up; a stranger's contract was not seen by it.
        let by = match limit.key() {
            wire::RateLimitKey::Header | wire::RateLimitKey::ApiKey => By::Caller,
            key => By::new(key, ""),
        };
        Self { streams: limit.streams.max(1), by }
    }
}

impl From<wire::LimiterAway> for Away {
    fn from(away: wire::LimiterAway) -> Self {
        match away {
            wire::LimiterAway::Unspecified => Self::Local,
            wire::LimiterAway::Refuse => Self::Refuse,
        }
    }
}
