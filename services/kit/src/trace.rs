//! Traces: the W3C trace context (<https://www.w3.org/TR/trace-context/>) of incoming and outgoing calls, and the
//! export by OTLP. The context is passed on even without export, because log lines contain the trace id.

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::{
        LazyLock, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderValue, uri::Scheme};
use opentelemetry::{
    Context as OtelContext, KeyValue,
    trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracer, SdkTracerProvider},
};
use serde::{Deserialize, Serialize};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{grpc, origin::WebOrigin};

/// The header that carries the context.
const PARENT: &str = "traceparent";
/// The header in which other tracing systems carry their own state.
const STATE: &str = "tracestate";

/// The configuration of traces.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TraceConfig {
    /// An OTLP collector with gRPC: `http://host:4317`. Empty: no export.
    pub endpoint: String,
    /// The share of traces to export, of those that begin here or come from outside: 0 to 1.
    pub ratio: f64,
    /// Which side decides whether traces that reach the gateway from outside are exported.
    pub outside: Outside,
}

/// Which side decides whether a trace of a client outside the mesh is exported. Its id is kept in both cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outside {
    /// `trace.ratio` decides: no client can make the mesh export.
    Ratio,
    /// The client decides, with the flag `sampled`: for a gateway that only own pages and proxies can reach.
    Caller,
}

impl Default for TraceConfig {
    fn default() -> Self {
        Self { endpoint: String::new(), ratio: 1.0, outside: Outside::Ratio }
    }
}

impl TraceConfig {
    /// Checks the form of the endpoint. The error names the key.
    pub fn check(&self) -> Result<(), String> {
        let is_address = WebOrigin::parse(&self.endpoint).is_some_and(|origin| origin.scheme == Scheme::HTTP);
        match self.endpoint.as_str() {
            "" => Ok(()),
            _ if is_address => Ok(()),
            text => Err(format!("trace.endpoint: {text:?} is not an address such as http://host:4317, without TLS")),
        }
    }
}

/// A trace context. Its ids are not secret and decide nothing, so they need no injected randomness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    sampled: bool,
    /// The state of other tracing systems, passed on unchanged.
    state: Option<HeaderValue>,
}

/// An unpredictable number: a hash of a counter, with a random key per process. The kernel's randomness would cost a
/// system call per id.
fn random() -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    KEY.hash_one(COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Set when the export has started.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();
/// The configuration in force. While unset, no trace from outside is exported.
static CONFIG: OnceLock<TraceConfig> = OnceLock::new();

/// The time to export the last spans when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

impl TraceContext {
    /// The context of an incoming call; `None` if it has none, or a malformed one.
    fn read(headers: &HeaderMap) -> Option<Self> {
        // With two contexts, neither is trustworthy: a new trace begins (section 2.3 of the recommendation).
        let mut fields = headers.get_all(PARENT).iter();
        let (text, None) = (fields.next()?.to_str().ok()?, fields.next()) else { return None };
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // Later versions may add parts; version 00 has exactly four, and ff is invalid.
        let well_formed = version.len() == 2 && trace.len() == 32 && span.len() == 16 && flags.len() == 2;
        let lower_hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !well_formed
            || ![version, trace, span, flags].into_iter().all(lower_hex)
            || version == "ff"
            || (version == "00" && parts.next().is_some())
        {
            return None;
        }
        let trace = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        Some(Self { trace, span, sampled, state: state(headers) })
    }

    /// A new trace.
    pub(crate) fn root() -> Self {
        let trace = u128::from(random()) << 64 | u128::from(random());
        Self { trace: trace.max(1), span: 0, sampled: false, state: None }.child()
    }

    /// A new span in the same trace.
    fn child(self) -> Self {
        Self { span: random().max(1), ..self }
    }

    /// Sets the headers that carry the context, and removes those of another context.
    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert(PARENT, grpc::never_indexed(self.to_string()));
        match &self.state {
            Some(state) => headers.insert(STATE, state.clone()),
            None => headers.remove(STATE),
        };
    }

    /// The trace id, for log lines.
    pub fn trace_id(&self) -> impl fmt::Display + use<> {
        TraceId::from(self.trace)
    }

    fn to_otel(&self) -> OtelContext {
        let flags = if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let (trace, span) = (TraceId::from(self.trace), SpanId::from(self.span));
        let state = self.state.as_ref().and_then(|state| state.to_str().ok()?.parse().ok()).unwrap_or_default();
        OtelContext::new().with_remote_span_context(SpanContext::new(trace, span, flags, true, state))
    }

    fn of_otel(context: &SpanContext) -> Self {
        Self {
            trace: u128::from_be_bytes(context.trace_id().to_bytes()),
            span: u64::from_be_bytes(context.span_id().to_bytes()),
            sampled: context.is_sampled(),
            state: header(context.trace_state()),
        }
    }
}

