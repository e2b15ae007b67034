//! The configuration of rate limiting.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Span;

/// The section `[limiter]`. It applies if `[redis]` names a server; a single process does not need it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimiterConfig {
    /// How long a call may wait for Redis to decide, 1ms to 1s. After that the failure mode decides.
    pub budget: Span,
    /// The part of each limit that a process grants on its own while Redis is unreachable, above 0 and at most 1. One
    /// divided by the number of gateways keeps the sum.
    pub share: f64,
    /// Limits of at least this many requests per period are leased while they are hot; smaller ones are exact. At least
    /// 1000: a smaller limit would make a lease a fraction of a call.
    pub lease_from: u32,
}

impl Default for LimiterConfig {
    fn default() -> Self {
        Self { budget: Span(Duration::from_millis(5)), share: 0.5, lease_from: LEAST_LEASED }
    }
}

/// Below this, 1 % of a limit is less than ten calls, and exact counting is worth a round trip.
const LEAST_LEASED: u32 = 1_000;

impl LimiterConfig {
    /// Checks the share, which must be above 0. The error names the key.
    pub fn check(&self) -> Result<(), String> {
        if !(self.share > 0.0 && self.share <= 1.0) {
            return Err(format!("limiter.share: {} is not above 0 and at most 1", self.share));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_is_above_zero_and_at_most_one() {
        for share in [0.0, f64::NAN, 1.5, -0.1] {
            let error = LimiterConfig { share, ..LimiterConfig::default() }.check().unwrap_err();
            assert!(error.starts_with(&format!("limiter.share: {share} ")), "{error}");
        }
        LimiterConfig::default().check().unwrap();
    }
}
