//! The order of a graceful shutdown. Bounds are ten times the guaranteed ones.

use std::time::{Duration, Instant};

use kit::{config::Span, limits::Limits, shutdown::ShutdownConfig};
use tokio::{net::TcpStream, time::timeout};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    bench::Bench,
    eventually::{MOMENT, eventually},
};

fn spans(settle: u64, grace: u64) -> ShutdownConfig {
    let (settle, grace) = (Span(Duration::from_millis(settle)), Span(Duration::from_millis(grace)));
    ShutdownConfig { settle, grace, ..ShutdownConfig::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_ends_readiness_then_finishes_calls_then_stops() {
    let bench = Bench::new(Limits::default()).await;
    let channel = bench.channel().await;
    let mut health = HealthClient::new(channel.clone());
    let everything = || HealthCheckRequest { service: String::new() };
    let mut watched = health.watch(everything()).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let in_flight = bench.call(&channel);
    bench.handlers.wait_for(1).await;

    let down = tokio::spawn({
        let shutdown = bench.shutdown.clone();
        async move { shutdown.run(&spans(1_000, 20_000)).await }
    });
    // The previous status may arrive twice.
    let reported = async { while watched.message().await.unwrap().unwrap().status() != ServingStatus::NotServing {} };
    timeout(MOMENT, reported).await.expect("watchers get the status");
    assert!(!bench.readiness.is_ready());
    // Within the settle time the server accepts calls on old and on new connections.
    for channel in [channel, bench.channel().await] {
        bench.ask(&channel).await.expect("calls succeed within the settle time");
    }
    eventually("no more connections are accepted", async || TcpStream::connect(bench.address).await.is_err()).await;
    assert!(!bench.serving.is_finished(), "a call is in flight");
    bench.handlers.release(1);
    timeout(MOMENT, in_flight).await.unwrap().unwrap().expect("the call finishes");
    timeout(MOMENT, bench.serving)
        .await
        .expect("the server stops long before the end of the grace period")
        .unwrap()
        .unwrap();
    down.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_outlive_the_grace_period_are_cut() {
    let bench = Bench::new(Limits::default()).await;
    let channel = bench.channel().await;
    let stuck = bench.call(&channel);
    bench.handlers.wait_for(1).await;
    let started = Instant::now();
    bench.shutdown.run(&spans(0, 500)).await;
    timeout(Duration::from_secs(5), bench.serving).await.expect("ten times the grace").unwrap().unwrap();
    assert!(started.elapsed() >= Duration::from_millis(500), "not before the end of the grace period");
    // The connection itself ends with the process.
    assert!(!stuck.is_finished(), "the call never got a response");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_and_health_watchers_do_not_delay_the_drain() {
    let bench = Bench::new(Limits::default()).await;
    let _idle = bench.channel().await;
    let mut health = HealthClient::new(bench.channel().await);
    let mut watched = health.watch(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
    watched.message().await.unwrap();
    let shutdown = bench.shutdown.clone();
    let down = tokio::spawn(async move { shutdown.run(&spans(0, 60_000)).await });
    timeout(MOMENT, bench.serving).await.expect("the grace period is not used up").unwrap().unwrap();
    down.abort();
}
