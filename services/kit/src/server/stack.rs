//! The layers of a service and their order.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::HeaderValue,
    middleware::{Next, from_fn, from_fn_with_state, map_response},
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
    introspection::{self, NetworkStreams, PROBE},
    malformed::blame_client,
    measured::MeasuredBody,
};
use crate::{
    access::{self, Proof},
    audit::RecordedCall,
    context::{self, Caller, Context},
    error,
    grpc::{self, code_of},
    identity::Identity,
    policy::Policy,
    reason,
    record::{Call, Meters},
    repeated,
    rng::Rng,
    skew,
    trace::{self, TraceContext},
};

/// The state of the layers.
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

    /// The meters of all methods.
    pub(super) fn meters(&self) -> Arc<Meters> {
        let methods = self.context.policies.iter().map(|(path, _)| path);
        Arc::new(Meters::new(SECONDS, methods.chain(OPEN)))
    }

    fn policy(&self, request: &Request) -> Option<&Policy> {
        self.context.policies.get(request.uri().path())
    }

    /// The call after its authentication, as records name it.
    fn recorded_call(&self, request: &Request) -> Arc<RecordedCall> {
        let context = request.extensions().get::<Context>().cloned().unwrap_or_default();
        let clock_rng = self.context.identity.clock_rng().clone();
        Arc::new(RecordedCall::new(request.uri().clone(), context, request.headers(), clock_rng))
    }

    /// Records the refusal of an audited call.
    fn record_refusal(&self, call: &RecordedCall, status: &Status) {
        if let (Some(log), Some(record)) = (&self.context.audit, call.refusal(status)) {
            log.refused(record);
        }
    }
}

/// Adds the layers. A request passes the last one first.
pub(super) fn guard(routes: Routes, gate: Arc<Gate>) -> Routes {
    let meters = gate.meters();
    let router = routes
        .into_axum_router()
        // The innermost layer: whether the handler of an audited method has written its record.
        .layer(from_fn_with_state(Arc::clone(&gate), audit))
        // A unary call finishes after its caller has gone: dropped work costs the database more than finished work. Inside
        // of the layers that refuse, because refused calls need no task.
        .layer(from_fn_with_state(Arc::clone(&gate), detach))
        // An unreadable message is the client's error, but tonic calls it INTERNAL. The layers around count the result.
        .layer(map_response(blame_client))
        // The contract's access rule, on the authenticated identity.
        .layer(from_fn_with_state(Arc::clone(&gate), authorise))
        // Authentication, after load shedding: an overloaded process must not spend time on signatures.
        .layer(from_fn_with_state(Arc::clone(&gate), authenticate))
        // Load shedding, while a refusal is cheap.
        .layer(from_fn_with_state(Arc::clone(&gate), shed))
        // The deadline, which includes all waits.
        .layer(from_fn_with_state(gate, deadline))
        // A panic fails only its own call. The layers around count and log it as INTERNAL.
        .layer(from_fn(catch_panic));
    watch(Routes::from(router), meters)
}

/// Adds the layers of health and reflection, which need no authentication.
pub(super) fn open(routes: Routes, streams: &Arc<NetworkStreams>, meters: &Arc<Meters>) -> Routes {
    let bounded = from_fn_with_state(Arc::clone(streams), introspection::bound);
    watch(Routes::from(routes.into_axum_router().layer(bounded)), Arc::clone(meters))
}

/// Adds the layers of all routes.
fn watch(routes: Routes, meters: Arc<Meters>) -> Routes {
    let router = routes
        .into_axum_router()
        // Ambiguous headers, before a layer reads them.
        .layer(from_fn(single_headers))
        // Metrics and the access log of all calls, including refused ones.
        .layer(from_fn_with_state(Arc::clone(&meters), measure))
        // The outermost layer is the span, so that each log line of a call contains it.
        .layer(from_fn_with_state(meters, trace));
    Routes::from(router)
}

/// Adds the time of this process's clock to each response, so that callers can measure the skew.
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

async fn single_headers(request: Request, next: Next) -> Response {
    match repeated::check(request.headers(), None) {
        Ok(()) => next.run(request).await,
        Err(status) => refuse(status),
    }
}

