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
const BUDGETS: [Duration; 2] = [Duration::from_millis(1), Duration::from_secs(1)];

impl LimiterConfig {
    /// Checks the values. The error names the key.
    pub fn check(&self) -> Result<(), String> {
        let [least, most] = BUDGETS;
        if !(least..=most).contains(&self.budget.0) {
            return Err(format!("limiter.budget: {} is not between {} and {}", self.budget, Span(least), Span(most)));
        }
        if !(self.share > 0.0 && self.share <= 1.0) {
            return Err(format!("limiter.share: {} is not above 0 and at most 1", self.share));
        }
        if self.lease_from < LEAST_LEASED {
            return Err(format!("limiter.lease_from: {} is below the minimum of {LEAST_LEASED}", self.lease_from));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_their_key() {
        let invalid = [
            (LimiterConfig { budget: Span(Duration::from_secs(2)), ..LimiterConfig::default() }, "limiter.budget: 2s"),
            (LimiterConfig { budget: Span(Duration::ZERO), ..LimiterConfig::default() }, "limiter.budget: 0ms"),
            (LimiterConfig { share: 0.0, ..LimiterConfig::default() }, "limiter.share: 0"),
            (LimiterConfig { share: f64::NAN, ..LimiterConfig::default() }, "limiter.share: NaN"),
            (LimiterConfig { share: 1.5, ..LimiterConfig::default() }, "limiter.share: 1.5"),
            (LimiterConfig { lease_from: 999, ..LimiterConfig::default() }, "limiter.lease_from: 999"),
        ];
        for (config, expected) in invalid {
            let error = config.check().unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        LimiterConfig::default().check().unwrap();
    }
}
