//! The admin listener: metrics, verbose health and the log level, on an address of its own (127.0.0.1 unless
//! configured). The public ports show none of it.

mod guard;

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header::CONNECTION},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, time::timeout};

use crate::{
    health::Readiness,
    limits::Limits,
    server::{Connections, Discard, Few, PeerAddress},
    shutdown::Shutdown,
    telemetry,
};

/// The section `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the admin listener is. It asks no reader for credentials: keep it off public networks.
    pub listen: String,
    /// Who may change the log level.
    pub write: Write,
    /// Names under which the listener may be asked, besides IP addresses and `localhost`. Others are refused, so that
    /// no web page reaches it by a domain of its own.
    pub hosts: Vec<String>,
}

impl Config {
    /// What is wrong with it: the key and the fix.
    pub fn check(&self) -> Result<(), String> {
        let is_name = |name: &String| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        };
        match self.hosts.iter().find(|name| !is_name(name)) {
            Some(name) => {
                Err(format!("admin.hosts: {name:?} is no host name such as metrics.example.org, without a port"))
            }
            None => Ok(()),
        }
    }
}

/// Who may write at the admin listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Write {
    /// Programs on the same machine (in Kubernetes: in the same pod), directly.
    #[default]
    Loopback,
    /// No one.
    Off,
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9090".to_owned(), write: Write::default(), hosts: Vec::new() }
    }
}

/// What the listener shows: each service of this process with its readiness.
pub type Shown = BTreeMap<&'static str, Readiness>;

/// How often old samples are folded into histograms. Until then each takes 24 bytes: a megabyte and more at the rate that
/// one core can do.
const UPKEEP: Duration = Duration::from_secs(1);

/// Connections at once.
const CONNECTIONS: usize = 256;
/// What a request's body may have, and how long it may take.
const BODY_BYTES: usize = 64 * 1024;
const BODY_TIME: Duration = Duration::from_secs(5);

/// Serves until the shutdown cuts: metrics of the drain matter too.
pub async fn serve(config: Config, shown: Shown, listener: TcpListener, shutdown: Shutdown) -> io::Result<()> {
    telemetry::metrics();
    let router = Router::new()
        .route("/metrics", get(async || telemetry::metrics().render()))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/log/level", put(set_level))
        .with_state(Arc::new(shown))
        .layer(from_fn_with_state(Arc::new(config), guard::check))
        // Outside of the guard: what it refuses has been read too.
        .layer(from_fn(read_first))
        .into_make_service_with_connect_info::<PeerAddress>();
    let listener = Few::new(listener, Connections::new(CONNECTIONS, Discard::of(&Limits::default())));
    let upkeep = async {
        loop {
            tokio::time::sleep(UPKEEP).await;
            telemetry::metrics().run_upkeep();
        }
    };
    tokio::select! {
        result = axum::serve(listener, router).into_future() => result,
        () = upkeep => Ok(()),
        () = shutdown.cut() => Ok(()),
    }
}

/// Reads the body before anything is answered, so that the connection stays of use, or tells that it does not.
async fn read_first(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let refused = match timeout(BODY_TIME, to_bytes(body, BODY_BYTES)).await {
        Ok(Ok(body)) => return next.run(Request::from_parts(parts, Body::from(body))).await,
        Ok(Err(_)) => StatusCode::PAYLOAD_TOO_LARGE,
        Err(_) => StatusCode::REQUEST_TIMEOUT,
    };
    (refused, [(CONNECTION, "close")]).into_response()
}

/// What `/readyz` says of one part of the process.
#[derive(Serialize)]
struct Verbose {
    /// Each need and whether it is met.
    #[serde(flatten)]
    needs: BTreeMap<&'static str, bool>,
    /// How many milliseconds the clock of each peer is ahead of this process's.
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_skew_ms: Option<BTreeMap<String, i64>>,
}

impl Verbose {
    fn of(readiness: &Readiness) -> Self {
        Self { needs: readiness.health_checks(), clock_skew_ms: readiness.skews() }
    }
}

async fn readyz(State(shown): State<Arc<Shown>>) -> Response {
    let ready = shown.values().all(Readiness::is_ready);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verbose: BTreeMap<_, _> = shown.iter().map(|(name, readiness)| (*name, Verbose::of(readiness))).collect();
    (status, Json(verbose)).into_response()
}

async fn set_level(level: Bytes) -> Response {
    let level = String::from_utf8_lossy(&level);
    match telemetry::set_level(level.trim()) {
        Ok(()) => {
            tracing::warn!(level = level.trim(), "the log level was changed at the admin listener");
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}
