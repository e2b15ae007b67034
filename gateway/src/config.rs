//! What can be configured.

use std::{collections::BTreeMap, time::Duration};

use kit::{config::Span, limiter::Quota};
use serde::{Deserialize, Serialize};

/// The section `[gateway]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where callers come in; each `host:port`, on every address that the host has. Secure cookies need a
    /// browser to come over TLS or to `localhost`.
    pub listen: Vec<String>,
    /// Origins of pages on other hosts that may call, such as `https://app.example.org`. Others are refused by
    /// their browser; the gateway's own page needs no entry.
    pub cors_origins: Vec<String>,
    /// How many proxies of your own stand in front: the client's address is taken from `x-forwarded-for` that
    /// many entries from the right. 0: from the connection.
    pub proxies: usize,
    /// Calls that one caller may make to a method whose contract states no quota, in each
    /// `default_rate_period`.
    pub default_rate_requests: u32,
    /// See `default_rate_requests`.
    pub default_rate_period: Span,
    /// Connections to one upstream at most; each carries `limits.streams_per_connection` calls.
    pub upstream_connections: usize,
    /// Whether the page is served at `/`.
    pub console: bool,
    /// Services outside the mesh: full service name → `http://host:port`. They are open to everybody under the
    /// default quota, and get neither the caller's token nor cookie.
    pub foreign: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec!["localhost:8080".to_owned()],
            cors_origins: Vec::new(),
            proxies: 0,
            default_rate_requests: 600,
            default_rate_period: Span(Duration::from_secs(60)),
            upstream_connections: 64,
            console: true,
            foreign: BTreeMap::new(),
        }
    }
}

impl Config {
    /// The quota of a method whose contract states none.
    pub(crate) fn default_quota(&self) -> Quota {
        Quota::new(self.default_rate_requests, self.default_rate_period.0, self.default_rate_requests)
    }
}
