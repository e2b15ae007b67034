//! The layers of a service, in one place and one order.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn, from_fn_with_state},
    response::Response,
};
use futures_util::FutureExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};
use tonic::{Code, Status, service::Routes};
use tracing::{Instrument as _, Span};

use super::{
    ConnectedPeer, ServiceContext,
    introspection::{self, PROBE, Streams},
    measured::Measured,
};
use crate::{
    access::{self, Proof},
    balance::Rng,
    context::{Caller, Context},
    error,
    identity::Identity,
    policy::Policy,
    record::{Call, Meters, code_of},
    skew,
    trace::{self, TraceContext},
};

/// What the layers ask.
pub(super) struct Gate {
    context: ServiceContext,
    in_flight: Arc<Semaphore>,
    chance: Rng,
}

impl Gate {
    pub(super) fn new(context: &ServiceContext) -> Self {
        let in_flight = Arc::new(Semaphore::new(context.limits.calls_in_flight));
        Self { context: context.clone(), in_flight, chance: Rng::new() }
    }

    /// The meters of all methods that the server may have.
    pub(super) fn meters(&self) -> Arc<Meters> {
        let methods = self.context.policies.iter().map(|(path, _)| path);
        Arc::new(Meters::new(SECONDS, methods.chain(OPEN)))
    }

    fn policy(&self, request: &Request) -> Option<&Policy> {
        self.context.policies.get(request.uri().path())
    }
}

/// The order of the layers: what stands last here is met first.
pub(super) fn guard(routes: Routes, gate: Arc<Gate>) -> Routes {
    let meters = gate.meters();
    let router = routes
        .into_axum_router()
        // A unary call that has begun comes to its end, whether its caller still waits or not: work that is dropped
        // half-way costs the database more than work that is finished. The last layer: what is refused needs no task.
        .layer(from_fn_with_state(Arc::clone(&gate), detach))
        // The contract's access rule: the last question before the handler, on a proved identity.
        .layer(from_fn_with_state(Arc::clone(&gate), authorise))
        // Who is calling. After shedding: signatures cost time, and an overloaded process spends none.
        .layer(from_fn_with_state(Arc::clone(&gate), authenticate))
        // Too much at once is refused while refusing is still cheap.
        .layer(from_fn_with_state(Arc::clone(&gate), shed))
        // The time runs from here, waiting included.
        .layer(from_fn_with_state(gate, deadline))
        // A panic costs its own call only, and is counted and logged as INTERNAL by the layers around.
        .layer(from_fn(catch_panic));
    watch(Routes::from(router), meters)
}

/// What stands outside authentication: health and reflection.
pub(super) fn open(routes: Routes, streams: &Arc<Streams>, meters: &Arc<Meters>) -> Routes {
    let bounded = from_fn_with_state(Arc::clone(streams), introspection::bound);
    watch(Routes::from(routes.into_axum_router().layer(bounded)), Arc::clone(meters))
}

/// What every route gets, authenticated or not.
fn watch(routes: Routes, meters: Arc<Meters>) -> Routes {
    let router = routes
        .into_axum_router()
        // How many, how long, with which outcome: refusals included.
        .layer(from_fn_with_state(Arc::clone(&meters), measure))
        // One span around everything, so that each line of a call's log names the call.
        .layer(from_fn_with_state(meters, trace));
    Routes::from(router)
}

/// Adds the time by our clock to each response, so that callers can compare theirs.
pub(super) fn telling_time(routes: Routes, identity: Arc<Identity>) -> Routes {
    let layer = from_fn_with_state(identity, async |State(identity): State<Arc<Identity>>, request, next: Next| {
        let mut response = next.run(request).await;
        response.headers_mut().insert(skew::TIME, identity.now().as_micros().into());
        response
    });
    Routes::from(routes.into_axum_router().layer(layer))
}

async fn trace(State(meters): State<Arc<Meters>>, mut request: Request, next: Next) -> Response {
    let path = meters.of(request.uri().path()).method();
    let span = tracing::info_span!(
        "call",
        otel.kind = "server",
        otel.name = path,
        rpc.system.name = "grpc",
        rpc.method = path,
        rpc.response.status_code = tracing::field::Empty,
    );
    let trace = trace::begin(&span, request.headers());
    request.extensions_mut().insert(Context { trace: Some(trace), ..Context::default() });
    next.run(request).instrument(span).await
}

/// The histogram of a service's calls, by method and status (OpenTelemetry's `rpc.server.call.duration`).
const SECONDS: &str = "rpc_server_call_duration_seconds";
/// The methods that every server has.
const OPEN: [&str; 4] = [
    PROBE,
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

async fn measure(State(meters): State<Arc<Meters>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let trace = request.extensions().get::<Context>().and_then(|context| context.trace);
    // Probes come every second from everywhere.
    let quiet = path == PROBE;
    let meter = Arc::clone(meters.of(path));
    let mut call = Call::begin(meter, Span::current(), trace.unwrap_or_else(TraceContext::root));
    call.quiet = quiet;
    let response = next.run(request).await;
    if let Some(caller) = response.extensions().get::<Caller>() {
        call.user = caller.user.as_ref().map(|user| user.id);
        call.address = caller.address;
        // Whatever a service of the mesh calls for is a step of a call that somebody else logs.
        call.quiet |= caller.service.is_some();
    }
    let early = code_of(response.headers());
    response.map(|body| Body::new(Measured::new(body, call, early)))
}

async fn catch_panic(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        // The panic's own message was logged by the hook where it happened.
        Err(_) => refuse(error::status(Code::Internal, "INTERNAL", "something went wrong on our side")),
    }
}

