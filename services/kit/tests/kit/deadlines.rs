//! Deadlines that the server enforces.

use std::time::{Duration, Instant};

use kit::limits::Limits;
use prost::Message as _;
use proto::users::v1::{GetUserRequest, UpdateUserRequest, User, users_service_client::UsersServiceClient};
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    bench::{Bench, GET_USER},
    mesh::request,
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

/// Stores use it: they commit nothing after it.
#[tokio::test(flavor = "multi_thread")]
async fn handler_task_has_the_deadline_of_its_call() {
    let bench = Bench::new(Limits::default()).await;
    let mut client = UsersServiceClient::new(bench.channel().await);
    let user = User { user_id: Uuid::nil().to_string(), display_name: "a name".to_owned(), ..User::default() };
    let mut left = async |timeout: Option<Duration>| {
        let mut request = request(
            UpdateUserRequest { user: Some(user.clone()), ..Default::default() },
            std::slice::from_ref(&bench.token),
        );
        timeout.into_iter().for_each(|timeout| request.set_timeout(timeout));
        let response = client.update_user(request).await.unwrap().into_inner();
        Duration::from_millis(response.user.unwrap().display_name.parse().unwrap())
    };
    let short = Duration::from_secs(3);
    let of_caller = left(Some(short)).await;
    assert!(of_caller > Duration::ZERO && of_caller <= short, "{of_caller:?}");
    // The contract gives UpdateUser 5 s.
    let of_contract = left(None).await;
    assert!(of_contract > short && of_contract <= Duration::from_secs(5), "{of_contract:?}");
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
