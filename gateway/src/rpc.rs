//! One call through the gateway. Messages are decoded only for protocols that convert them.

mod admission;
mod authentication;
mod authorization;
mod complete;
mod forward_auth;
mod outgoing;
mod own_request;
mod refused;
mod response_body;
mod send;
mod socket_handshake;
mod stream_body;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header::COOKIE};
use http_body_util::Full;
use kit::{
    access::Proof,
    error,
    grpc::{self, code_of},
    health::Readiness,
    identity::CLIENT_SCHEME,
    limiter::RateLimiter,
    record::{Call, Meter},
    repeated,
    rng::Rng,
    server::{PROBE, ServiceContext},
    shutdown::DrainGuard,
    telemetry,
    trace::{self, TraceContext},
};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};
use tracing::{Instrument as _, Span};

use crate::{
    http::{
        client_address::Client,
        controls::{self, HttpControls},
        headers,
        reserved::Ends,
    },
    io::Inbound,
    protocol::{
        ClientProtocol, ResponseEncoder,
        status::{bare, descriptors_unread, head_too_large, is_grpc, is_over_time, not_grpc},
    },
    routes::{Found, Method, Target},
    server::Watched,
    state::Snapshot,
    tls::CertificateState,
    upstream::RequestBodyError,
};
use admission::{Admission, Admitted, with_headers};
pub(crate) use forward_auth::ForwardAuthRequest;
pub(crate) use outgoing::Outgoing;
pub(crate) use own_request::OwnRequest;
pub(crate) use refused::RefusedRequest;
use response_body::{ResponseBody, ResponseSource, ResponseTerms};
pub(crate) use socket_handshake::SocketHandshake;

/// The parts of a gateway that its calls use.
pub(crate) struct RpcContext {
    pub(crate) service: ServiceContext,
    pub(crate) limiter: Arc<dyn RateLimiter>,
    pub(crate) readiness: Readiness,
    pub(crate) rng: Rng,
}

/// A call that has arrived, and the state that applies to it.
pub(crate) struct RpcCall<'a> {
    pub(crate) context: &'a RpcContext,
    pub(crate) snapshot: &'a Snapshot,
    /// The caller's address.
    pub(crate) client: Client,
    pub(crate) certificate: CertificateState,
    pub(crate) client_protocol: ClientProtocol,
    /// The route of its path in gRPC.
    pub(crate) found: Found<'a>,
}

