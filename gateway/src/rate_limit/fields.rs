//! The headers `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-10: a list of named limits,
//! each with its quota and window, and with the remaining quota and the time until all of it is available again.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use kit::limiter::Decision;

use super::{Buckets, Rule, Terms};
use crate::config::Fields;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The two headers of a response.
pub(crate) struct RateLimitHeaders {
    policy: HeaderValue,
    limit: HeaderValue,
}

impl RateLimitHeaders {
    /// Sets them in a response, in place of an upstream's own, which describe other limits.
    pub(crate) fn put(self, headers: &mut HeaderMap) {
        headers.insert(POLICY, self.policy);
        headers.insert(LIMIT, self.limit);
    }
}

impl Terms {
    /// The headers after `decision` on `buckets`, if they are sent.
    pub(crate) fn headers(&self, decision: &Decision, buckets: &Buckets) -> Option<RateLimitHeaders> {
        if self.fields == Fields::Refused && decision.is_admitted() {
            return None;
        }
        let policy = self.policy.clone()?;
        let mut text = String::with_capacity(40 * self.rules.len());
        for (at, rule) in self.rules.iter().enumerate() {
            let limit_state = buckets.limit_state(at, decision).unwrap_or_default();
            let separator = if text.is_empty() { "" } else { ", " };
            // Rounded up: after that time all of it is available. Writing to a string cannot fail.
            let reset = limit_state.reset.as_millis().div_ceil(1_000);
            write!(text, "{separator}\"{}\";r={};t={reset}", rule.name, limit_state.left).ok();
        }
        Some(RateLimitHeaders { policy, limit: HeaderValue::try_from(text).ok()? })
    }
}

/// `ratelimit-policy` of these rules. A window that is no whole number of seconds is omitted.
pub(super) fn policy(rules: &[Rule]) -> Option<HeaderValue> {
    let one = |rule: &Rule| {
        let window = match rule.quota.period() {
            period if period.subsec_nanos() == 0 => format!(";w={}", period.as_secs()),
            _ => String::new(),
        };
        format!("\"{}\";q={}{window}", rule.name, rule.quota.requests())
    };
    let text = rules.iter().map(one).collect::<Vec<_>>().join(", ");
    if text.is_empty() { None } else { HeaderValue::try_from(text).ok() }
}
