//! The client stack: calls between services.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, header::AUTHORIZATION};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, sleep};
use tonic::{Status, body::Body, transport::Channel};
use tower::{Service, ServiceExt as _};

use crate::{
    balance::{self, Balancer, Endpoint, Location, Outcome, Pick},
    context::Context,
    error::{self, chain},
    identity::{Identity, SERVICE_TOKEN},
    policy::Table,
    retry::{Attempt, PREVIOUS_ATTEMPTS, Replay, attempt_of},
    skew,
    tls::{self, Trust},
    trace,
};

/// The interval of keepalive PINGs, also on idle connections. They detect a vanished peer.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// The header with the remaining time of a call.
pub const TIMEOUT: &str = "grpc-timeout";

/// A service of the mesh, as its client sees it: one or several endpoints. The channel of each endpoint connects at its
/// first use and reconnects when the connection is lost.
#[derive(Clone)]
pub struct Peer {
    endpoints: Arc<Balancer<Channel>>,
    name: Arc<str>,
    identity: Arc<Identity>,
    policies: Arc<Table>,
}

impl Peer {
    /// The service `name` at `addresses` (each `http://host:port`, or `https://host:port` if `identity` has TLS).
    /// `policies` determine which methods are idempotent. Must be called within a runtime.
    pub fn new(
        name: &str,
        addresses: &[String],
        config: &balance::Config,
        identity: Arc<Identity>,
        policies: Arc<Table>,
    ) -> Result<Self, String> {
        let trust = identity.tls().map(|tls| tls.trust().clone());
        let may = if trust.is_some() { Ok(()) } else { balance::in_the_clear(addresses) };
        let made = trust.clone();
        let make = move |location: &Location| channel(location, made.as_ref());
        let endpoints = may.and_then(|()| Balancer::trusting(trust.as_ref(), name, addresses, config, make));
        let endpoints = endpoints.map_err(|why| format!("peers.{name}: {why}"))?;
        Ok(Self { endpoints: Arc::new(endpoints), name: name.into(), identity, policies })
    }

    /// Sends the request to an endpoint, and retries it where that is safe.
    async fn send(self, request: Request<Body>, deadline: Option<Instant>) -> Result<http::Response<Body>, Status> {
        let is_idempotent = self.policies.get(request.uri().path()).is_some_and(|policy| policy.idempotent);
        let retries = self.endpoints.retries();
        let mut trial = retries.begin(is_idempotent, deadline);
        let (mut parts, body) = request.into_parts();
        let mut body = Replay::new(body, retries.buffer_bytes());
        let again = body.again();
        let mut tried = Vec::new();
        loop {
            let endpoint = self.endpoints.pick(&tried).await.ok_or_else(|| error::unavailable("the service"))?;
            tried.push(endpoint.location().clone());
            let request = Request::from_parts(parts.clone(), Body::new(body));
            let started = Instant::now();
            let response = attempt(endpoint, request).await;
            self.measure_clock(&tried, &response, started);
            let Some(failed) = response.failed else {
                retries.responded(&trial);
                return response.result;
            };
            let mut rewound = None;
            let pause = retries.again(&mut trial, failed, || {
                rewound = again.body();
                rewound.is_some()
            });
            let (Ok(pause), Some(next)) = (pause, rewound) else { return response.result };
            drop(response);
            sleep(pause).await;
            body = next;
            parts.headers.insert(PREVIOUS_ATTEMPTS, trial.previous().into());
            if let Some(deadline) = deadline {
                parts.headers.insert(TIMEOUT, timeout(deadline));
            }
        }
    }
}

impl Peer {
    /// Measures the peer's clock skew from a response that carries the time.
    fn measure_clock(&self, tried: &[Location], outcome: &AttemptOutcome, started: Instant) {
        let Ok(response) = &outcome.result else { return };
        let Some((time, endpoint)) = response.headers().get(skew::TIME).zip(tried.last()) else { return };
        self.identity.skews().note(&self.name, endpoint.to_string(), time, started, self.identity.now());
    }
}

/// The result of one attempt.
struct AttemptOutcome {
    result: Result<http::Response<Body>, Status>,
    /// Why the attempt failed; `None`: it brought a response.
    failed: Option<Attempt>,
}

