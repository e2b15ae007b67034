//! The servers of an upstream: load balancing, retries and load shedding.

use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{
    HeaderMap, Method, Version,
    uri::{PathAndQuery, Uri},
};
use kit::{
    balance::{Balancer, EndpointOutcome, Location, Pick},
    grpc::{self, PREVIOUS_ATTEMPTS},
    overload::{self, LatencyBaseline, Shedder},
    policy::Priority,
    retry::{Attempt, Pushback},
};
use tokio::time::{Instant, sleep};

use super::{
    Failure, Reply, RequestBody, call,
    cancel::{self, Cancellations, Cancelled},
    failure::{is_fault, outcome_of_break},
    pool::{ConnectionPool, StreamPermit},
};

/// How many unreachable servers a call may try before it fails.
const TRIES: usize = 3;

/// Servers that serve the same methods.
pub(crate) struct Cluster {
    servers: Balancer<Arc<ConnectionPool>>,
    shedder: Arc<Shedder>,
}

/// The conditions under which a call is sent.
pub(crate) struct Conditions<'a> {
    /// The contract declares the method idempotent.
    pub(crate) is_idempotent: bool,
    /// The deadline of the response.
    pub(crate) deadline: Option<Instant>,
    /// Its weight for load shedding; `None`: it is not counted.
    pub(crate) weight: Option<&'a Weight>,
    /// The caller, for fair load shedding.
    pub(crate) caller: overload::CallerKey,
}

/// The weight of a method's calls when their upstream is overloaded.
pub(crate) struct Weight {
    priority: Priority,
    usual: Arc<LatencyBaseline>,
}

impl Weight {
    pub(crate) fn new(priority: Priority) -> Self {
        Self { priority, usual: Arc::default() }
    }
}

/// A call's share of a server and of one of its connections; released when dropped.
pub(crate) struct Lease {
    permit: StreamPermit,
    server: Pick<Arc<ConnectionPool>>,
}

impl Lease {
    /// The sender of the connection.
    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.permit.sender()
    }

    /// Cancels a call on the connection.
    pub(super) fn cancel(&self, call: Cancelled) {
        cancel::cancel(call, &self.permit);
    }

    /// The cancellations of the connection.
    pub(super) fn cancellations(&self) -> Arc<Cancellations> {
        Arc::clone(self.permit.cancellations())
    }

    /// The response on stream `id` has begun.
    pub(super) fn accepted(&self, id: u32) {
        self.permit.cancellations().accepted(id);
    }

    /// Records a broken stream.
    pub(super) fn broke(&self, error: &h2::Error) {
        if is_fault(error) {
            self.permit.fault();
        }
    }

    /// The call ended without a response. Returns what that means for a retry.
    fn failed(&self, failure: &Failure) -> Attempt {
        match failure {
            Failure::Broken(error) => {
                let outcome = outcome_of_break(error);
                self.report(outcome);
                // An overloaded server is not tried again.
                let never = outcome == EndpointOutcome::Busy;
                Attempt::Broken(if never { Pushback::Never } else { Pushback::None })
            }
            Failure::Refused(_) => {
                self.report(EndpointOutcome::Failed);
                Attempt::Refused
            }
            Failure::Gone(_) => {
                self.server.unused();
                self.server.forget(&self.permit);
                Attempt::Unsent
            }
            Failure::Unreachable(_) | Failure::Full | Failure::Overloaded | Failure::Cut => {
                self.server.unused();
                Attempt::Unsent
            }
        }
    }

    /// The outcome of the call does not depend on the server, and so does not count for its health.
    pub(super) fn unused(&self) {
        self.server.unused();
    }

    /// The response has begun.
    pub(super) fn head(&self, headers: &HeaderMap) {
        self.server.head(headers);
    }

    /// Reports the outcome of the call to the load balancer.
    pub(super) fn report(&self, outcome: EndpointOutcome) {
        self.server.report(outcome);
    }
}

/// The path of the method. gRPC has no query.
fn path(uri: &Uri) -> PathAndQuery {
    match uri.path_and_query() {
        Some(path) if path.query().is_none() => path.clone(),
        // The query is removed.
        _ => uri.path().parse().unwrap_or(PathAndQuery::from_static("/")),
    }
}