async fn deadline(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let ceiling = match gate.policy(&request) {
        Some(policy) if policy.streams && policy.deadline.is_none() => None,
        policy => Some(policy.and_then(|p| p.deadline).unwrap_or(gate.context.limits.deadline.0)),
    };
    let asked = match request.headers().get("grpc-timeout").map(|value| parse_timeout(value.as_bytes())) {
        Some(None) => {
            let message = "grpc-timeout is not a time such as 10S or 500m";
            return refuse(error::status(Code::InvalidArgument, "TIMEOUT_MALFORMED", message));
        }
        asked => asked.flatten().map(ahead),
    };
    let Some(most) = [ceiling, asked].into_iter().flatten().min() else { return next.run(request).await };
    let exceeded = || refuse(error::status(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "the call took too long"));
    if most.is_zero() {
        return exceeded();
    }
    let deadline = Instant::now() + most;
    request.extensions_mut().get_or_insert_default::<Context>().deadline = Some(deadline);
    timeout_at(deadline, next.run(request)).await.unwrap_or_else(|_| exceeded())
}

/// How long before the caller's deadline a call ends: tonic's server keeps that one too, around all layers, and
/// would say CANCELLED. A tenth where so much is not left; nothing of less than a timer's tick.
fn ahead(asked: Duration) -> Duration {
    const TICK: Duration = Duration::from_millis(1);
    const HEAD_START: Duration = Duration::from_millis(10);
    if asked <= TICK { Duration::ZERO } else { asked - HEAD_START.min(asked / 10) }
}

/// A call's place among those in flight. The detached part of the call holds it too, so that what goes on without its
/// caller counts.
#[derive(Clone)]
struct InFlight(#[expect(dead_code, reason = "held, never read")] Arc<OwnedSemaphorePermit>);

async fn shed(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    match Arc::clone(&gate.in_flight).try_acquire_owned() {
        Ok(place) => {
            let place = InFlight(Arc::new(place));
            request.extensions_mut().insert(place.clone());
            let response = next.run(request).await;
            drop(place);
            response
        }
        Err(_) => refuse(error::overloaded(&gate.chance)),
    }
}

/// Runs the handlers of unary methods in a task of their own. It ends with the method's ceiling: a caller's shorter
/// deadline is met by the layer around, and does not cut the work either.
async fn detach(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let Some(policy) = gate.policy(&request).filter(|policy| !policy.streams) else { return next.run(request).await };
    let end = Instant::now() + policy.deadline.unwrap_or(gate.context.limits.deadline.0);
    let place = request.extensions_mut().remove::<InFlight>();
    let work = async move {
        let response = timeout_at(end, next.run(request)).await;
        drop(place);
        response
    };
    match tokio::spawn(work.in_current_span()).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => refuse(error::status(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "the call took too long")),
        Err(broken) => match broken.try_into_panic() {
            // Caught by the layer around, as if it had happened there.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => refuse(error::stopping()),
        },
    }
}

async fn authenticate(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let ServiceContext { keys, identity, .. } = &gate.context;
    let proof = access::authenticate(request.headers(), keys, Some(identity)).await;
    let caller = proof.caller.clone();
    if let (Some(_), Some(peer)) = (&caller.service, request.extensions().get::<ConnectedPeer>()) {
        peer.trust.prove();
    }
    request.extensions_mut().get_or_insert_default::<Context>().caller = caller.clone();
    request.extensions_mut().insert(proof);
    let mut response = next.run(request).await;
    // For the record of the call, which is written further out.
    response.extensions_mut().insert(caller);
    response
}

async fn authorise(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let proof = request.extensions_mut().remove::<Proof>();
    let verdict = match (gate.policy(&request), proof) {
        (Some(policy), Some(proof)) => access::authorise(&policy.access, &proof),
        // Nothing without a policy is reachable, whatever was mounted.
        _ => Err(error::status(Code::Unimplemented, "UNKNOWN_METHOD", "there is no such method")),
    };
    match verdict {
        Ok(()) => next.run(request).await,
        Err(status) => refuse(status),
    }
}

pub(super) fn refuse(status: Status) -> Response {
    status.into_http::<tonic::body::Body>().map(Body::new)
}

/// gRPC's `grpc-timeout`: at most eight digits and a unit.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3_600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(parse_timeout(b"250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout(b"1H"), Some(Duration::from_secs(3_600)));
        for bad in [&b""[..], b"m", b"123456789m", b"-1m", b"5", b"5x"] {
            assert_eq!(parse_timeout(bad), None, "{bad:?}");
        }
    }
}