/// The state of other tracing systems. Several headers are one list (RFC 9110, section 5.3). A malformed list is dropped.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let values: Vec<&str> = headers.get_all(STATE).iter().map(|value| value.to_str().ok()).collect::<Option<_>>()?;
    header(&values.join(",").parse().ok()?)
}

fn header(state: &TraceState) -> Option<HeaderValue> {
    Some(state.header()).filter(|text| !text.is_empty()).map(grpc::never_indexed)
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// Puts `span`, of a call with `headers`, into the client's trace or into a new one. Returns the context for calls made
/// on its behalf.
pub fn begin(span: &Span, headers: &HeaderMap) -> TraceContext {
    begin_below(span, TraceContext::read(headers))
}

/// Like `begin`, for a call from outside the mesh, whose sampling flag may not count ([`Outside`]).
pub fn begin_from_outside(span: &Span, headers: &HeaderMap) -> TraceContext {
    let incoming = TraceContext::read(headers);
    begin_below(span, incoming.map(|context| TraceContext { sampled: is_sampled(CONFIG.get(), &context), ..context }))
}

/// A random decision, independent of the trace's id, which the client has chosen.
fn is_sampled(config: Option<&TraceConfig>, incoming: &TraceContext) -> bool {
    match config {
        Some(config) if config.outside == Outside::Caller => incoming.sampled,
        Some(config) if !config.endpoint.is_empty() => chance() < config.ratio,
        _ => false,
    }
}

/// A number from 0 up to, but not including, 1.
fn chance() -> f64 {
    // An f64 holds 53 bits.
    (random() >> 11) as f64 / (1_u64 << 53) as f64
}

fn begin_below(span: &Span, incoming: Option<TraceContext>) -> TraceContext {
    if PROVIDER.get().is_some() {
        if let Some(incoming) = &incoming {
            // An error means that the span is filtered out, so it has no context below either.
            span.set_parent(incoming.to_otel()).ok();
        }
        let context = span.context();
        let own = context.span();
        if own.span_context().is_valid() {
            return TraceContext::of_otel(own.span_context());
        }
    }
    incoming.map_or_else(TraceContext::root, TraceContext::child)
}

/// Starts the export, within a runtime. `None` if the export is off.
pub(crate) fn start(config: &TraceConfig, service: &str) -> Result<Option<SdkTracer>, String> {
    CONFIG.set(config.clone()).map_err(|_| "traces were started twice".to_owned())?;
    if config.endpoint.is_empty() {
        return Ok(None);
    }
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(&config.endpoint).build();
    let exporter = exporter.map_err(|e| format!("trace.endpoint: {:?}: {e}", config.endpoint))?;
    let resource = Resource::builder()
        .with_service_name(service.to_owned())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.ratio))))
        .with_resource(resource)
        .build();
    let tracer = provider.tracer("trellis");
    PROVIDER.set(provider).map_err(|_| "traces were started twice".to_owned())?;
    Ok(Some(tracer))
}

