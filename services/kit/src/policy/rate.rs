//! Rate limits of a method, and the keys by which they count.

use std::{fmt, time::Duration};

use proto::policy::v1 as wire;

use crate::limiter::{FailureMode, Quota};

/// A quota and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// The quota.
    pub quota: Quota,
    /// The cost of one call.
    pub cost: u32,
    /// The key by which calls are counted.
    pub by: By,
}

/// The maximum number of open streams of a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamLimit {
    /// The maximum number.
    pub streams: u32,
    /// The key by which streams are counted.
    pub by: By,
}

/// The key of a limit. A caller without it is counted by address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// The user, or the address without one.
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

/// The key as a word: `caller`, `address`, `session`, `api-key`, or the header's name.
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

    /// Whether a caller cannot invent a new value for each call.
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
        // Our build does not validate an external contract: a cost above the burst would refuse all calls.
        let cost = limit.cost.clamp(1, quota.burst());
        Self { quota, cost, by: By::new(limit.key(), &limit.header) }
    }
}

impl From<&wire::StreamLimit> for StreamLimit {
    fn from(limit: &wire::StreamLimit) -> Self {
        // Our build refuses a key that a caller can invent, but it does not validate an external contract.
        let by = match limit.key() {
            wire::RateLimitKey::Header | wire::RateLimitKey::ApiKey => By::Caller,
            key => By::new(key, ""),
        };
        Self { streams: limit.streams.max(1), by }
    }
}

impl From<wire::LimiterFailureMode> for FailureMode {
    fn from(failure_mode: wire::LimiterFailureMode) -> Self {
        match failure_mode {
            wire::LimiterFailureMode::Unspecified => Self::Local,
            wire::LimiterFailureMode::Refuse => Self::Refuse,
        }
    }
}
