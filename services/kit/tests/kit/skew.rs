//! Two processes whose clocks differ. The server uses the machine's clock; the client's clock is shifted.

use std::{sync::Arc, time::Duration};

use kit::{
    ClockAndRng, balance,
    client::Peer,
    health::peer_is_serving,
    limits::Limits,
    policy::Table,
    time::{ManualClock, SystemEntropy},
};
use proto::users::v1::{CreateUserRequest, ListUsersRequest, users_service_client::UsersServiceClient};
use tonic::Code;
use uuid::Uuid;

use crate::{
    bench::Bench,
    mesh::{refusal, request},
};

/// A stopped clock, `seconds` ahead of the bench's clock.
fn ahead(bench: &Bench, seconds: i64) -> ClockAndRng {
    let now = bench.mesh.clock_rng.now();
    let offset = Duration::from_secs(seconds.unsigned_abs());
    let shown = if seconds < 0 { now - offset } else { now + offset };
    ClockAndRng { clock: Arc::new(ManualClock::new(shown)), entropy: Arc::new(SystemEntropy::default()) }
}

/// Regression: with clocks 30 s apart, calls became anonymous and internal calls were refused.
#[tokio::test(flavor = "multi_thread")]
async fn calls_pass_between_clocks_within_the_bound_only() {
    let bench = Bench::new(Limits::default()).await;
    let mut client = UsersServiceClient::new(bench.channel().await);
    let internal = || CreateUserRequest {
        user_id: Uuid::from_u128(1 << 76 | 7 << 76 | 2 << 62).to_string(),
        handle: "ada".to_owned(),
        display_name: "Ada".to_owned(),
        attempt: 0,
    };
    for (seconds, is_refused) in [(0, false), (30, false), (-30, false), (90, true), (-150, true)] {
        let token = bench.mesh.service_token("auth", "users", &ahead(&bench, seconds));
        let response = client.create_user(request(internal(), std::slice::from_ref(&token))).await;
        // A method for users is refused too: without its service identity the call would be a different one.
        let message = ListUsersRequest { page_token: "500".to_owned(), ..ListUsersRequest::default() };
        let listed = client.list_users(request(message, &[bench.token.clone(), token])).await;
        if is_refused {
            assert_eq!(refusal(response), "Internal SERVICE_CLOCK_SKEW", "{seconds}");
            assert_eq!(refusal(listed), "Internal SERVICE_CLOCK_SKEW", "{seconds}");
        } else {
            assert!(
                response.as_ref().err().is_none_or(|e| e.code() == Code::InvalidArgument),
                "{seconds}: {response:?}"
            );
            listed.unwrap_or_else(|status| panic!("{seconds}: {status:?}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_service_token_is_never_an_anonymous_call() {
    let bench = Bench::new(Limits::default()).await;
    let mut client = UsersServiceClient::new(bench.channel().await);
    let (name, for_another) = bench.mesh.service_token("auth", "messaging", &bench.mesh.clock_rng);
    for token in [for_another, "garbage".to_owned(), String::new()] {
        let message = ListUsersRequest { page_token: "500".to_owned(), ..ListUsersRequest::default() };
        let response = client.list_users(request(message, &[bench.token.clone(), (name, token.clone())])).await;
        assert_eq!(refusal(response), "Unauthenticated SERVICE_TOKEN_INVALID", "{token}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn skew_of_a_peer_is_measured() {
    let bench = Bench::new(Limits::default()).await;
    for (seconds, is_bounded) in [(0, true), (30, true), (-90, false)] {
        let identity = bench.mesh.identity_on("gateway", ahead(&bench, seconds));
        let policies = Arc::new(Table::from_descriptors(proto::DESCRIPTORS).unwrap());
        let address = format!("http://{}", bench.address);
        let peer = Peer::new("users", &[address], &balance::BalanceConfig::default(), Arc::clone(&identity), policies);
        assert!(peer_is_serving(peer.unwrap()).await);
        let skew = identity.skews().millis()["users"];
        // The client's clock is stopped, so a busy machine makes the server's clock later.
        assert!((0..20_000).contains(&(skew + seconds * 1_000)), "{skew} ms instead of {seconds} s");
        assert_eq!(identity.skews().are_bounded(), is_bounded, "{seconds}");
    }
}
