//! The client stack: how one service calls another.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use http::{HeaderValue, Request, header::AUTHORIZATION};
use tokio::time::Instant;
use tonic::{
    Status,
    body::Body,
    transport::{Channel, Endpoint},
};
use tower::{Service, ServiceExt as _};

use crate::{
    balance::{self, Balancer, Location},
    context::Context,
    error::{self, chain},
    identity::{Identity, SERVICE_TOKEN},
    retry::{REPLAY_BYTES, Replay, never_left},
    trace,
};

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often an idle connection is asked for a sign of life, so that a vanished peer is noticed.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// How many endpoints a call may find gone before it gives up.
const TRIES: usize = 3;

/// A service of the mesh, as a caller sees it: one or several endpoints, each with a channel that connects when it is
/// first used and again whenever the connection was lost.
#[derive(Clone)]
pub struct Peer {
    endpoints: Arc<Balancer<Channel>>,
    name: Arc<str>,
    identity: Arc<Identity>,
}

impl Peer {
    /// The service `name` at `addresses` (`http://host:port` each). Must be called within a runtime.
    pub fn new(
        name: &str,
        addresses: &[String],
        config: &balance::Config,
        identity: Arc<Identity>,
    ) -> Result<Self, String> {
        let endpoints = balance::in_the_clear(addresses).and_then(|()| Balancer::new(addresses, config, channel));
        let endpoints = endpoints.map_err(|why| format!("peers.{name}: {why}"))?;
        Ok(Self { endpoints: Arc::new(endpoints), name: name.into(), identity })
    }

    /// Sends the request to an endpoint; to another when the request never left.
    async fn send(endpoints: Arc<Balancer<Channel>>, request: Request<Body>) -> Result<http::Response<Body>, Status> {
        let (parts, body) = request.into_parts();
        let mut body = Replay::new(body, REPLAY_BYTES);
        let again = body.again();
        let mut tried = Vec::new();
        loop {
            let Some(endpoint) = endpoints.pick(&tried).await else { return Err(error::unavailable("the service")) };
            let request = Request::from_parts(parts.clone(), Body::new(body));
            let failure = match endpoint.clone().oneshot(request).await {
                Ok(response) => {
                    endpoint.answered();
                    return Ok(response);
                }
                Err(failure) => failure,
            };
            if !never_left(&failure) {
                endpoint.failed();
                return Err(unavailable(&failure));
            }
            endpoint.unreachable();
            tried.push(endpoint.location().clone());
            body = match again.body() {
                Some(body) if tried.len() < TRIES => body,
                _ => return Err(unavailable(&failure)),
            };
        }
    }
}

fn channel(location: &Location) -> Channel {
    // The place is a number; what requests are addressed to is the name.
    let endpoint = Endpoint::from(location.uri()).origin(location.origin());
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_while_idle(true)
        .connect_lazy()
}

fn unavailable(failure: &tonic::transport::Error) -> Status {
    tracing::debug!(error = %chain(failure), "a call of a service failed");
    error::unavailable("the service")
}

impl Service<Request<Body>> for Peer {
    type Response = http::Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    /// Adds what the callee verifies: our own token always; the user's token, what is left of the deadline and
    /// the trace where the request's [`Context`] has them.
    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let context = request.extensions_mut().remove::<Context>().unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(SERVICE_TOKEN, self.identity.token_for(&self.name));
        if let Some(bearer) = context.caller.bearer {
            headers.insert(AUTHORIZATION, bearer);
        }
        if let Some(deadline) = context.deadline {
            headers.insert("grpc-timeout", timeout(deadline));
        }
        if let Some(trace) = context.trace {
            headers.insert(trace::HEADER, trace.header());
        }
        Box::pin(Self::send(Arc::clone(&self.endpoints), request))
    }
}

/// What is left until `deadline`, in gRPC's notation.
fn timeout(deadline: Instant) -> HeaderValue {
    let left = deadline.saturating_duration_since(Instant::now()).as_millis().min(99_999_999);
    HeaderValue::try_from(format!("{left}m")).unwrap_or(HeaderValue::from_static("0m"))
}
