//! A call on its way through. Nothing in a message is looked at.

use std::{sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{AUTHORIZATION, COOKIE},
};
use kit::{
    access::{self, Proof},
    balance::Rng,
    client, error,
    identity::{CLIENT_ADDRESS, CLIENT_SCHEME, SERVICE_TOKEN},
    limiter::{Ask, Hold, Outcome, StreamAsk, TooMany, network},
    overload,
    record::{Call, code_of},
    server::{PROBE, parse_timeout},
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

/// A call that has come in, and what is in force for it.
pub(crate) struct RpcCall<'a> {
    pub(crate) gateway: &'a Gateway,
    pub(crate) current: &'a Current,
    /// Where the caller is.
    pub(crate) client: Client,
    pub(crate) client_protocol: ClientProtocol,
}

impl RpcCall<'_> {
    /// Answers in the caller's protocol, whatever comes of it.
    pub(crate) async fn answer(self, watched: Watched, request: Request<Inbound>) -> Response<Outgoing> {
        let found = self.current.routes.find(request.uri().path());
        let meter = match &found {
            Found::Method(method) => &method.meter,
            _ => &self.current.routes.nowhere,
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
        // Probes come often. Streams of health and reflection are logged like any call.
        call.quiet = meter.method() == PROBE;
        let is_external = found.is_external();
        match self.forward(found, request, trace, &mut call).instrument(span).await {
            Ok(head) => self.translate(head, call, watched),
            Err(status) => self.refuse(&bare(status, is_external), &mut call),
        }
    }

    /// The steps of a call, in their order.
    async fn forward(
        &self,
        found: Found<'_>,
        mut request: Request<Inbound>,
        trace: TraceContext,
        call: &mut Call,
    ) -> Result<Head, Status> {
        // What is it? A protocol that cannot answer properly is refused before anything is done.
        let method = known(found)?;
        if !self.client_protocol.fits(request.version()) {
            let message = "gRPC needs HTTP/2: over HTTP/1.1 its trailers are lost; use gRPC-Web there";
            return Err(error::status(Code::Unimplemented, "HTTP2_REQUIRED", message));
        }
        // The cookie goes to methods that read it, and never on behalf of a stranger's page.
        self.keep_cookie(method, &mut request)?;
        // Who is calling, and may they? The service asks again.
        let proof = access::authenticate(request.headers(), &self.gateway.context.keys, None).await;
        call.user = proof.caller.user.as_ref().map(|user| user.id);
        access::authorise(&method.access, &proof)?;
        // How often? Before anything is sent, after the identity that is counted by.
        let admitted = self.admit(method, &proof, request.headers()).await?;
        // How long? Waiting for a connection counts.
        let deadline = deadline(method, &request)?;
        // Only what belongs to the call travels on.
        let is_plain = headers::is_of_plain_origin(request.headers());
        headers::enter(request.headers_mut(), self.client_protocol.upstream_type());
        if is_plain && matches!(method.target, Target::Mesh { .. }) {
            request.headers_mut().insert(CLIENT_SCHEME, HeaderValue::from_static("http"));
        }
        request.headers_mut().insert(trace::HEADER, trace.header());
        if let Some(deadline) = deadline {
            request.headers_mut().insert(client::TIMEOUT, client::timeout(deadline));
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
        let message = "a page of this origin may not use the session cookie; name it in gateway.cors_origins";
        Err(error::status(Code::PermissionDenied, "CROSS_ORIGIN", message))
    }

    /// Takes the call from its caller's limits, all of them in one decision.
    async fn admit(&self, method: &Method, proof: &Proof, headers: &HeaderMap) -> Result<Admitted, Status> {
        let caller = Caller { user: proof.caller.user.as_ref(), client: self.client, headers };
        let (method_limits, limiter) = (&method.method_limits, &self.gateway.limiter);
        let terms = method_limits.terms(&caller);
        let mut admitted = Admitted::default();
        if !terms.rules.is_empty() {
            let buckets = method_limits.limits(terms, &caller, &self.gateway.context.limits.networks);
            let ask = Ask { scope: &terms.scope, limits: buckets.limits(), failure_mode: terms.failure_mode };
            let decision = limiter.decide(&ask).decision().await;
            admitted.told = terms.told(&decision, &buckets);
            let refusal = match decision.outcome {
                Outcome::Admitted => None,
                Outcome::Refused { retry_after } => Some(too_often(retry_after)),
                Outcome::Unavailable => Some(error::unavailable("the count of calls")),
            };
            if let Some(refusal) = refusal {
                return Err(limited(method, refusal, admitted.told));
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
        let fault = RequestBodyError::default();
        let kept = self.gateway.context.balance.retry.buffer_bytes;
        let incoming = |body| Body::new(body, self.client_protocol.is_text, self.message_bytes(), kept, fault.clone());
        let cluster = match &method.target {
            Target::Mesh { cluster, callee } => {
                self.introduce(callee, request.headers_mut());
                cluster
            }
            Target::ExternalUpstream { cluster, tokens } => {
                headers::hide_identity(request.headers_mut(), self.current.config.rate_limits.api_key_header.as_str());
                headers::tell_client(request.headers_mut(), self.client.header());
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
                    source: Source::Here(body),
                    deadline,
                    fault,
                    stay: None,
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
            sent.map_err(|failure| failed(&failure, &fault, deadline, &self.gateway.chance))?.into_parts();
        let is_external = matches!(method.target, Target::ExternalUpstream { .. });
        let stay = method.resumable.then(|| self.gateway.readiness.shutdown().stay());
        Ok(Head { parts, source: Source::Remote(reply), deadline, fault, stay, is_external, admitted })
    }

    /// Tells a service of the mesh who we are and where the caller sits.
    fn introduce(&self, callee: &str, headers: &mut HeaderMap) {
        headers.insert(SERVICE_TOKEN, self.gateway.context.identity.token_for(callee));
        headers.insert(CLIENT_ADDRESS, client::fleeting(self.client.address().to_string()));
    }

    /// The upstream's response in the caller's protocol.
    fn translate(&self, head: Head, mut call: Call, watched: Watched) -> Response<Outgoing> {
        let Head { mut parts, source, deadline, fault, stay, is_external, admitted } = head;
        let is_grpc = parts.headers.get(http::header::CONTENT_TYPE).is_some_and(is_grpc);
        headers::leave(&mut parts.headers, self.client_protocol.answer_type());
        if is_external {
            headers::keep_origin(&mut parts.headers);
        }
        if headers::bytes(&parts.headers) > self.header_bytes() {
            return self.refuse(&head_too_large(), &mut call);
        }
        if parts.status != StatusCode::OK || !is_grpc {
            // A status that gRPC has given itself counts more than one of HTTP's.
            let told = Status::from_header_map(&parts.headers).filter(|_| is_grpc);
            return self.refuse(&told.unwrap_or_else(|| bare(not_grpc(parts.status), is_external)), &mut call);
        }
        if code_of(&parts.headers).is_some_and(|code| is_over_time(code, deadline)) {
            return self.refuse(&bare(too_late(), is_external), &mut call);
        }
        if let Some(told) = admitted.told {
            told.put(&mut parts.headers);
        }
        let terms = Terms {
            protocol: self.client_protocol.protocol,
            deadline,
            limit: self.message_bytes(),
            header_bytes: self.header_bytes(),
            is_external,
            fault,
            hold: admitted.hold,
            stay,
        };
        let answer = ResponseBody::new(source, &mut parts.headers, terms, call, watched);
        let mut response = Response::new(Outgoing::Response(answer));
        *response.headers_mut() = parts.headers;
        response
    }

    fn refuse(&self, status: &Status, call: &mut Call) -> Response<Outgoing> {
        call.end(status.code());
        let mut response = Response::new(Outgoing::empty());
        let headers = response.headers_mut();
        // An Err would say that the message does not fit into a header; ours do.
        status.add_header(headers).ok();
        headers.insert(http::header::CONTENT_TYPE, self.client_protocol.answer_type());
        response
    }

    fn message_bytes(&self) -> usize {
        self.gateway.context.limits.message_bytes
    }

    fn header_bytes(&self) -> usize {
        self.gateway.context.limits.header_bytes as usize
    }
}

/// A response's head, and where the rest comes from.
struct Head {
    parts: http::response::Parts,
    source: Source,
    deadline: Option<Instant>,
    fault: RequestBodyError,
    stay: Option<DrainGuard>,
    is_external: bool,
    admitted: Admitted,
}

/// What an admitted call has of its limits.
#[derive(Default)]
struct Admitted {
    /// What its caller is told of them.
    told: Option<RateLimitHeaders>,
    /// A stream's place among its caller's.
    hold: Option<Hold>,
}

fn too_often(retry_after: Duration) -> Status {
    error::exhausted("RATE_LIMITED", "too many calls of this method; wait as retry-after says", retry_after)
}

fn no_stream(why: TooMany, most: u32) -> Status {
    match why {
        TooMany::Open => {
            let message = format!("{most} streams of this method are open, as many as may be; close one");
            error::status(Code::ResourceExhausted, "STREAMS_LIMITED", message)
        }
        TooMany::Unavailable => error::unavailable("the count of streams"),
    }
}

/// Counts a refusal, and lets its caller know of the limits.
fn limited(method: &Method, mut refusal: Status, told: Option<RateLimitHeaders>) -> Status {
    metrics::counter!("gateway_calls_limited_total", "rpc_method" => method.meter.method().to_owned()).increment(1);
    if let Some(told) = told {
        let mut headers = std::mem::take(refusal.metadata_mut()).into_headers();
        told.put(&mut headers);
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
    let asked = request.headers().get(client::TIMEOUT).map(|value| parse_timeout(value.as_bytes()));
    let asked = match asked {
        Some(None) => {
            let message = "grpc-timeout is no time such as 10S or 500m";
            return Err(error::status(Code::InvalidArgument, "TIMEOUT_MALFORMED", message));
        }
        // It is over before anybody could look at the call.
        Some(Some(Duration::ZERO)) => return Err(too_late()),
        asked => asked.flatten(),
    };
    Ok([method.deadline, asked].into_iter().flatten().min().map(|most| Instant::now() + most))
}

fn failed(failure: &Failure, fault: &RequestBodyError, deadline: Option<Instant>, chance: &Rng) -> Status {
    if let Some(wrong) = fault.get() {
        return wrong.into();
    }
    tracing::debug!(%failure, "a call could not be forwarded");
    match failure {
        Failure::Full | Failure::Overloaded => error::overloaded(chance),
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
    fn from(wrong: RequestBodyErrorKind) -> Self {
        match wrong {
            RequestBodyErrorKind::Text => {
                error::status(Code::InvalidArgument, "BODY_MALFORMED", "the body is no base64")
            }
            RequestBodyErrorKind::Flags => {
                let message = "a message has flags that gRPC does not know";
                error::status(Code::InvalidArgument, "BODY_MALFORMED", message)
            }
            RequestBodyErrorKind::Cut => {
                error::status(Code::InvalidArgument, "BODY_MALFORMED", "the body ended before its end")
            }
            RequestBodyErrorKind::TooLarge => {
                let message = "a message is larger than the gateway lets through (limits.message_bytes)";
                error::status(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", message)
            }
        }
    }
}

/// How long before the deadline an upstream may end a call because of it: its clock began with the same time, and ticks
/// by the millisecond.
const TOLERANCE: Duration = Duration::from_millis(5);

/// What a status is that an upstream ended a call with. gRPC's servers cancel a call whose time is over, where its caller
/// is to hear DEADLINE_EXCEEDED.
pub(crate) fn is_over_time(code: Code, deadline: Option<Instant>) -> bool {
    code == Code::Cancelled && deadline.is_some_and(|deadline| Instant::now() + TOLERANCE >= deadline)
}

/// The service, or what is between, broke the call off.
pub(crate) fn cut(code: Code) -> Status {
    error::status(code, "RESPONSE_CUT", "the response was cut off; what came before this is incomplete")
}

pub(crate) fn too_late() -> Status {
    error::status(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "the call took too long")
}

/// A status that the gateway gives instead of an external upstream. Where any server of gRPC gives it, callers expect the
/// code and a message, as from any server: no details of Trellis's own.
pub(crate) fn bare(status: Status, is_external: bool) -> Status {
    match status.code() {
        Code::DeadlineExceeded | Code::Unimplemented if is_external => Status::new(status.code(), status.message()),
        _ => status,
    }
}

fn head_too_large() -> Status {
    let message = "the headers of the response are larger than the gateway lets through (limits.header_bytes)";
    error::status(Code::ResourceExhausted, "HEADERS_TOO_LARGE", message)
}

fn is_grpc(content_type: &HeaderValue) -> bool {
    let rest = content_type.as_bytes().strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// What a response that is no gRPC means (gRPC's own table for HTTP statuses).
fn not_grpc(status: StatusCode) -> Status {
    let code = match status.as_u16() {
        400 | 431 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    };
    error::status(code, "NOT_GRPC", "the service's response was no gRPC")
}
