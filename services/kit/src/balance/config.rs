//! The configuration of load balancing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{config::Span, overload, retry};

/// The section `[balance]`: calls of the gateway and of services to upstreams with several endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BalanceConfig {
    /// How often names are resolved again.
    pub resolve_interval: Span,
    /// How often endpoints are health-checked (`grpc.health.v1`) if there are several. `0s` disables health checks.
    pub health_interval: Span,
    /// How often outlier detection compares the endpoints' failure rates.
    pub outlier_interval: Span,
    /// The maximum percentage of endpoints ejected at once; one of two at 50. 0 disables ejection.
    pub most_ejected_percent: u8,
    /// How long a new or readmitted endpoint gets less than its full share of calls. `0s` disables slow start.
    pub slow_start: Span,
    /// The retry policy.
    pub retry: retry::RetryConfig,
    /// The adaptive concurrency limit of the gateway's upstreams.
    pub shed: overload::OverloadConfig,
}

impl Default for BalanceConfig {
    fn default() -> Self {
        Self {
            resolve_interval: Span(Duration::from_secs(5)),
            health_interval: Span(Duration::from_secs(1)),
            outlier_interval: Span(Duration::from_secs(10)),
            most_ejected_percent: 50,
            slow_start: Span(Duration::from_secs(10)),
            retry: retry::RetryConfig::default(),
            shed: overload::OverloadConfig::default(),
        }
    }
}

impl BalanceConfig {
    pub(super) fn most_ejected_share(&self) -> f64 {
        f64::from(self.most_ejected_percent) / 100.0
    }
}
