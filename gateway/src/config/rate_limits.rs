//! The section `[gateway.rate_limits]`.

use std::{collections::BTreeMap, time::Duration};

use kit::{config::Span, limiter::FailureMode};
use serde::{Deserialize, Serialize};

/// Rate limits that differ from the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimits {
    /// The header that carries a caller's API key. It is hashed before any other use.
    pub api_key_header: String,
    /// Which responses state the remaining quota, in `ratelimit` and `ratelimit-policy`.
    pub fields: Fields,
    /// Other limits for some methods and callers, by a name that the operator chooses. One of those that match a call
    /// applies: one that names API keys before one that names roles, before one that names addresses, before one for
    /// all callers; then the one with the longest method; then the first by name.
    pub overrides: BTreeMap<String, Override>,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { api_key_header: "x-api-key".to_owned(), fields: Fields::default(), overrides: BTreeMap::new() }
    }
}

/// Which responses state the remaining quota.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fields {
    /// All.
    #[default]
    Always,
    /// Refusals.
    Refused,
}

/// Other limits: `[gateway.rate_limits.overrides.partners]`. A caller must match every list that is not empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table with limits")]
pub struct Override {
    /// Methods (`acme.shop.v1.Cart/Add`), or prefixes that end at a dot or slash (`acme.shop.v1.Cart`, `acme`). Empty:
    /// all.
    pub methods: Vec<String>,
    /// Callers with one of these API keys, each the SHA-256 of the key in hexadecimal.
    pub api_keys: Vec<String>,
    /// Callers with one of these roles.
    pub roles: Vec<String>,
    /// Callers in one of these networks, such as `10.0.0.0/8`.
    pub addresses: Vec<String>,
    /// The limits, in place of the contract's: one to four, or none with `unlimited`.
    pub limits: Vec<Limit>,
    /// No limit at all.
    pub unlimited: bool,
    /// How many streams of a streaming method one caller may have open, in place of the contract's number. 0: the
    /// contract's.
    pub streams: u32,
    /// What happens to calls while Redis is unreachable, in place of the contract's choice: `local` or `refuse`. Empty:
    /// the contract's.
    pub failure_mode: String,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// The cost that is allowed in a period.
    pub requests: u32,
    /// The period.
    pub period: Span,
    /// The cost that is allowed at once. 0: `requests`.
    #[serde(default)]
    pub burst: u32,
    /// The cost of one call.
    #[serde(default = "one")]
    pub cost: u32,
    /// The key of the count: `caller`, `address`, `session`, `api_key`, or `header:x-tenant`.
    #[serde(default = "caller")]
    pub by: String,
    /// Counts calls in a period that begins with the first, instead of a rate.
    #[serde(default)]
    pub count: bool,
}

fn one() -> u32 {
    1
}

fn caller() -> String {
    "caller".to_owned()
}

/// A period is a millisecond to a leap year; `proto/build.rs` checks the same for the contract.
const PERIODS: [Duration; 2] = [Duration::from_millis(1), Duration::from_secs(366 * 86_400)];

impl Limit {
    /// Checks the limit. The error names the key and the fix.
    pub(crate) fn check(&self) -> Result<(), String> {
        let [least, most] = PERIODS;
        let at_once = if self.burst == 0 { self.requests } else { self.burst };
        if self.requests == 0 {
            return Err("requests: must be at least 1".to_owned());
        }
        if !(least..=most).contains(&self.period.0) {
            return Err(format!("period: {} is not between {} and {}", self.period, Span(least), Span(most)));
        }
        if u128::from(self.requests) > self.period.0.as_micros() {
            return Err(format!("requests: {} in {} is more than one in a microsecond", self.requests, self.period));
        }
        if self.cost == 0 || self.cost > at_once {
            return Err(format!("cost: {} is not between 1 and the {at_once} that are allowed at once", self.cost));
        }
        if self.count && self.burst != 0 {
            return Err("burst: applies only to a rate; remove it or count".to_owned());
        }
        Ok(())
    }
}

impl Override {
    /// The value of `failure_mode`.
    pub(crate) fn failure_mode(&self) -> Result<Option<FailureMode>, String> {
        match self.failure_mode.as_str() {
            "" => Ok(None),
            "local" => Ok(Some(FailureMode::Local)),
            "refuse" => Ok(Some(FailureMode::Refuse)),
            other => Err(format!("failure_mode: expected local or refuse, got {other:?}")),
        }
    }
}
