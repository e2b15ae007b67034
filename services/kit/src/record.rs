//! The record of each call: one sample in the metrics (rate, errors, duration by method and status), and one line in
//! the access log. It is written at the end of the response, so that a stream counts with its whole duration and its
//! final status.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use metrics::{Histogram, SharedString, histogram};
use tokio::time::Instant;
use tonic::Code;
use tracing::{Span, field::display};

use crate::{
    principal::{ClientCertificate, Principal},
    trace::TraceContext,
};

/// The histogram of one method's calls, registered once per status instead of at each call.
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

    /// The method label.
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

/// The meters of a server's methods. All other paths count as one method, `unknown`: an invented path must not create a
/// time series.
pub struct Meters {
    known: HashMap<String, Arc<Meter>>,
    unknown: Arc<Meter>,
}

impl Meters {
    /// Meters of the methods with these paths.
    pub fn new<'a>(metric: &'static str, paths: impl IntoIterator<Item = &'a str>) -> Self {
        let known = paths.into_iter().map(|path| (path.to_owned(), Meter::new(metric, path.to_owned()))).collect();
        Self { known, unknown: Meter::new(metric, "unknown") }
    }

    /// The meter of a path.
    pub fn of(&self, path: &str) -> &Arc<Meter> {
        self.known.get(path).unwrap_or(&self.unknown)
    }
}

/// A call in progress. If it is dropped without an end, the client cancelled it.
pub struct Call {
    meter: Arc<Meter>,
    started: Instant,
    span: Span,
    trace: TraceContext,
    /// The principal on whose behalf the call is made. `None`: an anonymous client.
    pub principal: Option<Principal>,
    /// The verified certificate of the client's connection.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// The client's address.
    pub address: Option<std::net::IpAddr>,
    /// Whether the call is logged only at debug level: a probe, or a call that another access log of the mesh contains.
    pub quiet: bool,
    ended: bool,
}

impl Call {
    /// Starts the record of a call.
    pub fn begin(meter: Arc<Meter>, span: Span, trace: TraceContext) -> Self {
        Self {
            meter,
            started: Instant::now(),
            span,
            trace,
            principal: None,
            certificate: None,
            address: None,
            quiet: false,
            ended: false,
        }
    }

    /// Records the end of the response.
    pub fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let (elapsed, method) = (self.started.elapsed(), &self.meter.method);
        self.meter.record(code, elapsed.as_secs_f64());
        let code = name(code);
        self.span.record("rpc.response.status_code", code);
        // Microseconds are precise enough.
        let duration_ms = (elapsed.as_secs_f64() * 1e6).round() / 1e3;
        let (trace, address) = (self.trace.trace_id(), self.address.map(display));
        let kind = self.principal.as_ref().map(Principal::kind);
        let (user, session, service, external) = match &self.principal {
            Some(Principal::User(session)) => (Some(display(session.user)), Some(display(session.id)), None, None),
            Some(Principal::Service(service)) => (None, None, Some(service.name()), None),
            Some(Principal::External(user)) => (None, None, None, Some(user)),
            None => (None, None, None, None),
        };
        let (issuer, external) = (external.map(|user| &*user.issuer), external.map(|user| user.subject.as_str()));
        let certificate = self.certificate.as_deref();
        let (subject, fingerprint) =
            (certificate.map(|of| of.subject.as_str()), certificate.map(|of| of.fingerprint.as_str()));
        // The names of OpenTelemetry.
        macro_rules! write_line {
            ($level:ident) => {
                tracing::$level!(
                    target: "access", parent: None,
                    { rpc.method = %method, rpc.code = code, duration_ms, trace.id = %trace, principal.kind = kind,
                    user.id = user, session.id = session, service.peer.name = service,
                    principal.issuer = issuer, principal.subject = external, client.address = address,
                    tls.client.subject = subject, tls.client.hash.sha256 = fingerprint },
                    "call"
                )
            };
        }
        if self.quiet {
            write_line!(debug);
        } else {
            write_line!(info);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

/// The name of a code in gRPC.
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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fmt, sync::Mutex};

    use tracing::{Event, Level, Subscriber, field::Field};
    use tracing_subscriber::{Layer, Registry, layer::SubscriberExt as _};

    use super::*;
    use crate::principal::{ExternalUser, MeshService, tests::session};

    /// The level and fields of a line of the access log.
    type Line = (Level, BTreeMap<String, String>);

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<Line>>>);

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            let mut fields = BTreeMap::new();
            let mut record = |field: &Field, value: &dyn fmt::Debug| {
                fields.insert(field.name().to_owned(), format!("{value:?}"));
            };
            event.record(&mut record);
            self.0.lock().unwrap().push((*event.metadata().level(), fields));
        }
    }

    /// The fields of the line that identify the principal, as `name=value`.
    fn logged(principal: Option<Principal>, quiet: bool) -> (Level, Vec<String>) {
        let lines = Lines::default();
        tracing::subscriber::with_default(Registry::default().with(lines.clone()), || {
            let mut call = Call::begin(Meter::new("test_seconds", "/a.B/C"), Span::none(), TraceContext::root());
            (call.principal, call.quiet) = (principal, quiet);
            call.end(Code::Ok);
            // A second end is not logged.
            call.end(Code::Internal);
        });
        let mut lines = std::mem::take(&mut *lines.0.lock().unwrap());
        let (level, fields) = lines.pop().unwrap();
        assert!(lines.is_empty());
        assert_eq!((fields["rpc.method"].as_str(), fields["rpc.code"].as_str()), ("/a.B/C", "\"OK\""));
        let common = ["message", "rpc.method", "rpc.code", "duration_ms", "trace.id"];
        let of_principal = fields.into_iter().filter(|(name, _)| !common.contains(&name.as_str()));
        (level, of_principal.map(|(name, value)| format!("{name}={}", value.trim_matches('"'))).collect())
    }

    #[test]
    fn access_log_identifies_each_kind_of_principal() {
        let session = session();
        let user = vec![
            "principal.kind=user".to_owned(),
            format!("session.id={}", session.id),
            format!("user.id={}", session.user),
        ];
        assert_eq!(logged(Some(Principal::User(session)), false), (Level::INFO, user));
        let service = ["principal.kind=service", "service.peer.name=auth"].map(str::to_owned).to_vec();
        assert_eq!(logged(Some(Principal::Service(MeshService::new("auth"))), true), (Level::DEBUG, service));
        let external = ExternalUser {
            issuer: "acme".into(),
            subject: "00000000-0000-0000-0000-000000000001".to_owned(),
            scopes: Vec::new(),
            limit_key: String::new(),
            headers: Vec::new(),
            expires: crate::Timestamp::from_micros(0),
        };
        // Whatever its subject is, it is in a field of its own.
        let fields = ["principal.issuer=acme", "principal.kind=external"].map(str::to_owned);
        let subject = format!("principal.subject={}", external.subject);
        let expected = [&fields[..], &[subject]].concat();
        assert_eq!(logged(Some(Principal::External(Arc::new(external))), false), (Level::INFO, expected));
        assert_eq!(logged(None, false), (Level::INFO, Vec::new()));
    }
}
