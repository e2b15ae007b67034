//! Deadlines, as a server keeps them when its caller does not.

use std::time::{Duration, Instant};

use kit::limits::Limits;
use prost::Message as _;
use proto::users::v1::GetUserRequest;
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    bench::{Bench, GET_USER},
    wire::{Received, Wire},
};

const DEADLINE_EXCEEDED: &str = "4";

/// A call that its handler never answers, with this `grpc-timeout`.
async fn call(bench: &Bench, wire: &Wire, asked: &str) -> Received {
    let (head, _) = wire.head(GET_USER, &[bench.token.clone(), ("grpc-timeout", asked.to_owned())]);
    let message = GetUserRequest { user_id: Uuid::nil().to_string() }.encode_to_vec();
    Wire::answer(wire.send(head, &message).await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_has_passed_is_exceeded() {
    let bench = Bench::new(Limits::default()).await;
    let wire = Wire::connect(bench.address).await;
    for asked in ["1n", "0m", "1u"] {
        assert_eq!(call(&bench, &wire, asked).await.grpc.as_deref(), Some(DEADLINE_EXCEEDED), "{asked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_s_deadline_is_kept_and_named() {
    let bench = Bench::new(Limits::default()).await;
    let wire = Wire::connect(bench.address).await;
    let mut quickest = Duration::MAX;
    for _ in 0..50 {
        let started = Instant::now();
        let response = call(&bench, &wire, "50m").await;
        assert_eq!(response.grpc.as_deref(), Some(DEADLINE_EXCEEDED));
        // A busy machine is late now and then, but never as late as the contract's own 5 s would be.
        assert!(started.elapsed() < Duration::from_secs(4));
        quickest = quickest.min(started.elapsed());
    }
    assert!(quickest < Duration::from_millis(500), "ten times the deadline");
    bench.handlers.wait_for(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_s_deadline_is_the_ceiling() {
    let bench = Bench::new(Limits::default()).await;
    let wire = Wire::connect(bench.address).await;
    // The contract gives GetUser 5 s.
    let started = Instant::now();
    let response = timeout(Duration::from_secs(50), call(&bench, &wire, "1H")).await.expect("ten times the ceiling");
    assert_eq!(response.grpc.as_deref(), Some(DEADLINE_EXCEEDED));
    assert!(started.elapsed() > Duration::from_millis(4_900));
}