/// The histogram of a service's calls, by method and status (OpenTelemetry's `rpc.server.call.duration`).
const SECONDS: &str = "rpc_server_call_duration_seconds";
/// The methods of every server.
const OPEN: [&str; 4] = [
    PROBE,
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

async fn measure(State(meters): State<Arc<Meters>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let trace = request.extensions().get::<Context>().and_then(|context| context.trace.clone());
    // Probes call every second: not logged.
    let quiet = path == PROBE;
    let meter = Arc::clone(meters.of(path));
    let mut call = Call::begin(meter, Span::current(), trace.unwrap_or_else(TraceContext::root));
    call.quiet = quiet;
    let response = next.run(request).await;
    if let Some(caller) = response.extensions().get::<Caller>() {
        call.principal.clone_from(&caller.principal);
        call.address = caller.address;
        // A call of a service of the mesh is a step of a call that another process logs.
        call.quiet |= caller.peer.is_some();
    }
    let early = code_of(response.headers());
    response.map(|body| Body::new(MeasuredBody::new(body, call, early)))
}

async fn catch_panic(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        // The panic hook has logged the message.
        Err(_) => refuse(error::status(Code::Internal, "INTERNAL", "internal error; the server's log has the details")),
    }
}

async fn deadline(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let requested = request.headers().get(grpc::TIMEOUT);
    let most = match time_limit(gate.policy(&request), gate.context.limits.deadline.0, requested) {
        Ok(Some(most)) => most,
        Ok(None) => return next.run(request).await,
        Err(status) => return refuse(status),
    };
    let exceeded = || refuse(error::deadline_exceeded());
    if most.is_zero() {
        return exceeded();
    }
    let deadline = Instant::now() + most;
    request.extensions_mut().get_or_insert_default::<Context>().deadline = Some(deadline);
    timeout_at(deadline, next.run(request)).await.unwrap_or_else(|_| exceeded())
}

/// How long a call may take: as long as the contract allows, or `default`, and not longer than its caller waits. `None`:
/// a stream without a limit.
fn time_limit(
    policy: Option<&Policy>,
    default: Duration,
    requested: Option<&HeaderValue>,
) -> Result<Option<Duration>, Status> {
    let ceiling = match policy {
        Some(policy) if policy.streams && policy.deadline.is_none() => None,
        policy => Some(policy.and_then(|p| p.deadline).unwrap_or(default)),
    };
    let requested = match requested.map(|value| grpc::parse_timeout(value.as_bytes())) {
        Some(None) => return Err(error::malformed_timeout()),
        timeout => timeout.flatten().map(ahead),
    };
    Ok([ceiling, requested].into_iter().flatten().min())
}

/// The timeout of a call, a little below the client's timeout `requested`: tonic's server also enforces the latter,
/// around all layers and with CANCELLED. Ends 10 ms or a tenth earlier; a timeout of at most a timer's tick becomes
/// zero.
fn ahead(requested: Duration) -> Duration {
    const TICK: Duration = Duration::from_millis(1);
    const HEAD_START: Duration = Duration::from_millis(10);
    if requested <= TICK { Duration::ZERO } else { requested - HEAD_START.min(requested / 10) }
}

/// The permit of a call in flight. The detached part of the call holds it too, so that work without a caller counts.
#[derive(Clone)]
struct InFlightPermit(#[expect(dead_code, reason = "held, never read")] Arc<OwnedSemaphorePermit>);

async fn shed(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    match Arc::clone(&gate.in_flight).try_acquire_owned() {
        Ok(place) => {
            let place = InFlightPermit(Arc::new(place));
            request.extensions_mut().insert(place.clone());
            let response = next.run(request).await;
            drop(place);
            response
        }
        Err(_) => refuse(error::overloaded(&gate.chance)),
    }
}

/// Runs the handlers of unary methods in a task, until the method's maximum deadline. The deadline layer enforces a
/// caller's shorter deadline, which does not cancel the work; but the work stores nothing after it ([`context::deadline`]).
async fn detach(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let Some(policy) = gate.policy(&request).filter(|policy| !policy.streams) else { return next.run(request).await };
    let end = Instant::now() + policy.deadline.unwrap_or(gate.context.limits.deadline.0);
    let deadline = request.extensions().get::<Context>().and_then(|context| context.deadline).unwrap_or(end);
    let place = request.extensions_mut().remove::<InFlightPermit>();
    let work = async move {
        let response = timeout_at(end, context::with_deadline(Some(deadline), next.run(request))).await;
        drop(place);
        response
    };
    match tokio::spawn(work.in_current_span()).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => refuse(error::deadline_exceeded()),
        Err(broken) => match broken.try_into_panic() {
            // The layer around catches it.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => refuse(error::stopping()),
        },
    }
}

