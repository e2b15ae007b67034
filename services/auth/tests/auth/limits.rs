//! How often somebody may try to sign in to one account.

use std::time::Duration;

use kit::config::Span;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::mesh::{Mesh, PASSWORD, reason, sign_in, sign_up};

/// Tries a wrong password.
async fn guess(mesh: &mut Mesh, address: &str) -> String {
    let request = mesh.on_behalf_of(address, sign_in("ada", "wrong password"));
    reason(&mesh.auth.sign_in(request).await.unwrap_err())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_from_one_network_does_not_lock_the_owner_out() {
    let mut mesh = Mesh::start().await;
    mesh.auth.sign_up(sign_up("ada")).await.unwrap();
    for n in 0..10 {
        assert_eq!(guess(&mut mesh, &format!("2001:db8:1:2::{n}")).await, "BAD_CREDENTIALS");
    }
    let request = mesh.on_behalf_of("2001:db8:1:2:ffff::1", sign_in("ada", PASSWORD));
    let refused = mesh.auth.sign_in(request).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "RATE_LIMITED"));
    let wait = refused.get_error_details().retry_info().unwrap().retry_delay.unwrap();
    assert_eq!(wait, Duration::from_secs(90), "ten in fifteen minutes");
    let request = mesh.on_behalf_of("192.0.2.7", sign_in("ada", PASSWORD));
    mesh.auth.sign_in(request).await.unwrap();
    // Who waits as told is admitted.
    mesh.clock.advance(wait);
    let request = mesh.on_behalf_of("2001:db8:1:2:ffff::1", sign_in("ada", PASSWORD));
    mesh.auth.sign_in(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_from_everywhere_is_limited_by_account() {
    let mut mesh = Mesh::start().await;
    mesh.auth.sign_up(sign_up("ada")).await.unwrap();
    for n in 0..100 {
        assert_eq!(guess(&mut mesh, &format!("192.0.2.{n}")).await, "BAD_CREDENTIALS");
    }
    assert_eq!(guess(&mut mesh, "198.51.100.1").await, "RATE_LIMITED");
    mesh.auth.sign_in(mesh.on_behalf_of("198.51.100.1", sign_in("nobody", PASSWORD))).await.unwrap_err();
    // Case and blanks around make no other account.
    let mut shouted = sign_in("ada", PASSWORD);
    shouted.email = " ADA@example.org".to_owned();
    let refused = mesh.auth.sign_in(mesh.on_behalf_of("198.51.100.2", shouted)).await.unwrap_err();
    assert_eq!(reason(&refused), "RATE_LIMITED");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_often_is_configured() {
    let minute = Span(Duration::from_secs(60));
    let config = auth::Config {
        attempts_by_address: 2,
        attempts_by_address_period: minute,
        attempts: 3,
        attempts_period: minute,
        ..auth::Config::default()
    };
    let mut mesh = Mesh::with(config).await;
    mesh.auth.sign_up(sign_up("ada")).await.unwrap();
    let (here, there) = ("192.0.2.1", "198.51.100.1");
    // Two from one address, three in all; a refusal by address counts for nothing.
    for (address, expected) in [
        (here, "BAD_CREDENTIALS"),
        (here, "BAD_CREDENTIALS"),
        (here, "RATE_LIMITED"),
        (there, "BAD_CREDENTIALS"),
        (there, "RATE_LIMITED"),
    ] {
        assert_eq!(guess(&mut mesh, address).await, expected, "{address}");
    }
    mesh.clock.advance(minute.0);
    assert_eq!(guess(&mut mesh, here).await, "BAD_CREDENTIALS");
}
