//! The client stack: calls between services.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, header::AUTHORIZATION};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, sleep};
use tonic::{Status, body::Body, transport::Channel};
use tower::{Service, ServiceExt as _};

use crate::{
    balance::{self, Balancer, Endpoint, EndpointOutcome, Location, Pick},
    context::{Caller, Context},
    error::{self, chain},
    grpc::{self, PREVIOUS_ATTEMPTS},
    identity::{CLIENT_ADDRESS, Identity, SERVICE_TOKEN},
    policy::Table,
    retry::{Attempt, Replay, attempt_of},
    skew,
    tls::Trust,
};

/// The interval of keepalive PINGs, also on idle connections. They detect a vanished peer.
const KEEPALIVE: Duration = Duration::from_secs(10);

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
        config: &balance::BalanceConfig,
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
                parts.headers.insert(grpc::TIMEOUT, grpc::timeout(deadline));
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
            AttemptOutcome { result: Ok(response.map(|body| Body::new(PendingBody { body, endpoint }))), failed }
        }
        Err(failure) => {
            let failed = attempt_of(&failure);
            match failed {
                // The endpoint is not there, or is draining.
                Attempt::Unsent => endpoint.unreachable(),
                Attempt::Refused | Attempt::Broken(_) | Attempt::Unavailable(_) => {
                    endpoint.report(EndpointOutcome::Failed)
                }
            }
            tracing::debug!(error = %chain(&failure), endpoint = %endpoint.location(), "a call to another service failed");
            AttemptOutcome { result: Err(error::unavailable("the service")), failed: Some(failed) }
        }
    }
}

impl Endpoint for Channel {}

/// A response body. Its call stays pending until the body ends.
struct PendingBody {
    body: Body,
    endpoint: Pick<Channel>,
}

impl http_body::Body for PendingBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let held = self.get_mut();
        let polled = Pin::new(&mut held.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    held.endpoint.report(EndpointOutcome::of(trailers));
                }
            }
            Poll::Ready(Some(Err(_))) => held.endpoint.report(EndpointOutcome::Failed),
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
    balance::channel(location, trust, |endpoint| {
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

    /// Adds the headers that the callee verifies: always our own token, and those of the request's [`Context`].
    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let context = request.extensions_mut().remove::<Context>().unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(SERVICE_TOKEN, self.identity.token_for(&self.name));
        let deadline = context.deadline;
        write_context(context, headers);
        Box::pin(self.clone().send(request, deadline))
    }
}

/// Writes the caller, the remaining time and the trace of a call. The client's address makes the call that of an
/// anonymous client if there is no user's token. Without both, it is the service's own.
pub(crate) fn write_context(context: Context, headers: &mut HeaderMap) {
    let Caller { bearer, address, .. } = context.caller;
    if let Some(bearer) = bearer {
        headers.insert(AUTHORIZATION, bearer);
    }
    if let Some(address) = address {
        headers.insert(CLIENT_ADDRESS, grpc::never_indexed(address.to_string()));
    }
    if let Some(deadline) = context.deadline {
        headers.insert(grpc::TIMEOUT, grpc::timeout(deadline));
    }
    if let Some(trace) = context.trace {
        trace.write(headers);
    }
}
