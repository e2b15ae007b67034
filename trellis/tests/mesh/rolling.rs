//! Rolling restarts: every process of a cluster restarts, one after another, and no client notices.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use proto::auth::v1::GetJwksRequest;
use tokio::net::TcpStream;

use super::{
    cluster::Cluster,
    harness::{Mesh, Store},
    load::{Load, Size},
    web::{self, BINARY, Http},
};

/// Ten times the interval of the load balancers' readiness checks.
const SETTLE: Duration = Duration::from_secs(1);
/// Streams end, and calls finish, in a fraction of it on any machine.
const GRACE: Duration = Duration::from_secs(60);

const MANY_STREAMS: &str = r#"
[gateway.rate_limits.overrides.many]
methods = ["trellis.messaging.v1.MessagingService/Subscribe"]
limits = [{ requests = 1000, period = "60s" }]
streams = 100
"#;

#[tokio::test(flavor = "multi_thread")]
async fn rolling_restart_fails_no_call_and_leaves_no_gap_in_streams() {
    let mut cluster = Cluster::start(|process| {
        process.set("SHUTDOWN__SETTLE", &format!("{}ms", SETTLE.as_millis()));
        process.set("SHUTDOWN__GRACE", &format!("{}ms", GRACE.as_millis()));
        process.set("GATEWAY__TRUSTED_PROXIES", "127.0.0.1/32");
        // Enough to explain a failure; the access log would hide it.
        process.set("LOG__LEVEL", "info,gateway=debug,kit=debug,access=off");
        // In this test a few users hold fifty streams each, and open them four times in half a minute. As in the
        // contract, the gateway allows twice as many.
        process.set("MESSAGING__STREAMS_PER_SESSION", "50");
        process.set("MESSAGING__STREAMS_PER_USER", "50");
        let file = process.folder().join("trellis.toml");
        std::fs::write(&file, MANY_STREAMS).unwrap();
        process.set("CONFIG", file.to_str().unwrap());
    })
    .await;
    let size = Size { people: 20, streams: 1_000, callers: 8 };
    let began = Instant::now();
    let load = Load::start(&cluster, &size).await;
    let streams = load.streams;
    println!("{streams} streams are live after {:?}", began.elapsed());
    for (part, replica) in cluster.each() {
        let before = load.tally.resumed.load(Ordering::Relaxed);
        let took = cluster.restart(part, replica).await;
        let resumed = load.tally.resumed.load(Ordering::Relaxed) - before;
        println!("part {part}, replica {replica}: down in {took:?}, {resumed} streams resumed elsewhere");
        // The process exited before the grace period ended.
        assert!(took < SETTLE + GRACE, "{took:?}");
    }
    let tally = load.end().await;
    let failures = tally.failures.lock().unwrap();
    let (calls, resumed) = (tally.calls.load(Ordering::Relaxed), tally.resumed.load(Ordering::Relaxed));
    println!("{calls} calls, {resumed} streams resumed, {} failures, in {:?}", failures.len(), began.elapsed());
    for failure in failures.iter().take(10) {
        println!("{failure}");
    }
    if !failures.is_empty() {
        for (process, log) in cluster.logs() {
            println!("{process}:\n{log}");
        }
    }
    assert!(failures.is_empty(), "{} failures of {calls} calls", failures.len());
    assert!(resumed >= streams, "each stream resumed elsewhere at least once: {resumed}");
    for (process, log) in cluster.logs() {
        assert!(!log.contains("panicked"), "{process}:\n{log}");
    }
}

/// Sends SIGTERM and waits until the process reports that it is not ready.
async fn begin_to_stop(mesh: &Mesh) {
    mesh.signal("TERM");
    let started = Instant::now();
    while web::get(mesh.ports.gateway, "/readyz").await.unwrap().status == 200 {
        assert!(started.elapsed() < Duration::from_secs(10), "readiness fails at once");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_process_serves_calls_and_closes_http1_connections() {
    let mesh = Mesh::start(Store::Sqlite, &[("SHUTDOWN__SETTLE", "5m")]).await;
    let port = mesh.ports.gateway;
    let (mut before, connection) =
        http1::handshake::<_, Full<Bytes>>(TokioIo::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap()))
            .await
            .unwrap();
    let before_ends = tokio::spawn(connection);
    let path = "/trellis.auth.v1.AuthService/GetJwks";
    let call = || -> Request<Full<Bytes>> { web::call(port, path, BINARY, &[], &GetJwksRequest {}) };
    let response = before.send_request(call()).await.unwrap();
    assert!(!response.headers().contains_key("connection"), "{response:?}");
    response.into_body().collect().await.unwrap();
    begin_to_stop(&mesh).await;
    before.ready().await.expect("the connection is still open");
    let response = before.send_request(call()).await.unwrap();
    assert_eq!(response.headers()["connection"], "close");
    response.into_body().collect().await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), before_ends).await.expect("it closes in time").unwrap().unwrap();
    for http in [Http::One, Http::Two] {
        let response = web::send(port, http, call()).await.unwrap();
        assert_eq!(response.grpc_status(), "0", "{http:?}");
        assert_eq!(response.header("connection"), if http == Http::One { "close" } else { "" });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn second_signal_ends_the_process_at_once() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut mesh = Mesh::start(Store::Sqlite, &[("SHUTDOWN__SETTLE", "5m")]).await;
        begin_to_stop(&mesh).await;
        mesh.signal(signal);
        assert_eq!(mesh.ended(Duration::from_secs(10)).await.code(), Some(code), "{signal}");
    }
}
