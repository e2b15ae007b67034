//! One call through the gateway. Messages are not decoded.

use std::{sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{AUTHORIZATION, COOKIE},
};
use kit::{
    access::{self, Proof},
    error,
    grpc::{self, code_of, parse_timeout},
    identity::{CLIENT_ADDRESS, CLIENT_SCHEME, SERVICE_TOKEN},
    limiter::{Ask, Hold, Outcome, StreamAsk, TooMany, network},
    overload,
    record::Call,
    rng::Rng,
    server::PROBE,
    shutdown::DrainGuard,
    telemetry,
    trace::{self, TraceContext},
};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, metadata::MetadataMap};
use tower::ServiceExt as _;
use tracing::Instrument as _;

use crate::{
    Current, Gateway,
    body::{Inbound, Outgoing, Request as Body, RequestBodyError, RequestBodyErrorKind, ResponseBody, Source, Terms},
    client::Client,
    headers,
    protocol::ClientProtocol,
    rate_limit::{Caller, RateLimitHeaders},
    routes::{Found, Method, Target},
    upstream::{self, Conditions, Failure},
    watchdog::Watched,
};

/// A call that has arrived, and the state that applies to it.
pub(crate) struct RpcCall<'a> {
    pub(crate) gateway: &'a Gateway,
    pub(crate) current: &'a Current,
    /// The caller's address.
    pub(crate) client: Client,
    pub(crate) client_protocol: ClientProtocol,
}