/// Exports the remaining spans. Blocks for at most two seconds.
pub fn flush() {
    if let Some(provider) = PROVIDER.get()
        && let Err(error) = provider.shutdown_with_timeout(FLUSH_TIMEOUT)
    {
        tracing::warn!(%error, "the last traces were not exported");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<TraceContext> {
        TraceContext::read(&HeaderMap::from_iter([(PARENT.parse().unwrap(), text.parse().unwrap())]))
    }

    #[test]
    fn context_round_trips() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = read(text).unwrap();
        assert_eq!(context.to_string(), text);
        assert_eq!(context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        let child = context.clone().child();
        assert!(child.trace == context.trace && child.span != context.span && child.sampled);
        assert_eq!(TraceContext::of_otel(context.to_otel().span().span_context()), context);
    }

    #[test]
    fn state_of_other_systems_is_passed_on() {
        const PARENT_VALUE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        let passed_on = |parent: &str, states: &[&str]| {
            let mut headers = HeaderMap::new();
            headers.insert(PARENT, parent.parse().unwrap());
            for state in states {
                headers.append(STATE, state.parse().unwrap());
            }
            begin(&Span::none(), &headers).write(&mut headers);
            let states: Vec<_> =
                headers.get_all(STATE).iter().map(|state| state.to_str().unwrap().to_owned()).collect();
            states
        };
        assert_eq!(
            passed_on(PARENT_VALUE, &["congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"]),
            ["congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"]
        );
        assert_eq!(passed_on(PARENT_VALUE, &["congo=1", "rojo=2"]), ["congo=1,rojo=2"]);
        for malformed in ["no list", "a b=1", "UPPER=1"] {
            assert_eq!(passed_on(PARENT_VALUE, &[malformed]), [""; 0], "{malformed}");
        }
        assert_eq!(passed_on("malformed", &["congo=1"]), [""; 0], "the state belongs to the parent");
        let context = TraceContext { state: Some(HeaderValue::from_static("congo=1")), ..read(PARENT_VALUE).unwrap() };
        assert_eq!(TraceContext::of_otel(context.to_otel().span().span_context()), context);
    }

    #[test]
    fn clients_decide_about_export_only_if_configured() {
        let endpoint = "http://127.0.0.1:4317".to_owned();
        let config = |ratio, outside| TraceConfig { endpoint: endpoint.clone(), ratio, outside };
        let sampled = |flag: &str, config: Option<TraceConfig>| {
            let context = read(&format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flag}")).unwrap();
            (0..1_000).filter(|_| is_sampled(config.as_ref(), &context)).count()
        };
        for (flag, expected) in [("00", 0), ("01", 1_000)] {
            assert_eq!(sampled(flag, None), 0);
            assert_eq!(sampled(flag, Some(config(0.0, Outside::Ratio))), 0);
            assert_eq!(sampled(flag, Some(config(1.0, Outside::Ratio))), 1_000);
            assert!((200..800).contains(&sampled(flag, Some(config(0.5, Outside::Ratio)))));
            assert_eq!(sampled(flag, Some(config(0.5, Outside::Caller))), expected);
            assert_eq!(sampled(flag, Some(TraceConfig { endpoint: String::new(), ..config(1.0, Outside::Ratio) })), 0);
        }
    }

    #[test]
    fn endpoint_is_an_address_without_tls() {
        let check = |endpoint: &str| TraceConfig { endpoint: endpoint.to_owned(), ..TraceConfig::default() }.check();
        for good in ["", "http://collector:4317", "http://[::1]:4317/"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["https://c:4317", "http://c:99999", "http://c:", "http://c:1/v1", "http://c:1?q", "http://u@c:1"] {
            assert!(check(bad).unwrap_err().starts_with("trace.endpoint: "), "{bad}");
        }
    }

    #[test]
    fn later_version_is_read_and_malformed_context_is_not() {
        assert!(read("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more").is_some());
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-00",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-00",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-00",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
