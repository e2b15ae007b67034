//! The way down, in order. Bounds are ten times what was promised.

use std::time::{Duration, Instant};

use kit::{config::Span, limits::Limits, shutdown::Config};
use tokio::{net::TcpStream, time::timeout};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::bench::{Bench, MOMENT, eventually};

fn spans(settle: u64, grace: u64) -> Config {
    let (settle, grace) = (Span(Duration::from_millis(settle)), Span(Duration::from_millis(grace)));
    Config { settle, grace, ..Config::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_goes_first_then_calls_finish_then_it_is_over() {
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
    // What was said before may be said twice.
    let told = async { while watched.message().await.unwrap().unwrap().status() != ServingStatus::NotServing {} };
    timeout(MOMENT, told).await.expect("watchers are told");
    assert!(!bench.readiness.is_ready());
    // Within the settle time whoever has not noticed yet is still served, on old and on new connections.
    for channel in [channel, bench.channel().await] {
        bench.ask(&channel).await.expect("nobody is turned away yet");
    }
    eventually("nothing more is accepted", async || TcpStream::connect(bench.address).await.is_err()).await;
    assert!(!bench.serving.is_finished(), "a call is in flight");
    bench.handlers.release(1);
    timeout(MOMENT, in_flight).await.unwrap().unwrap().expect("it finishes");
    timeout(MOMENT, bench.serving).await.expect("and then it is over, long before the grace is").unwrap().unwrap();
    down.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_outlives_the_grace_is_cut() {
    let bench = Bench::new(Limits::default()).await;
    let channel = bench.channel().await;
    let stuck = bench.call(&channel);
    bench.handlers.wait_for(1).await;
    let started = Instant::now();
    bench.shutdown.run(&spans(0, 500)).await;
    timeout(Duration::from_secs(5), bench.serving).await.expect("ten times the grace").unwrap().unwrap();
    assert!(started.elapsed() >= Duration::from_millis(500), "not before");
    // The connection itself ends with the process.
    assert!(!stuck.is_finished(), "the call was never answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_and_health_watchers_hold_nothing_up() {
    let bench = Bench::new(Limits::default()).await;
    let _idle = bench.channel().await;
    let mut health = HealthClient::new(bench.channel().await);
    let mut watched = health.watch(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
    watched.message().await.unwrap();
    let shutdown = bench.shutdown.clone();
    let down = tokio::spawn(async move { shutdown.run(&spans(0, 60_000)).await });
    timeout(MOMENT, bench.serving).await.expect("the grace is not used up").unwrap().unwrap();
    down.abort();
}