impl RpcCall<'_> {
    /// Serves the call; errors, too, become responses in the caller's protocol.
    pub(crate) async fn respond(self, watched: Watched, request: Request<Inbound>) -> Response<Outgoing> {
        let found = self.current.routes.find(request.uri().path());
        let meter = match &found {
            Found::Method(method) => &method.meter,
            _ => &self.current.routes.unknown,
        };
        let span = tracing::debug_span!(
            target: telemetry::PASSING,
            "call",
            otel.kind = "server",
            otel.name = meter.method(),
            rpc.system.name = "grpc",
            rpc.method = meter.method(),
            rpc.response.status_code = tracing::field::Empty,
        );
        let trace = trace::begin_from_outside(&span, request.headers());
        let mut call = Call::begin(Arc::clone(meter), span.clone(), trace);
        call.address = Some(self.client.address());
        // Probes are frequent. Streams of health and reflection are logged like any call.
        call.quiet = meter.method() == PROBE;
        let is_external = found.is_external();
        match self.forward(found, request, trace, &mut call).instrument(span).await {
            Ok(head) => self.translate(head, call, watched),
            Err(status) => self.refuse(&bare(status, is_external), &mut call),
        }
    }

    /// The steps of a call, in order.
    async fn forward(
        &self,
        found: Found<'_>,
        mut request: Request<Inbound>,
        trace: TraceContext,
        call: &mut Call,
    ) -> Result<Head, Status> {
        // The route. A protocol that cannot carry a response is refused before anything else.
        let method = known(found)?;
        if !self.client_protocol.fits(request.version()) {
            let message = "gRPC requires HTTP/2, because HTTP/1.1 loses its trailers; use gRPC-Web";
            return Err(error::status(Code::Unimplemented, "HTTP2_REQUIRED", message));
        }
        // The cookie is forwarded only to methods that read it, and never for a page of another origin.
        self.keep_cookie(method, &mut request)?;
        // Authentication and authorization. The service verifies both again.
        let proof = access::authenticate(request.headers(), &self.gateway.context.keys, None).await;
        call.user = proof.caller.user.as_ref().map(|user| user.id);
        access::authorise(&method.access, &proof)?;
        // The limits: before anything is sent, and after the identity by which they count.
        let admitted = self.admit(method, &proof, request.headers()).await?;
        // The deadline. It includes the wait for a connection.
        let deadline = deadline(method, &request)?;
        // Only headers of the call are forwarded.
        let is_plain = headers::is_of_plain_origin(request.headers());
        headers::enter(request.headers_mut(), self.client_protocol.upstream_type());
        if is_plain && matches!(method.target, Target::Mesh { .. }) {
            request.headers_mut().insert(CLIENT_SCHEME, HeaderValue::from_static("http"));
        }
        request.headers_mut().insert(trace::HEADER, trace.header());
        if let Some(deadline) = deadline {
            request.headers_mut().insert(grpc::TIMEOUT, grpc::timeout(deadline));
        }
        let sending = self.send(method, &proof, deadline, request, admitted);
        match deadline {
            Some(deadline) => timeout_at(deadline, sending).await.map_err(|_| too_late())?,
            None => sending.await,
        }
    }

    fn keep_cookie(&self, method: &Method, request: &mut Request<Inbound>) -> Result<(), Status> {
        if !request.headers().contains_key(COOKIE) {
            return Ok(());
        }
        if !method.reads_session_cookie || !headers::keep_session_cookie(request.headers_mut()) {
            request.headers_mut().remove(COOKIE);
            return Ok(());
        }
        if self.current.origins.may_use_cookie(request.headers()) {
            return Ok(());
        }
        let message = "a page of this origin may not use the session cookie; add the origin to gateway.cors_origins";
        Err(error::status(Code::PermissionDenied, "CROSS_ORIGIN", message))
    }

    /// Takes the call from all limits of its caller, in one decision.
    async fn admit(&self, method: &Method, proof: &Proof, headers: &HeaderMap) -> Result<Admitted, Status> {
        let caller = Caller { user: proof.caller.user.as_ref(), client: self.client, headers };
        let (method_limits, limiter) = (&method.method_limits, &self.gateway.limiter);
        let terms = method_limits.terms(&caller);
        let mut admitted = Admitted::default();
        if !terms.rules.is_empty() {
            let buckets = method_limits.limits(terms, &caller, &self.gateway.context.limits.networks);
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
            admitted.hold = Some(opened.map_err(|why| limited(method, no_stream(why, *most), None))?);
        }
        Ok(admitted)
    }

    async fn send(
        &self,
        method: &Method,
        proof: &Proof,
        deadline: Option<Instant>,
        mut request: Request<Inbound>,
        admitted: Admitted,
    ) -> Result<Head, Status> {
        let request_error = RequestBodyError::default();
        let kept = self.gateway.context.balance.retry.buffer_bytes;
        let incoming =
            |body| Body::new(body, self.client_protocol.is_text, self.message_bytes(), kept, request_error.clone());
        let cluster = match &method.target {
            Target::Mesh { cluster, callee } => {
                self.identify(callee, request.headers_mut());
                cluster
            }
            Target::ExternalUpstream { cluster, tokens } => {
                headers::hide_identity(request.headers_mut(), self.current.config.rate_limits.api_key_header.as_str());
                headers::set_client_address(request.headers_mut(), self.client.header());
                if let Some((tokens, user)) = tokens.as_ref().zip(proof.caller.user.as_ref()) {
                    request.headers_mut().insert(AUTHORIZATION, tokens.header(user));
                }
                cluster
            }
            Target::Here(here) => {
                let Ok(response) = here.clone().oneshot(request.map(incoming)).await;
                let (parts, body) = response.into_parts();
                return Ok(Head {
                    parts,
                    source: Source::Local(body),
                    deadline,
                    request_error,
                    drain_guard: None,
                    is_external: false,
                    admitted,
                });
            }
        };
        let weight = method.weight.as_ref();
        let caller = match &proof.caller.user {
            Some(user) => overload::Caller::User(user.id),
            None => overload::Caller::Network(network(self.client.address())),
        };
        let conditions = Conditions { is_idempotent: method.is_idempotent, deadline, weight, caller };
        let sent = cluster.send(request.map(incoming), conditions).await;
        let (parts, reply) =
            sent.map_err(|failure| failed(&failure, &request_error, deadline, &self.gateway.rng))?.into_parts();
        let is_external = matches!(method.target, Target::ExternalUpstream { .. });
        let drain_guard = method.resumable.then(|| self.gateway.readiness.shutdown().stay());
        Ok(Head { parts, source: Source::Remote(reply), deadline, request_error, drain_guard, is_external, admitted })
    }

    /// Adds the gateway's service token and the client's address for a service of the mesh.
    fn identify(&self, callee: &str, headers: &mut HeaderMap) {
        headers.insert(SERVICE_TOKEN, self.gateway.context.identity.token_for(callee));
        headers.insert(CLIENT_ADDRESS, grpc::never_indexed(self.client.address().to_string()));
    }

    /// Translates the upstream's response into the caller's protocol.
    fn translate(&self, head: Head, mut call: Call, watched: Watched) -> Response<Outgoing> {
        let Head { mut parts, source, deadline, request_error, drain_guard, is_external, admitted } = head;
        let is_grpc = parts.headers.get(http::header::CONTENT_TYPE).is_some_and(is_grpc);
        headers::leave(&mut parts.headers, self.client_protocol.response_type());
        if is_external {
            headers::keep_origin(&mut parts.headers);
        }
        if headers::bytes(&parts.headers) > self.header_bytes() {
            return self.refuse(&head_too_large(), &mut call);
        }
        if parts.status != StatusCode::OK || !is_grpc {
            // A gRPC status takes precedence over the HTTP status.
            let stated = Status::from_header_map(&parts.headers).filter(|_| is_grpc);
            return self.refuse(&stated.unwrap_or_else(|| bare(not_grpc(parts.status), is_external)), &mut call);
        }
        if code_of(&parts.headers).is_some_and(|code| is_over_time(code, deadline)) {
            return self.refuse(&bare(too_late(), is_external), &mut call);
        }
        if let Some(headers) = admitted.headers {
            headers.put(&mut parts.headers);
        }
        let terms = Terms {
            protocol: self.client_protocol.protocol,
            deadline,
            limit: self.message_bytes(),
            header_bytes: self.header_bytes(),
            is_external,
            request_error,
            hold: admitted.hold,
            drain_guard,
        };
        let body = ResponseBody::new(source, &mut parts.headers, terms, call, watched);
        let mut response = Response::new(Outgoing::Response(body));
        *response.headers_mut() = parts.headers;
        response
    }

    fn refuse(&self, status: &Status, call: &mut Call) -> Response<Outgoing> {
        call.end(status.code());
        let mut response = Response::new(Outgoing::empty());
        let headers = response.headers_mut();
        // An Err would mean that the message does not fit into a header; these messages do.
        status.add_header(headers).ok();
        headers.insert(http::header::CONTENT_TYPE, self.client_protocol.response_type());
        response
    }

    fn message_bytes(&self) -> usize {
        self.gateway.context.limits.message_bytes
    }

    fn header_bytes(&self) -> usize {
        self.gateway.context.limits.header_bytes as usize
    }
}

