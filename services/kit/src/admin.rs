//! The admin listener: metrics, verbose health and the log level, on an address of its own (127.0.0.1 unless
//! configured). The public ports show none of it.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header::CONNECTION},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use tokio::{net::TcpListener, time::timeout};

use crate::{
    health::Readiness,
    limits::Limits,
    server::{Connections, Discard, Few},
    shutdown::Shutdown,
    telemetry,
};

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
pub async fn serve(shown: Shown, listener: TcpListener, shutdown: Shutdown) -> io::Result<()> {
    telemetry::metrics();
    let router = Router::new()
        .route("/metrics", get(async || telemetry::metrics().render()))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/log/level", put(set_level))
        .with_state(Arc::new(shown))
        .layer(from_fn(read_first));
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

async fn readyz(State(shown): State<Arc<Shown>>) -> Response {
    let ready = shown.values().all(Readiness::is_ready);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verbose: BTreeMap<_, _> = shown.iter().map(|(name, readiness)| (*name, readiness.needs())).collect();
    (status, Json(verbose)).into_response()
}

async fn set_level(level: Bytes) -> Response {
    let level = String::from_utf8_lossy(&level);
    match telemetry::set_level(level.trim()) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}
