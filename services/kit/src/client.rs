//! The client stack: how one service calls another.

use std::{
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use http::{HeaderValue, Request, header::AUTHORIZATION};
use tokio::time::Instant;
use tonic::{
    body::Body,
    transport::{Channel, Endpoint},
};
use tower::Service;

use crate::{
    context::Context,
    error::chain,
    identity::{Identity, SERVICE_TOKEN},
    trace,
};

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often an idle connection is asked for a sign of life, so that a vanished peer is noticed.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// A service of the mesh, as a caller sees it: a channel that connects when it is first used and again
/// whenever the connection was lost.
#[derive(Clone)]
pub struct Peer {
    channel: Channel,
    name: Arc<str>,
    identity: Arc<Identity>,
}

impl Peer {
    /// The service `name` at `address` (`http://host:port`).
    pub fn new(name: &str, address: &str, identity: Arc<Identity>) -> Result<Self, String> {
        let endpoint = Endpoint::from_shared(address.to_owned())
            .map_err(|e| format!("peers.{name}: {address:?} is no address such as http://host:port: {}", chain(&e)))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_while_idle(true);
        Ok(Self { channel: endpoint.connect_lazy(), name: name.into(), identity })
    }

    /// The bare channel, for calls without identity (health).
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }
}

impl Service<Request<Body>> for Peer {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = <Channel as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(cx)
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
        self.channel.call(request)
    }
}

/// What is left until `deadline`, in gRPC's notation.
fn timeout(deadline: Instant) -> HeaderValue {
    let left = deadline.saturating_duration_since(Instant::now()).as_millis().min(99_999_999);
    HeaderValue::try_from(format!("{left}m")).unwrap_or(HeaderValue::from_static("0m"))
}