/// A response's head, and the source of its body.
struct Head {
    parts: http::response::Parts,
    source: Source,
    deadline: Option<Instant>,
    request_error: RequestBodyError,
    drain_guard: Option<DrainGuard>,
    is_external: bool,
    admitted: Admitted,
}

/// The result of the limits for an admitted call.
#[derive(Default)]
struct Admitted {
    /// The rate limit headers of the response.
    headers: Option<RateLimitHeaders>,
    /// A stream's share of its caller's streams.
    hold: Option<Hold>,
}

fn too_often(retry_after: Duration) -> Status {
    error::exhausted("RATE_LIMITED", "too many calls of this method; wait for the time in retry-after", retry_after)
}

fn no_stream(why: TooMany, most: u32) -> Status {
    match why {
        TooMany::Open => {
            let message = format!("{most} streams of this method are open, which is the limit; close one");
            error::status(Code::ResourceExhausted, "STREAMS_LIMITED", message)
        }
        TooMany::Unavailable => error::unavailable("the count of streams"),
    }
}

/// Counts a refusal, and adds the rate limit headers.
fn limited(method: &Method, mut refusal: Status, rate_limit: Option<RateLimitHeaders>) -> Status {
    metrics::counter!("gateway_calls_limited_total", "rpc_method" => method.meter.method().to_owned()).increment(1);
    if let Some(rate_limit) = rate_limit {
        let mut headers = std::mem::take(refusal.metadata_mut()).into_headers();
        rate_limit.put(&mut headers);
        *refusal.metadata_mut() = MetadataMap::from_headers(headers);
    }
    refusal
}

fn known(found: Found<'_>) -> Result<&Method, Status> {
    match found {
        Found::Method(method) => Ok(method),
        Found::Closed => {
            let message = "the gateway's configuration does not open this method (gateway.external)";
            Err(error::status(Code::PermissionDenied, "METHOD_CLOSED", message))
        }
        Found::Unread => Err(error::unavailable("the description of the service")),
        Found::Undeclared | Found::Nothing => {
            Err(error::status(Code::Unimplemented, "UNKNOWN_METHOD", "there is no such method"))
        }
    }
}