async fn audit(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    // Without a log there is no record, and so no reader of the call.
    let policy = gate.policy(&request).filter(|policy| !policy.streams && gate.context.audit.is_some());
    let Some(policy) = policy else { return next.run(request).await };
    // Other methods may write records too; their caller is that of the call.
    let (is_audited, call) = (policy.audit, gate.recorded_call(&request));
    let response = Arc::clone(&call).run(next.run(request)).await;
    if !is_audited {
        return response;
    }
    // A refused call has its status in the headers.
    if let Some(status) = Status::from_header_map(response.headers()).filter(|status| status.code() != Code::Ok) {
        gate.record_refusal(&call, &status);
        return response;
    }
    if call.is_accounted() {
        return response;
    }
    metrics::counter!("audit_missing_total", "rpc_method" => call.action().to_owned()).increment(1);
    tracing::error!(
        rpc.method = call.action(),
        "an audited call has succeeded without a record: a defect of the service"
    );
    if cfg!(debug_assertions) {
        return refuse(error::status(Code::Internal, "AUDIT_MISSING", "the call was not recorded; write its record"));
    }
    response
}

async fn authenticate(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let ServiceContext { keys, identity, .. } = &gate.context;
    let proof = access::authenticate(request.headers(), keys, Some(identity)).await;
    let caller = proof.caller.clone();
    if let (Some(_), Some(peer)) = (&caller.peer, request.extensions().get::<ConnectedPeer>()) {
        peer.trust.prove();
    }
    request.extensions_mut().get_or_insert_default::<Context>().caller = caller.clone();
    request.extensions_mut().insert(proof);
    let mut response = next.run(request).await;
    // For the call's record, which an outer layer writes.
    response.extensions_mut().insert(caller);
    response
}

async fn authorise(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let proof = request.extensions_mut().remove::<Proof>();
    // A refusal of an anonymous call identifies no principal; the access log has it.
    let known = proof.as_ref().is_some_and(|proof| proof.caller.principal.is_some() || proof.caller.peer.is_some());
    let verdict = match (gate.policy(&request), proof) {
        (Some(policy), Some(proof)) => access::authorise(&policy.access, &proof)
            .and_then(|()| access::check_step_up(policy.step_up, &proof, || gate.context.identity.now())),
        // A method without a policy is not reachable.
        _ => Err(error::status(Code::Unimplemented, reason::UNKNOWN_METHOD, "there is no such method")),
    };
    match verdict {
        Ok(()) => next.run(request).await,
        Err(status) => {
            if known && gate.policy(&request).is_some_and(|policy| policy.audit) {
                gate.record_refusal(&gate.recorded_call(&request), &status);
            }
            refuse(status)
        }
    }
}

pub(super) fn refuse(status: Status) -> Response {
    status.into_http::<tonic::body::Body>().map(Body::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Table;

    #[test]
    fn callers_timeout_applies_up_to_the_maximum_of_the_contract() {
        let policies = Table::from_descriptors(proto::DESCRIPTORS).unwrap();
        let most = |path: &str, requested: Option<&'static str>| {
            let requested = requested.map(HeaderValue::from_static);
            time_limit(policies.get(path), Duration::from_secs(7), requested.as_ref()).unwrap()
        };
        // The contract gives GetUser 5 s.
        let of_user = |requested| most("/trellis.users.v1.UsersService/GetUser", requested).unwrap();
        assert_eq!(of_user(None), Duration::from_secs(5));
        assert_eq!(of_user(Some("1H")), Duration::from_secs(5));
        assert_eq!(of_user(Some("4S")), Duration::from_millis(3_990));
        assert_eq!(of_user(Some("50m")), Duration::from_millis(45));
        assert_eq!(of_user(Some("1m")), Duration::ZERO);
        let of_stream = |requested| most("/trellis.messaging.v1.MessagingService/Subscribe", requested);
        assert_eq!((of_stream(None), of_stream(Some("1S"))), (None, Some(Duration::from_millis(990))));
        assert_eq!(most("/unknown", None), Some(Duration::from_secs(7)));
    }
}