impl RpcCall<'_> {
    /// Serves the call; errors, too, become responses in the caller's protocol.
    pub(crate) async fn respond(mut self, watched: Watched, mut request: Request<Inbound>) -> Response<Outgoing> {
        if let Some(path) = self.client_protocol.path() {
            *request.uri_mut() = path.clone().into();
        }
        let found = self.found;
        let meter = match found {
            Found::Method(method) => &method.meter,
            _ => &self.snapshot.routes.unknown.meter,
        };
        let (mut call, span, trace) = begin(meter, self.client, request.headers());
        call.certificate = self.certificate.valid().cloned();
        let ends = Ends { client: self.client_protocol.kind(), is_external: found.is_external() };
        let compression = self.compression(&found, request.headers());
        match self.forward(found, request, trace, &mut call).instrument(span).await {
            Ok(head) if self.client_protocol.begins_with_status() => {
                self.complete(self.translate(head, call, watched), compression).await
            }
            Ok(head) if self.client_protocol.begins_with_message() => {
                self.begin(self.translate(head, call, watched)).await
            }
            Ok(head) => self.translate(head, call, watched),
            Err(status) => self.refuse(&bare(status, ends), &mut call),
        }
    }

    /// The steps of a call, in order.
    async fn forward(
        &mut self,
        found: Found<'_>,
        mut request: Request<Inbound>,
        trace: TraceContext,
        call: &mut Call,
    ) -> Result<Head, Status> {
        // The route. A request that its protocol does not allow is refused before anything else, but counted.
        let method = match self.callable(found, request.version()) {
            Ok(method) => method,
            Err(refusal) => {
                let unknown = &self.snapshot.routes.unknown;
                let admitted = self.admission().admit(unknown, None, request.headers()).await?;
                return Err(with_headers(refusal, admitted.headers));
            }
        };
        self.check_origin(request.headers())?;
        // Ambiguous headers, before a step reads them.
        repeated::check(request.headers(), Some(self.snapshot.config.rate_limits.api_key_header.as_str()))?;
        // The cookie is forwarded only to methods that read it, and never for a page of another origin.
        self.keep_cookie(method, &mut request)?;
        // Authentication and authorization. The service verifies both again.
        let arrived = Instant::now();
        let proof = self.authenticate_in_time(method, request.headers(), arrived).await?;
        call.principal.clone_from(&proof.caller.principal);
        // Maintenance, before credentials are required: all clients read the message, and some may pass.
        method.rules.check_maintenance(proof.caller.principal.as_ref(), self.client)?;
        // The connection, before the user: a client without a certificate learns nothing about tokens.
        self.certificate.check(method.rules.needs_client_certificate)?;
        authentication::authorise(method, &proof, || self.context.service.identity.now())?;
        // The limits: before anything is sent, and after the identity by which they count.
        let principal = proof.caller.principal.as_ref();
        let mut admitted = self.admission().admit(method, principal, request.headers()).await?;
        // The call is counted, so that a refusal by a later step states the rest of the quota too.
        let rate_limit = admitted.headers.take();
        match self.forward_admitted(method, &proof, request, admitted, (arrived, &trace)).await {
            Ok(head) => Ok(Head { admitted: Admitted { headers: rate_limit, ..head.admitted }, ..head }),
            Err(refusal) => Err(with_headers(refusal, rate_limit)),
        }
    }

    /// The steps of a call after the limits.
    async fn forward_admitted(
        &mut self,
        method: &Method,
        proof: &Proof,
        mut request: Request<Inbound>,
        admitted: Admitted,
        (arrived, trace): (Instant, &TraceContext),
    ) -> Result<Head, Status> {
        // The rest of the head: only now, so that no stranger makes the gateway parse.
        let limit = self.message_bytes();
        self.client_protocol.read(&request, method.codec.as_ref(), limit)?;
        // The deadline. It includes the wait for keys and for a connection.
        let timeout = self.client_protocol.timeout(request.headers())?;
        let deadline = [method.deadline, timeout].into_iter().flatten().min().map(|most| arrived + most);
        // A client states no claim: only a verified token does.
        headers::remove_like(request.headers_mut(), &self.snapshot.claim_headers);
        // The authorization service: after the limits, so that no client floods it.
        let changes = self.decide(method, proof, &mut request, deadline, trace).await?;
        // A client that no longer waits causes no call: the time may have passed during the decision.
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(error::deadline_exceeded());
        }
        // Only headers of the call are forwarded.
        let is_plain = headers::is_of_plain_origin(request.headers());
        headers::sanitize_request(request.headers_mut(), self.client_protocol.upstream_type());
        // Before the gateway sets its own headers, which the decision must not remove.
        changes.remove(request.headers_mut());
        self.client_protocol.translate_request(request.headers_mut());
        *request.method_mut() = http::Method::POST;
        if is_plain && matches!(method.target, Target::Mesh { .. }) {
            request.headers_mut().insert(CLIENT_SCHEME, HeaderValue::from_static("http"));
        }
        trace.write(request.headers_mut());
        if let Some(deadline) = deadline {
            request.headers_mut().insert(grpc::TIMEOUT, grpc::timeout(deadline));
        }
        let sending = self.send(method, proof, deadline, request, admitted, changes);
        match deadline {
            Some(deadline) => timeout_at(deadline, sending).await.map_err(|_| error::deadline_exceeded())?,
            None => sending.await,
        }
    }

    /// The method of a call, if the client's protocol can call it.
    fn callable<'a>(&self, found: Found<'a>, version: Version) -> Result<&'a Method, Status> {
        let method = known(found)?;
        self.client_protocol.check(version, method.codec.as_ref())?;
        Ok(method)
    }

    fn admission(&self) -> Admission<'_> {
        Admission { context: self.context, client: self.client }
    }

    fn keep_cookie(&self, method: &Method, request: &mut Request<Inbound>) -> Result<(), Status> {
        if !request.headers().contains_key(COOKIE) {
            return Ok(());
        }
        if !method.reads_session_cookie || !headers::keep_session_cookie(request.headers_mut()) {
            request.headers_mut().remove(COOKIE);
            return Ok(());
        }
        if self.snapshot.origins.may_use_cookie(request.headers()) {
            return Ok(());
        }
        Err(cross_origin("use the session cookie"))
    }

    /// Refuses requests of pages that may not call, where no preflight has.
    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Status> {
        if !self.client_protocol.needs_origin_check() || self.snapshot.origins.may_use_cookie(headers) {
            return Ok(());
        }
        Err(cross_origin("send such a request"))
    }

    /// Translates the upstream's response into the caller's protocol.
    fn translate(&self, head: Head, mut call: Call, watched: Watched) -> Response<Outgoing> {
        let Head { mut parts, source, encoder, deadline, request_error, drain_guard, is_external, .. } = head;
        let Admitted { headers: rate_limit, holds } = head.admitted;
        let is_grpc = parts.headers.get(http::header::CONTENT_TYPE).is_some_and(is_grpc);
        let ends = Ends { client: self.client_protocol.kind(), is_external };
        headers::sanitize_response(&mut parts.headers, self.client_protocol.response_type(), ends);
        self.client_protocol.translate_response(&mut parts.headers);
        let taken = controls::take(&mut parts.headers);
        if headers::bytes(&parts.headers) + taken.as_ref().map_or(0, headers::bytes) > self.header_bytes() {
            return self.refuse(&with_headers(head_too_large(), rate_limit), &mut call);
        }
        if parts.status != StatusCode::OK || !is_grpc {
            // A gRPC status takes precedence over the HTTP status.
            let stated = Status::from_header_map(&parts.headers).filter(|_| is_grpc);
            let status = stated.unwrap_or_else(|| bare(not_grpc(parts.status), ends));
            return self.refuse(&with_headers(status, rate_limit), &mut call);
        }
        if code_of(&parts.headers).is_some_and(|code| is_over_time(code, deadline)) {
            let status = bare(error::deadline_exceeded(), ends);
            return self.refuse(&with_headers(status, rate_limit), &mut call);
        }
        if source.is_end() && self.client_protocol.states_failure_in_http() {
            // A stream that has not begun can still state its failure as other calls do.
            let failed = Status::from_header_map(&parts.headers).filter(|status| status.code() != Code::Ok);
            if let Some(status) = failed {
                let mut trailers = headers::take_trailers(&mut parts.headers);
                headers::take_status(&mut trailers);
                if let Some(headers) = rate_limit {
                    headers.put(&mut parts.headers);
                }
                call.end(status.code());
                let response = self.client_protocol.complete(parts.headers, Bytes::new(), &status, &trailers, None);
                return response.map(|body| Outgoing::Full(Full::new(body)));
            }
        }
        let controls = match self.controls(taken.filter(|_| head.has_http_controls)) {
            Ok(controls) => controls,
            Err(status) => return self.refuse(&with_headers(status, rate_limit), &mut call),
        };
        if let Some(headers) = rate_limit {
            headers.put(&mut parts.headers);
        }
        let terms = ResponseTerms {
            encoder,
            deadline,
            heartbeat: self.snapshot.config.json.heartbeat.0,
            limit: self.message_bytes(),
            header_bytes: self.header_bytes(),
            ends,
            request_error,
            holds,
            drain_guard,
        };
        let body = ResponseBody::new(source, &mut parts.headers, terms, call, watched);
        let mut response = Response::new(Outgoing::Response(body));
        *response.headers_mut() = parts.headers;
        match controls {
            // They apply when the call has succeeded, or its body has begun.
            Some(controls) if self.client_protocol.is_head_late() => drop(response.extensions_mut().insert(controls)),
            Some(controls) => controls.set_head(&mut response),
            None => {}
        }
        response
    }

    /// Reads the HTTP controls of a response. In other protocols than JSON over HTTP they have no effect.
    fn controls(&self, taken: Option<HeaderMap>) -> Result<Option<HttpControls>, Status> {
        let taken = taken.filter(|_| self.client_protocol.has_http_controls());
        taken.map(|taken| HttpControls::read(&taken, !self.client_protocol.begins_with_status())).transpose()
    }

    fn refuse(&self, status: &Status, call: &mut Call) -> Response<Outgoing> {
        call.end(status.code());
        self.client_protocol.refuse(status).map(|body| Outgoing::Full(Full::new(body)))
    }

    fn message_bytes(&self) -> usize {
        self.context.service.limits.message_bytes
    }

    fn header_bytes(&self) -> usize {
        self.context.service.limits.header_bytes as usize
    }
}

