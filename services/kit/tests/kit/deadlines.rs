//! Deadlines that the server enforces.

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

/// A call with this `grpc-timeout`, whose handler never responds.
async fn call(bench: &Bench, wire: &Wire, timeout: &str) -> Received {
    let (head, _) = wire.head(GET_USER, &[bench.token.clone(), ("grpc-timeout", timeout.to_owned())]);
    let message = GetUserRequest { user_id: Uuid::nil().to_string() }.encode_to_vec();
    Wire::read(wire.send(head, &message).await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn deadline_that_has_passed_is_exceeded() {
    let bench = Bench::new(Limits::default()).await;
    let wire = Wire::connect(bench.address).await;
    for timeout in ["1n", "0m", "1u"] {
        assert_eq!(call(&bench, &wire, timeout).await.grpc.as_deref(), Some(DEADLINE_EXCEEDED), "{timeout}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deadline_of_the_caller_is_enforced() {
    let bench = Bench::new(Limits::default()).await;
    let wire = Wire::connect(bench.address).await;
    for _ in 0..50 {
        let started = Instant::now();
        let response = call(&bench, &wire, "50m").await;
        assert_eq!(response.grpc.as_deref(), Some(DEADLINE_EXCEEDED));
        // The guarantee is that the caller's deadline applies, and not the 5 s of the contract. By how much a timer is late
        // depends on the machine; a unit test of the stack checks the exact time.
        assert!(started.elapsed() < Duration::from_secs(5));
    }
    bench.handlers.wait_for(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deadline_of_the_contract_is_the_maximum() {
    let bench = Bench::new(Limits::default()).await;
    let wire = Wire::connect(bench.address).await;
    // The contract gives GetUser 5 s.
    let started = Instant::now();
    let response = timeout(Duration::from_secs(50), call(&bench, &wire, "1H")).await.expect("ten times the maximum");
    assert_eq!(response.grpc.as_deref(), Some(DEADLINE_EXCEEDED));
    assert!(started.elapsed() > Duration::from_millis(4_900));
}