async fn attempt(endpoint: Pick<Channel>, request: Request<Body>) -> AttemptOutcome {
    match endpoint.clone().oneshot(request).await {
        Ok(response) => {
            endpoint.head(response.headers());
            let failed = Attempt::of_head(response.status(), response.headers());
            AttemptOutcome { result: Ok(response.map(|body| Body::new(Held { body, endpoint }))), failed }
        }
        Err(failure) => {
            let failed = attempt_of(&failure);
            match failed {
                // The endpoint is not there, or is draining.
                Attempt::Unsent => endpoint.unreachable(),
                Attempt::Refused | Attempt::Unavailable(_) => endpoint.report(Outcome::Failed),
            }
            tracing::debug!(error = %chain(&failure), endpoint = %endpoint.location(), "a call to another service failed");
            AttemptOutcome { result: Err(error::unavailable("the service")), failed: Some(failed) }
        }
    }
}

impl Endpoint for Channel {}

/// A response body. Its call stays pending until the body ends.
struct Held {
    body: Body,
    endpoint: Pick<Channel>,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let held = self.get_mut();
        let polled = Pin::new(&mut held.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    held.endpoint.report(Outcome::of(trailers));
                }
            }
            Poll::Ready(Some(Err(_))) => held.endpoint.report(Outcome::Failed),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn channel(location: &Location, trust: Option<&Trust>) -> Channel {
    tls::channel(location, trust, |endpoint| {
        endpoint.http2_keep_alive_interval(KEEPALIVE).keep_alive_timeout(KEEPALIVE).keep_alive_while_idle(true)
    })
}

impl Service<Request<Body>> for Peer {
    type Response = http::Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    /// Adds the headers that the callee verifies: always our own token; the user's token, the remaining time and the
    /// trace, if the request's [`Context`] has them.
    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let context = request.extensions_mut().remove::<Context>().unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(SERVICE_TOKEN, self.identity.token_for(&self.name));
        if let Some(bearer) = context.caller.bearer {
            headers.insert(AUTHORIZATION, bearer);
        }
        if let Some(deadline) = context.deadline {
            headers.insert(TIMEOUT, timeout(deadline));
        }
        if let Some(trace) = context.trace {
            headers.insert(trace::HEADER, trace.header());
        }
        Box::pin(self.clone().send(request, context.deadline))
    }
}

/// The time until `deadline` as a `grpc-timeout`: at most eight digits, in the finest unit for which they suffice, from
/// microseconds up. It is rounded up, so that the callee's deadline is never before the caller's. It is never 0, which
/// gRPC does not allow.
pub fn timeout(deadline: Instant) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    const UNITS: [(u128, char); 4] = [(1, 'u'), (1_000, 'm'), (1_000_000, 'S'), (3_600_000_000, 'H')];
    let left = deadline.saturating_duration_since(Instant::now()).as_nanos().div_ceil(1_000).max(1);
    let in_unit = |(micros, unit): &(u128, char)| (left.div_ceil(*micros), *unit);
    let (number, unit) = UNITS.iter().map(in_unit).find(|(number, _)| *number <= MOST).unwrap_or((MOST, 'H'));
    fleeting(format!("{number}{unit}"))
}

/// A header value that differs in nearly every call. HPACK's dynamic table must not index it: it would evict headers
/// that occur in each call. Only sensitive values are never indexed, so it is marked as sensitive (RFC 7541, section
/// 6.2.3).
///
/// # Panics
/// If `text` contains a character that a header value must not have.
pub fn fleeting(text: String) -> HeaderValue {
    let mut value = HeaderValue::try_from(text).expect("ours are visible ASCII");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::server::parse_timeout;

    /// The callee never gets less than the remaining time, and hardly more.
    #[tokio::test(start_paused = true)]
    async fn timeout_has_at_most_eight_digits() {
        for (left, written) in [
            (Duration::ZERO, "1u"),
            (Duration::from_nanos(1), "1u"),
            (Duration::from_nanos(1_234_567_001), "1234568u"),
            (Duration::from_micros(99_999_999), "99999999u"),
            (Duration::from_micros(100_000_001), "100001m"),
            (Duration::from_secs(99_999), "99999000m"),
            (Duration::from_millis(100_000_001), "100001S"),
            (Duration::from_secs(28 * 3_600), "100800S"),
            (Duration::from_secs(99_999_999 * 60), "1666667H"),
            (Duration::from_secs(u64::from(u32::MAX) * 3_600), "99999999H"),
        ] {
            let text = timeout(Instant::now() + left);
            assert_eq!(text, written, "{left:?}");
            let read = parse_timeout(text.as_bytes()).unwrap();
            assert!(read >= left || text == "99999999H", "{left:?} became {read:?}");
        }
    }
}
