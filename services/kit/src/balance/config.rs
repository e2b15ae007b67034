//! What can be configured.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{config::Span, overload, retry};

/// The section `[balance]`: calls of the gateway and of services to what has several endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often names are looked up again.
    pub resolve_interval: Span,
    /// How often endpoints are asked for their health (`grpc.health.v1`), where there are several. `0s`: never.
    pub health_interval: Span,
    /// How often the endpoints' shares of failures are compared.
    pub outlier_interval: Span,
    /// How many of a hundred endpoints may be out for their failures at once; of two, one. 0: none is ever taken out.
    pub most_ejected_percent: u8,
    /// How long an endpoint that has come, or has come back, is given less than its share. `0s`: no time at all.
    pub slow_start: Span,
    /// Sending calls again.
    pub retry: retry::Config,
    /// Giving upstreams of the gateway no more than they can do.
    pub shed: overload::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            resolve_interval: Span(Duration::from_secs(5)),
            health_interval: Span(Duration::from_secs(1)),
            outlier_interval: Span(Duration::from_secs(10)),
            most_ejected_percent: 50,
            slow_start: Span(Duration::from_secs(10)),
            retry: retry::Config::default(),
            shed: overload::Config::default(),
        }
    }
}

impl Config {
    /// What types cannot say. The error names the key.
    pub fn check(&self) -> Result<(), String> {
        let least = Duration::from_millis(100);
        let spans = [("resolve_interval", self.resolve_interval), ("outlier_interval", self.outlier_interval)];
        if let Some((key, span)) = spans.into_iter().find(|(_, span)| span.0 < least) {
            return Err(format!("balance.{key}: {span} is below the least, 100ms"));
        }
        if !self.health_interval.0.is_zero() && self.health_interval.0 < least {
            return Err(format!("balance.health_interval: {} is below the least, 100ms", self.health_interval));
        }
        if self.most_ejected_percent > 100 {
            return Err(format!("balance.most_ejected_percent: {} is above 100", self.most_ejected_percent));
        }
        self.retry.check()?;
        self.shed.check()
    }

    pub(super) fn most_ejected_share(&self) -> f64 {
        f64::from(self.most_ejected_percent) / 100.0
    }
}
