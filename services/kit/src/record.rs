//! What is kept of each call: one sample in the metrics (rate, errors, duration by method and status), and one
//! line in the access log. Written when the call's answer has ended, so that a stream counts with its whole
//! life and its last status.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use http::HeaderMap;
use metrics::{Histogram, SharedString, histogram};
use tokio::time::Instant;
use tonic::{Code, Status};
use tracing::Span;

use crate::trace::TraceContext;

/// The histogram of one method's calls: looked up once a status, and not once a call.
pub struct Meter {
    metric: &'static str,
    method: SharedString,
    by_status: [OnceLock<Histogram>; STATUSES],
}

/// gRPC's codes are 0 to 16.
const STATUSES: usize = 17;

impl Meter {
    /// `metric` is the name of the histogram of seconds.
    pub fn new(metric: &'static str, method: impl Into<SharedString>) -> Arc<Self> {
        Arc::new(Self { metric, method: method.into(), by_status: std::array::from_fn(|_| OnceLock::new()) })
    }

    /// What the calls are counted as.
    pub fn method(&self) -> &str {
        &self.method
    }

    fn record(&self, code: Code, seconds: f64) {
        let look_up = || {
            let labels = [("rpc_method", self.method.clone()), ("rpc_response_status_code", name(code).into())];
            histogram!(self.metric, &labels)
        };
        match usize::try_from(code as i32).ok().and_then(|code| self.by_status.get(code)) {
            Some(known) => known.get_or_init(look_up).record(seconds),
            None => look_up().record(seconds),
        }
    }
}

/// The meters of a server's methods. Whatever else callers ask for is counted as one method, `unknown`: a made-up path
/// must not make a time series of its own, whatever becomes of the call.
pub struct Meters {
    known: HashMap<String, Arc<Meter>>,
    unknown: Arc<Meter>,
}

impl Meters {
    /// Of the methods with these paths.
    pub fn new<'a>(metric: &'static str, paths: impl IntoIterator<Item = &'a str>) -> Self {
        let known = paths.into_iter().map(|path| (path.to_owned(), Meter::new(metric, path.to_owned()))).collect();
        Self { known, unknown: Meter::new(metric, "unknown") }
    }

    /// The one of this path.
    pub fn of(&self, path: &str) -> &Arc<Meter> {
        self.known.get(path).unwrap_or(&self.unknown)
    }
}

/// A call under way. Dropped without an end it was cancelled by its caller.
pub struct Call {
    meter: Arc<Meter>,
    started: Instant,
    span: Span,
    trace: TraceContext,
    /// The user on whose behalf the call is made.
    pub user: Option<uuid::Uuid>,
    /// Where the client sits.
    pub address: Option<std::net::IpAddr>,
    /// A probe, or a step of a call that the mesh has in an access log already: a line for debugging only.
    pub quiet: bool,
    ended: bool,
}

impl Call {
    /// A call that begins now.
    pub fn begin(meter: Arc<Meter>, span: Span, trace: TraceContext) -> Self {
        Self { meter, started: Instant::now(), span, trace, user: None, address: None, quiet: false, ended: false }
    }

    /// The answer has ended.
    pub fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let (elapsed, method) = (self.started.elapsed(), &self.meter.method);
        self.meter.record(code, elapsed.as_secs_f64());
        let code = name(code);
        self.span.record("rpc.response.status_code", code);
        // To the microsecond: more digits are noise.
        let duration_ms = (elapsed.as_secs_f64() * 1e6).round() / 1e3;
        let trace = self.trace.trace_id();
        let (user, address) = (self.user.map(tracing::field::display), self.address.map(tracing::field::display));
        if self.quiet {
            tracing::debug!(
                target: "access", parent: None,
                { rpc.method = %method, rpc.code = code, duration_ms, trace.id = %trace, user.id = user,
                client.address = address },
                "call"
            );
        } else {
            tracing::info!(
                target: "access", parent: None,
                { rpc.method = %method, rpc.code = code, duration_ms, trace.id = %trace, user.id = user,
                client.address = address },
                "call"
            );
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

/// The status that headers or trailers hold.
pub fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|status| Code::from_bytes(status.as_bytes()))
}

/// A code as gRPC writes it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
