//! The admin listener: metrics, verbose health and the log level, on a separate address (by default 127.0.0.1). The
//! public ports serve none of it.

mod guard;

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    body::{Body, Bytes, to_bytes},
    extract::{ConnectInfo, Request, State},
    http::{StatusCode, header::CONNECTION},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};

use crate::{
    health::Readiness,
    limits::Limits,
    server::{BoundedListener, Connections, Discard, PeerAddress},
    shutdown::Shutdown,
    telemetry,
};

/// The section `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// The address of the admin listener. Reading needs no credentials: keep it off public networks.
    pub listen: String,
    /// The clients that may change the log level.
    pub write: Write,
    /// Accepted host names besides IP addresses and `localhost`. Requests with other names fail, which prevents DNS
    /// rebinding by web pages.
    pub hosts: Vec<String>,
}

impl AdminConfig {
    /// Returns an error with the key and the fix.
    pub fn check(&self) -> Result<(), String> {
        let is_name = |name: &String| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        };
        match self.hosts.iter().find(|name| !is_name(name)) {
            Some(name) => {
                Err(format!("admin.hosts: {name:?} is not a host name such as metrics.example.org, without a port"))
            }
            None => Ok(()),
        }
    }
}

/// The clients that may write at the admin listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Write {
    /// Programs on the same machine (in Kubernetes: in the same pod), without a proxy.
    #[default]
    Loopback,
    /// No client.
    Off,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9090".to_owned(), write: Write::default(), hosts: Vec::new() }
    }
}

/// Each service of this process with its readiness.
pub type Shown = BTreeMap<&'static str, Readiness>;

/// How often new samples are merged into the histograms. Until then each takes 24 bytes, at the rate of one busy core
/// more than a megabyte in a second.
const UPKEEP: Duration = Duration::from_secs(1);

/// The maximum number of connections.
const CONNECTIONS: usize = 256;
/// The maximum size of a request's body, and the time limit to read it.
const BODY_BYTES: usize = 64 * 1024;
const BODY_TIME: Duration = Duration::from_secs(5);

/// The time limit for the head of a request, which includes the time that a connection is idle before it.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// Serves until the shutdown cuts all connections, so that metrics are available during the drain.
pub async fn serve(config: AdminConfig, shown: Shown, listener: TcpListener, shutdown: Shutdown) -> io::Result<()> {
    telemetry::metrics();
    let router = Router::new()
        .route("/metrics", get(async || telemetry::metrics().render()))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/log/level", put(set_level))
        .with_state(Arc::new(shown))
        .layer(from_fn_with_state(Arc::new(config), guard::check))
        // Outside of the guard, so that the bodies of refused requests are read too.
        .layer(from_fn(read_first));
    let listener = BoundedListener::new(listener, Connections::new(CONNECTIONS, Discard::of(&Limits::default())));
    let upkeep = async {
        loop {
            tokio::time::sleep(UPKEEP).await;
            telemetry::metrics().run_upkeep();
        }
    };
    tokio::select! {
        () = accept(listener, router) => {}
        () = upkeep => {}
        () = shutdown.cut() => {}
    }
    Ok(())
}

/// Serves each connection in a task. `axum::serve` has no time limit for heads, so that idle connections could fill the
/// listener.
async fn accept(mut listener: BoundedListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (stream, peer) = listener.accept() => {
                let service = router.clone().layer(Extension(ConnectInfo(PeerAddress(peer))));
                let mut http = http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
                connections.spawn(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Reads the body before the response, so that the connection can be reused. If that fails, responds with
/// `connection: close`.
async fn read_first(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let refused = match timeout(BODY_TIME, to_bytes(body, BODY_BYTES)).await {
        Ok(Ok(body)) => return next.run(Request::from_parts(parts, Body::from(body))).await,
        Ok(Err(_)) => StatusCode::PAYLOAD_TOO_LARGE,
        Err(_) => StatusCode::REQUEST_TIMEOUT,
    };
    (refused, [(CONNECTION, "close")]).into_response()
}

/// The state of one service in the response of `/readyz`.
#[derive(Serialize)]
struct Verbose {
    /// Each health check and whether it passes.
    #[serde(flatten)]
    needs: BTreeMap<&'static str, bool>,
    /// How many milliseconds each peer's clock is ahead of the clock of this process.
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
    match telemetry::set_level(level.trim(), "admin listener") {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt as _, net::TcpStream};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idle_connection_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(AdminConfig::default(), Shown::new(), listener, Shutdown::new()));
        let mut idle = TcpStream::connect(address).await.unwrap();
        let started = tokio::time::Instant::now();
        assert_eq!(idle.read(&mut [0; 64]).await.unwrap(), 0, "the server closes");
        assert!(started.elapsed() >= HEAD_TIME);
    }
}