fn deadline(method: &Method, request: &Request<Inbound>) -> Result<Option<Instant>, Status> {
    let asked = request.headers().get(grpc::TIMEOUT).map(|value| parse_timeout(value.as_bytes()));
    let asked = match asked {
        Some(None) => {
            let message = "grpc-timeout is not a duration, such as 10S or 500m";
            return Err(error::status(Code::InvalidArgument, "TIMEOUT_MALFORMED", message));
        }
        // The deadline has passed before the call begins.
        Some(Some(Duration::ZERO)) => return Err(too_late()),
        asked => asked.flatten(),
    };
    Ok([method.deadline, asked].into_iter().flatten().min().map(|most| Instant::now() + most))
}

fn failed(failure: &Failure, request_error: &RequestBodyError, deadline: Option<Instant>, rng: &Rng) -> Status {
    if let Some(kind) = request_error.get() {
        return kind.into();
    }
    tracing::debug!(%failure, "a call could not be forwarded");
    match failure {
        Failure::Full | Failure::Overloaded => error::overloaded(rng),
        Failure::Cut => cut(Code::Cancelled),
        Failure::Broken(error) if error.is_reset() => match upstream::code_of_break(error) {
            code if is_over_time(code, deadline) => too_late(),
            code => cut(code),
        },
        Failure::Unreachable(_) | Failure::Gone(_) | Failure::Refused(_) | Failure::Broken(_) => {
            error::unavailable("the service")
        }
    }
}

impl From<RequestBodyErrorKind> for Status {
    fn from(kind: RequestBodyErrorKind) -> Self {
        match kind {
            RequestBodyErrorKind::Text => {
                error::status(Code::InvalidArgument, "BODY_MALFORMED", "the body is not base64")
            }
            RequestBodyErrorKind::Flags => {
                let message = "a message has flags that gRPC does not define";
                error::status(Code::InvalidArgument, "BODY_MALFORMED", message)
            }
            RequestBodyErrorKind::Cut => error::status(Code::InvalidArgument, "BODY_MALFORMED", "the body was cut off"),
            RequestBodyErrorKind::TooLarge => {
                let message = "a message is larger than the gateway allows (limits.message_bytes)";
                error::status(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", message)
            }
        }
    }
}

/// How long before the deadline an upstream may end a call because of it: its timer began with the same timeout, and
/// has a resolution of one millisecond.
const TOLERANCE: Duration = Duration::from_millis(5);

/// Whether a status means that the deadline has passed. gRPC servers cancel a call at its deadline; its caller must
/// receive DEADLINE_EXCEEDED.
pub(crate) fn is_over_time(code: Code, deadline: Option<Instant>) -> bool {
    code == Code::Cancelled && deadline.is_some_and(|deadline| Instant::now() + TOLERANCE >= deadline)
}

/// The service, or a proxy before it, broke the call off.
pub(crate) fn cut(code: Code) -> Status {
    error::status(code, "RESPONSE_CUT", "the response was cut off; the part before this is incomplete")
}

pub(crate) fn too_late() -> Status {
    error::status(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "the call took too long")
}

/// Removes Trellis's details from a status that the gateway returns for an external upstream, for codes that any gRPC
/// server returns: callers expect only the code and a message.
pub(crate) fn bare(status: Status, is_external: bool) -> Status {
    match status.code() {
        Code::DeadlineExceeded | Code::Unimplemented if is_external => Status::new(status.code(), status.message()),
        _ => status,
    }
}

fn head_too_large() -> Status {
    let message = "the headers of the response are larger than the gateway allows (limits.header_bytes)";
    error::status(Code::ResourceExhausted, "HEADERS_TOO_LARGE", message)
}

fn is_grpc(content_type: &HeaderValue) -> bool {
    let rest = content_type.as_bytes().strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The status of a response that is not gRPC (gRPC's own table for HTTP statuses).
fn not_grpc(status: StatusCode) -> Status {
    let code = match status.as_u16() {
        400 | 431 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    };
    error::status(code, "NOT_GRPC", "the service's response is not gRPC")
}
