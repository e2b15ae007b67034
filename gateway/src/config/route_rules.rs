//! The sections with rules for methods: `[gateway.in_flight]` and `[gateway.maintenance]`.

use std::time::Duration;

use kit::config::Span;
use serde::{Deserialize, Serialize};

/// The calls that may be in progress: `[gateway.in_flight.reports]`. A stream counts while it is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table, such as { methods = [\"acme.shop\"], calls = 100 }")]
pub struct InFlightConfig {
    /// Methods (`acme.shop.v1.Cart/Add`), or prefixes that end at a dot or slash (`acme.shop.v1.Cart`, `acme`). They
    /// share the limit. Empty: all but the gateway's own health checks and reflection.
    pub methods: Vec<String>,
    /// The maximum number of calls in progress in one gateway.
    pub calls: u32,
    /// The approximate delay after which a refused client retries.
    pub retry_after: Span,
}

impl Default for InFlightConfig {
    fn default() -> Self {
        Self { methods: Vec::new(), calls: 0, retry_after: Span(Duration::from_secs(1)) }
    }
}

/// The most calls that a limit may allow.
const MOST_CALLS: u32 = 10_000_000;
/// The range of a delay before a retry.
const DELAYS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30 * 86_400)];
/// The longest message of a maintenance, in bytes: it must fit into a header, percent-encoded.
const MOST_MESSAGE: usize = 1_000;

impl InFlightConfig {
    /// Checks all but the methods. The error names the key.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.calls == 0 || self.calls > MOST_CALLS {
            return Err(format!("calls: {} is not between 1 and {MOST_CALLS}", self.calls));
        }
        check_delay(self.retry_after)
    }
}

/// Methods that refuse calls: `[gateway.maintenance.shop]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table, such as { enabled = true, methods = [\"acme.shop\"] }")]
pub struct MaintenanceConfig {
    /// Whether calls are refused.
    pub enabled: bool,
    /// Methods (`acme.shop.v1.Cart/Add`), or prefixes that end at a dot or slash (`acme.shop.v1.Cart`, `acme`). Empty:
    /// all but the gateway's own health checks and reflection.
    pub methods: Vec<String>,
    /// The message of the refusal, for people.
    pub message: String,
    /// The delay after which a refused client retries.
    pub retry_after: Span,
    /// Callers with one of these roles are served.
    pub allow_roles: Vec<String>,
    /// Callers in one of these networks, such as `10.0.0.0/8`, are served.
    pub allow_addresses: Vec<String>,
}

impl Default for MaintenanceConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            methods: Vec::new(),
            message: "this method is under maintenance; try again later".to_owned(),
            retry_after: Span(Duration::from_secs(60)),
            allow_roles: Vec::new(),
            allow_addresses: Vec::new(),
        }
    }
}

impl MaintenanceConfig {
    /// Checks all but the methods and the networks. The error names the key.
    pub(crate) fn check(&self) -> Result<(), String> {
        let length = self.message.len();
        if length == 0 || length > MOST_MESSAGE || self.message.chars().any(char::is_control) {
            return Err(format!("message: must be one line of 1 to {MOST_MESSAGE} bytes"));
        }
        check_delay(self.retry_after)
    }
}

fn check_delay(delay: Span) -> Result<(), String> {
    let [least, most] = DELAYS;
    if (least..=most).contains(&delay.0) {
        return Ok(());
    }
    Err(format!("retry_after: {delay} is not between {} and {}", Span(least), Span(most)))
}
