//! Logs and metrics of a process.

mod level;
mod limited;

use std::{io, sync::OnceLock};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    reload,
    util::SubscriberInitExt as _,
};

use crate::trace;
use limited::Limited;

/// The configuration of logs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,gateway=debug,access=off`. Errors are
    /// always logged, unless a target is turned off by name.
    pub level: String,
    /// `text` for people, `json` for programs.
    pub format: Format,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are self-explanatory")]
pub enum Format {
    Text,
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: Format::Text }
    }
}

impl LogConfig {
    /// Checks the values. The error names the key and the fix.
    pub fn check(&self) -> Result<(), String> {
        filter(&self.level).map(drop)
    }
}

/// Changes the level of the running process.
static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts logging to standard error, and the export of traces. `service` is the service name of the traces. Must be
/// called once, within a runtime.
pub fn start(config: &LogConfig, traces: &trace::TraceConfig, service: &str) -> Result<(), String> {
    // Metrics come first: values recorded before the recorder exists are lost.
    metrics();
    let (filter, handle) = reload::Layer::new(filter(&config.level)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.format {
        Format::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).boxed(),
        Format::Json => lines.json().boxed(),
    };
    // Each layer has its own filter: the export does not depend on the log level.
    let exported = trace::start(traces, service)?.map(|tracer| {
        tracing_opentelemetry::layer().with_tracer(tracer).with_filter(
            Targets::new()
                .with_default(LevelFilter::INFO)
                .with_target(STATEMENTS, LevelFilter::DEBUG)
                .with_target(PASSING, LevelFilter::DEBUG),
        )
    });
    let lines = lines.with_filter(Limited::default()).with_filter(filter);
    Registry::default().with(lines).with(exported).try_init().map_err(|e| e.to_string())?;
    LEVEL.set(handle).map_err(|_| "logging was started twice".to_owned())
}

/// The target of sqlx's statement log: it contains the text of each statement, never its values.
pub const STATEMENTS: &str = "sqlx::query";

/// The target of spans that are exported, and logged only at debug level: spans of calls through the gateway, where
/// logging a span per call would cost as much as the rest.
pub const PASSING: &str = "passing";

/// The target of changes of the running process by an operator. They are logged at every log level.
pub const AUDIT: &str = "audit";

/// Changes the log level from now on, and logs the change. `source` is the source of the new level.
pub fn set_level(level: &str, source: &str) -> Result<(), String> {
    let handle = LEVEL.get().ok_or("logging was not started")?;
    handle.reload(filter(level)?).map_err(|e| e.to_string())?;
    tracing::warn!(target: AUDIT, level, source, "the log level was changed");
    Ok(())
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    level::parse(level).map_err(|error| format!("log.level: {error}"))
}

/// Seconds: from a cached unary call to a slow password hash.
const BUCKETS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The metrics of this process; rendering them gives Prometheus' text format. The first call installs the recorder.
pub fn metrics() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder =
            PrometheusBuilder::new().set_buckets(&BUCKETS).expect("the buckets are not empty").build_recorder();
        let handle = recorder.handle();
        // An error means that a test in the same process has installed a recorder, which keeps its own values.
        metrics::set_global_recorder(recorder).ok();
        handle
    })
}
