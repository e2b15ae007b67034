//! Admits a call: takes it from all limits of its caller, and from those that all callers of its method share.

use std::time::Duration;

use http::HeaderMap;
use kit::{
    error,
    limiter::{Ask, Hold, Outcome, StreamAsk, TooMany},
    principal::Principal,
};
use tonic::{Code, Status, metadata::MetadataMap};

use super::RpcContext;
use crate::{
    http::client_address::Client,
    rate_limit::{Caller, RateLimitHeaders},
    route_rules::InFlightPermit,
    routes::Method,
};

/// The limits of one client.
pub(super) struct Admission<'a> {
    pub(super) context: &'a RpcContext,
    pub(super) client: Client,
}

impl Admission<'_> {
    /// Takes the call from all limits. Those of the caller come first: a caller beyond them takes no place of others. No
    /// `principal`: an anonymous client.
    pub(super) async fn admit(
        &self,
        method: &Method,
        principal: Option<&Principal>,
        headers: &HeaderMap,
    ) -> Result<Admitted, Status> {
        let caller = Caller { principal, client: self.client, headers };
        let (method_limits, limiter) = (&method.method_limits, &self.context.limiter);
        let terms = method_limits.terms(&caller);
        let mut admitted = Admitted::default();
        if !terms.rules.is_empty() {
            let buckets = method_limits.limits(terms, &caller, &self.context.service.limits.networks);
            let ask = Ask { scope: &terms.scope, limits: buckets.limits(), failure_mode: terms.failure_mode };
            let decision = limiter.decide(&ask).decision().await;
            admitted.headers = terms.headers(&decision, &buckets);
            let refusal = match decision.outcome {
                Outcome::Admitted => None,
                Outcome::Refused { retry_after } => Some(too_often(retry_after)),
                Outcome::Unavailable => Some(error::unavailable("the count of calls")),
            };
            if let Some(refusal) = refusal {
                return Err(limited(method, refusal, admitted.headers));
            }
        }
        if let Some((most, rule)) = &terms.streams {
            let (scope, key) = (terms.scope.as_str(), method_limits.key(rule, &caller));
            let opened =
                limiter.open_stream(StreamAsk { scope, key, most: *most, failure_mode: terms.failure_mode }).await;
            admitted.holds.stream = Some(opened.map_err(|why| limited(method, no_stream(why, *most), None))?);
        }
        match method.rules.enter(|| self.context.rng.share()) {
            Ok(permit) => admitted.holds.in_flight = permit,
            Err(refusal) => return Err(limited(method, refusal, admitted.headers)),
        }
        Ok(admitted)
    }
}

/// The result of the limits for an admitted call.
#[derive(Default)]
pub(super) struct Admitted {
    /// The rate limit headers of the response.
    pub(super) headers: Option<RateLimitHeaders>,
    pub(super) holds: Holds,
}

/// The call's places in limits; free when the response has ended.
#[derive(Default)]
pub(crate) struct Holds {
    /// A stream's share of its caller's streams.
    stream: Option<Hold>,
    in_flight: Option<InFlightPermit>,
}

fn too_often(retry_after: Duration) -> Status {
    error::exhausted(
        crate::reason::RATE_LIMITED,
        "too many calls of this method; wait for the time in retry-after",
        retry_after,
    )
}

fn no_stream(why: TooMany, most: u32) -> Status {
    match why {
        TooMany::Open => {
            let message = format!("{most} streams of this method are open, which is the limit; close one");
            error::status(Code::ResourceExhausted, crate::reason::STREAMS_LIMITED, message)
        }
        TooMany::Unavailable => error::unavailable("the count of streams"),
    }
}

/// Counts a refusal, and adds the rate limit headers.
fn limited(method: &Method, refusal: Status, rate_limit: Option<RateLimitHeaders>) -> Status {
    metrics::counter!("gateway_calls_limited_total", "rpc_method" => method.meter.method().to_owned()).increment(1);
    with_headers(refusal, rate_limit)
}

/// Adds the rate limit headers to a refusal.
pub(super) fn with_headers(mut refusal: Status, rate_limit: Option<RateLimitHeaders>) -> Status {
    if let Some(rate_limit) = rate_limit {
        let mut headers = std::mem::take(refusal.metadata_mut()).into_headers();
        rate_limit.put(&mut headers);
        *refusal.metadata_mut() = MetadataMap::from_headers(headers);
    }
    refusal
}