impl Cluster {
    pub(super) fn new(name: &str, shed: &overload::OverloadConfig, servers: Balancer<Arc<ConnectionPool>>) -> Self {
        Self { servers, shedder: Arc::new(Shedder::new(name, shed, Instant::now())) }
    }

    /// Sends the request unless the upstream is overloaded.
    pub(crate) async fn send(
        &self,
        request: http::Request<RequestBody>,
        conditions: Conditions<'_>,
    ) -> Result<http::Response<Reply>, Failure> {
        let Some(Weight { priority, usual }) = conditions.weight else {
            return self.forward(request, conditions).await;
        };
        let permit = self.shedder.admit(*priority, conditions.caller, usual, Instant::now());
        let permit = permit.ok_or(Failure::Overloaded)?;
        let result = self.forward(request, conditions).await;
        match &result {
            // A response without messages is an error or an empty stream: its latency is not typical.
            Ok(response) => permit.responded(!response.headers().contains_key("grpc-status"), Instant::now()),
            Err(_) => drop(permit),
        }
        result
    }

    /// Sends the request to the least busy server, with retries where they are safe.
    async fn forward(
        &self,
        request: http::Request<RequestBody>,
        conditions: Conditions<'_>,
    ) -> Result<http::Response<Reply>, Failure> {
        let retries = self.servers.retries();
        let mut trial = retries.begin(conditions.is_idempotent, conditions.deadline);
        let (mut parts, mut body) = request.into_parts();
        let path = path(&parts.uri);
        let mut tried = Vec::new();
        loop {
            let lease = self.lease(&mut tried).await?;
            let mut head = http::Request::new(());
            *head.method_mut() = Method::POST;
            *head.version_mut() = Version::HTTP_2;
            *head.uri_mut() = lease.server.uri(path.clone()).map_err(|e| Failure::Unreachable(e.to_string()))?;
            // h2 consumes the headers, and a retry needs them.
            head.headers_mut().clone_from(&parts.headers);
            let pause = match call::send(lease, head, body).await {
                Ok(mut responded) => {
                    let Some(attempt) = Attempt::of_head(responded.response.status(), responded.response.headers())
                    else {
                        retries.responded(&trial);
                        return Ok(responded.accept());
                    };
                    let Ok(pause) = retries.again(&mut trial, attempt, || responded.body().rewind()) else {
                        return Ok(responded.accept());
                    };
                    tried.push(responded.lease.server.location().clone());
                    body = responded.into_body();
                    pause
                }
                Err(pending) => {
                    let call::Pending { failure, body: mut returned, lease } = *pending;
                    if matches!(failure, Failure::Cut) {
                        lease.server.unused();
                        return Err(failure);
                    }
                    let attempt = lease.failed(&failure);
                    let Ok(pause) = retries.again(&mut trial, attempt, || returned.rewind()) else {
                        return Err(failure);
                    };
                    tried.push(lease.server.location().clone());
                    body = returned;
                    pause
                }
            };
            sleep(pause).await;
            parts.headers.insert(PREVIOUS_ATTEMPTS, trial.previous().into());
            if let Some(deadline) = conditions.deadline {
                parts.headers.insert(grpc::TIMEOUT, grpc::timeout(deadline));
            }
        }
    }

    /// Leases a stream on a server. Servers in `tried` come last; servers without a free stream are added to it.
    async fn lease(&self, tried: &mut Vec<Location>) -> Result<Lease, Failure> {
        let mut failure = Failure::Unreachable("no address is known".to_owned());
        for _ in 0..TRIES {
            let Some(server) = self.servers.pick(tried).await else { break };
            match server.permit().await {
                Ok(permit) => return Ok(Lease { permit, server }),
                Err(error) => {
                    match error {
                        Failure::Unreachable(_) => server.unreachable(),
                        _ => server.unused(),
                    }
                    tried.push(server.location().clone());
                    failure = error;
                }
            }
        }
        Err(failure)
    }

    /// The addresses of the servers.
    pub(crate) fn locations(&self) -> Vec<Location> {
        self.servers.locations()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_has_no_query() {
        for uri in ["http://a/acme.v1.Shop/Buy", "/acme.v1.Shop/Buy", "/acme.v1.Shop/Buy?x=1", "/acme.v1.Shop/Buy?"] {
            assert_eq!(path(&uri.parse().unwrap()), "/acme.v1.Shop/Buy", "{uri}");
        }
    }
}