/// Begins the record of a request.
fn begin(meter: &Arc<Meter>, client: Client, headers: &HeaderMap) -> (Call, Span, TraceContext) {
    let span = tracing::debug_span!(
        target: telemetry::PASSING,
        "call",
        otel.kind = "server",
        otel.name = meter.method(),
        rpc.system.name = "grpc",
        rpc.method = meter.method(),
        rpc.response.status_code = tracing::field::Empty,
    );
    let trace = trace::begin_from_outside(&span, headers);
    let mut call = Call::begin(Arc::clone(meter), span.clone(), trace.clone());
    call.address = Some(client.address());
    // Probes are frequent. Streams of health and reflection are logged like any call.
    call.quiet = meter.method() == PROBE;
    (call, span, trace)
}

/// A response's head, and the source of its body.
struct Head {
    parts: http::response::Parts,
    source: ResponseSource,
    encoder: ResponseEncoder,
    deadline: Option<Instant>,
    request_error: RequestBodyError,
    drain_guard: Option<DrainGuard>,
    is_external: bool,
    /// Whether it may state the status and headers of HTTP.
    has_http_controls: bool,
    admitted: Admitted,
}

fn known(found: Found<'_>) -> Result<&Method, Status> {
    match found {
        Found::Method(method) => Ok(method),
        Found::Closed => {
            let message =
                "the gateway's configuration does not open this method; its operator sets access (gateway.external)";
            Err(error::status(Code::PermissionDenied, crate::reason::METHOD_CLOSED, message))
        }
        Found::Unread => Err(descriptors_unread()),
        Found::Undeclared | Found::Nothing => {
            Err(error::status(Code::Unimplemented, crate::reason::UNKNOWN_METHOD, "there is no such method"))
        }
    }
}

fn cross_origin(what: &str) -> Status {
    let message = format!("a page of this origin may not {what}; add the origin to gateway.cors_origins");
    error::status(Code::PermissionDenied, crate::reason::CROSS_ORIGIN, message)
}

#[cfg(test)]
mod tests;
