//! Rate limits of sign-in attempts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kit::config::Span;
use proto::auth::v1::{ChangePasswordRequest, RefreshTokenRequest};
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::mesh::{Mesh, PASSWORD, by, reason, sign_in, sign_up, status_fields};

/// Signs in with a wrong password. Returns the reason of the refusal.
async fn guess(mesh: &mut Mesh, address: &str) -> String {
    let request = mesh.on_behalf_of(address, sign_in("ada", "wrong password"));
    reason(&mesh.auth.sign_in(request).await.unwrap_err())
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_from_one_network_do_not_lock_the_owner_out() {
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
    // After the wait in the refusal, the attempt is admitted.
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
    mesh.auth.sign_in(mesh.on_behalf_of("198.51.100.1", sign_in("unknown", PASSWORD))).await.unwrap_err();
    // Case and surrounding blanks do not make another account.
    let mut shouted = sign_in("ada", PASSWORD);
    shouted.email = " ADA@example.org".to_owned();
    let refused = mesh.auth.sign_in(mesh.on_behalf_of("198.51.100.2", shouted)).await.unwrap_err();
    assert_eq!(reason(&refused), "RATE_LIMITED");
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_from_many_networks_do_not_lock_the_owner_out() {
    let mut mesh = Mesh::start().await;
    let home = mesh.on_behalf_of("2001:db8:1:2::1", sign_up("ada"));
    let tokens = mesh.auth.sign_up(home).await.unwrap().into_inner().tokens.unwrap();
    for n in 0..100 {
        assert_eq!(guess(&mut mesh, &format!("192.0.2.{n}")).await, "BAD_CREDENTIALS");
    }
    assert_eq!(guess(&mut mesh, "198.51.100.1").await, "RATE_LIMITED");
    // The owner's earlier network is admitted, and so are other devices in it.
    let request = mesh.on_behalf_of("2001:db8:1:2:ffff::9", sign_in("ada", PASSWORD));
    mesh.auth.sign_in(request).await.unwrap();
    // A session is admitted from anywhere: it has its own limit.
    let change = ChangePasswordRequest {
        current_password: PASSWORD.to_owned(),
        new_password: "another good password".to_owned(),
    };
    let request = mesh.through_gateway(by(&tokens, change), "198.51.100.1");
    mesh.auth.change_password(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn network_of_an_earlier_sign_in_is_known() {
    let mut mesh = Mesh::start().await;
    mesh.auth.sign_up(sign_up("ada")).await.unwrap();
    let cafe = "203.0.113.7";
    mesh.auth.sign_in(mesh.on_behalf_of(cafe, sign_in("ada", PASSWORD))).await.unwrap();
    for n in 0..99 {
        guess(&mut mesh, &format!("192.0.2.{n}")).await;
    }
    assert_eq!(guess(&mut mesh, "198.51.100.1").await, "RATE_LIMITED");
    // The network's own attempts are still limited: nine of ten are left.
    for _ in 0..9 {
        assert_eq!(guess(&mut mesh, cafe).await, "BAD_CREDENTIALS");
    }
    assert_eq!(guess(&mut mesh, cafe).await, "RATE_LIMITED");
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limits_do_not_reveal_whether_an_account_exists() {
    let mut mesh = Mesh::start().await;
    mesh.auth.sign_up(sign_up("ada")).await.unwrap();
    let mut statuses = [Vec::new(), Vec::new()];
    for (of_one, handle) in statuses.iter_mut().zip(["ada", "unknown"]) {
        for n in 0..103 {
            let request = mesh.on_behalf_of(&format!("192.0.2.{n}"), sign_in(handle, "wrong password"));
            let status = mesh.auth.sign_in(request).await.unwrap_err();
            of_one.push((status_fields(&status), status.metadata().get("retry-after").cloned(), reason(&status)));
        }
    }
    assert_eq!(statuses[0], statuses[1]);
    assert_eq!((statuses[0][99].2.as_str(), statuses[0][100].2.as_str()), ("BAD_CREDENTIALS", "RATE_LIMITED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_from_an_address_are_limited_over_all_accounts() {
    let config = auth::Config { attempts_from_address: 5, ..auth::Config::default() };
    let mut mesh = Mesh::with(config).await;
    for n in 0..6 {
        let request = mesh.on_behalf_of("192.0.2.1", sign_in(&format!("unknown{n}"), "wrong password"));
        let expected = if n < 5 { "BAD_CREDENTIALS" } else { "RATE_LIMITED" };
        assert_eq!(reason(&mesh.auth.sign_in(request).await.unwrap_err()), expected, "{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_at_an_address_do_not_keep_its_owner_from_signing_up() {
    let mut mesh = Mesh::start().await;
    for n in 0..101 {
        guess(&mut mesh, &format!("192.0.2.{n}")).await;
    }
    let request = mesh.on_behalf_of("198.51.100.1", sign_up("ada"));
    mesh.auth.sign_up(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn uses_of_a_refresh_token_are_limited() {
    let config = auth::Config { refreshes: 3, ..auth::Config::default() };
    let mut mesh = Mesh::with(config).await;
    let present = async |mesh: &mut Mesh, token: &str| {
        let request = RefreshTokenRequest { refresh_token: token.to_owned() };
        reason(&mesh.auth.refresh_token(request).await.unwrap_err())
    };
    for _ in 0..3 {
        assert_eq!(present(&mut mesh, "trr_unknown").await, "REFRESH_TOKEN_INVALID");
    }
    assert_eq!(present(&mut mesh, "trr_unknown").await, "RATE_LIMITED");
    assert_eq!(present(&mut mesh, "trr_another").await, "REFRESH_TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn attempt_limits_are_configurable() {
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
    // Two from one address, three in total; an attempt refused by address does not count.
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

#[tokio::test(flavor = "multi_thread")]
async fn guesses_are_counted_by_wider_networks_too() {
    let config = auth::Config { attempts_from_address: 2, ..auth::Config::default() };
    let mut mesh = Mesh::with(config).await;
    let home = "2001:db8:1:2ff::1";
    mesh.auth.sign_up(mesh.on_behalf_of(home, sign_up("ada"))).await.unwrap();
    mesh.clock.advance(Duration::from_secs(900));
    let mut guess = 0;
    let mut at_anyone = async |mesh: &mut Mesh, address: String| {
        guess += 1;
        let request = mesh.on_behalf_of(&address, sign_in(&format!("unknown{guess}"), "wrong password"));
        reason(&mesh.auth.sign_in(request).await.unwrap_err())
    };
    // The limits are 2 for a /64, 8 for a /56, and 32 for a /48 or a /24 of IPv4. Each attempt has another address.
    type Addresses = fn(u32) -> String;
    let of_56: Addresses = |n| format!("2001:db8:1:{:x}::1", 0x200 + n);
    let of_48: Addresses = |n| format!("2001:db8:1:{:x}::1", 0x1000 + n * 0x40);
    let of_24: Addresses = |n| format!("192.0.2.{n}");
    for (most, address, before) in [(8, of_56, 0), (32, of_48, 8), (32, of_24, 0)] {
        for n in 0..most - before {
            assert_eq!(at_anyone(&mut mesh, address(n)).await, "BAD_CREDENTIALS", "{}", address(n));
        }
        assert_eq!(at_anyone(&mut mesh, address(most)).await, "RATE_LIMITED", "{}", address(most));
    }
    // The owner's address is in the same wider networks.
    mesh.auth.sign_in(mesh.on_behalf_of(home, sign_in("ada", PASSWORD))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_failures_start_the_strict_regime_for_unknown_networks() {
    let minute = Span(Duration::from_secs(60));
    let config = auth::Config { failures: 5, failures_period: minute, strict_attempts: 1, ..auth::Config::default() };
    let mut mesh = Mesh::with(config).await;
    let home = "198.51.100.1";
    mesh.auth.sign_up(mesh.on_behalf_of(home, sign_up("ada"))).await.unwrap();
    for n in 0..6 {
        assert_eq!(guess(&mut mesh, &format!("2001:db8:{n}::1")).await, "BAD_CREDENTIALS");
    }
    // The sixth failure exceeds the limit.
    let elsewhere = "2001:db8:ffff::1";
    assert_eq!(guess(&mut mesh, elsewhere).await, "BAD_CREDENTIALS");
    assert_eq!(guess(&mut mesh, elsewhere).await, "RATE_LIMITED");
    for _ in 0..2 {
        assert_eq!(guess(&mut mesh, home).await, "BAD_CREDENTIALS");
    }
    mesh.auth.sign_in(mesh.on_behalf_of(home, sign_in("ada", PASSWORD))).await.unwrap();
    mesh.clock.advance(minute.0 + minute.0);
    for _ in 0..2 {
        assert_eq!(guess(&mut mesh, elsewhere).await, "BAD_CREDENTIALS", "the regime is over");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_from_one_48_do_not_block_the_owner() {
    // The limits are so high that the attack does not reach them.
    let config = auth::Config {
        hashing_threads: 1,
        hashing_queue: 8,
        attempts_by_address: 1_000_000,
        attempts_from_address: 1_000_000,
        failures: 1_000_000,
        ..auth::Config::default()
    };
    let mut mesh = Mesh::with(config).await;
    let home = "192.0.2.7";
    let tokens = mesh.auth.sign_up(mesh.on_behalf_of(home, sign_up("ada"))).await.unwrap().into_inner().tokens.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let guesses: Vec<_> = (0..400)
        .map(|n| {
            let (mut auth, is_over) = (mesh.auth.clone(), Arc::clone(&is_over));
            let headers = mesh.on_behalf_of(&format!("2001:db8:1:{n:x}::1"), ()).metadata().clone();
            tokio::spawn(async move {
                let mut refused = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let mut request = Request::new(sign_in(&format!("unknown{n}"), "wrong password"));
                    *request.metadata_mut() = headers.clone();
                    let status = auth.sign_in(request).await.unwrap_err();
                    if reason(&status) == "OVERLOADED" {
                        refused += 1;
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                }
                refused
            })
        })
        .collect();
    let mut served = 0;
    for _ in 0..7 {
        let request = mesh.on_behalf_of(home, sign_in("ada", PASSWORD));
        served += usize::from(mesh.auth.sign_in(request).await.is_ok());
    }
    // A session is served from anywhere, also from the attacker's network.
    let change = ChangePasswordRequest {
        current_password: PASSWORD.to_owned(),
        new_password: "another good password".to_owned(),
    };
    let request = mesh.through_gateway(by(&tokens, change), "2001:db8:1:1::1");
    mesh.auth.change_password(request).await.unwrap();
    is_over.store(true, Ordering::Relaxed);
    let mut refused = 0;
    for guess in guesses {
        refused += guess.await.unwrap();
    }
    assert_eq!(served, 7);
    assert!(refused > 0, "the queue of unknown networks is full");
}

/// An overloaded queue verifies no password, so its refusals are not failures and do not start the strict regime.
#[tokio::test(flavor = "multi_thread")]
async fn only_wrong_passwords_count_as_failures() {
    const FAILURES: u32 = 60;
    let config = auth::Config {
        hashing_threads: 1,
        hashing_queue: 0,
        failures: FAILURES,
        strict_attempts: 1,
        ..auth::Config::default()
    };
    let mut mesh = Mesh::with(config).await;
    let (mut wrong, mut overloaded) = (0, 0);
    let mut strangers = 0_u32..;
    while overloaded <= FAILURES {
        let calls: Vec<_> = strangers.by_ref().take(32).collect();
        let calls = calls.into_iter().map(|n| {
            let request =
                mesh.on_behalf_of(&format!("2001:db8:{n:x}::1"), sign_in(&format!("unknown{n}"), "wrong password"));
            let mut auth = mesh.auth.clone();
            tokio::spawn(async move { reason(&auth.sign_in(request).await.unwrap_err()) })
        });
        for call in calls.collect::<Vec<_>>() {
            match call.await.unwrap().as_str() {
                "BAD_CREDENTIALS" => wrong += 1,
                "OVERLOADED" => overloaded += 1,
                other => panic!("{other}"),
            }
        }
        assert!(wrong < FAILURES, "{wrong} guesses, {overloaded} refused by the queue: too few at once");
    }
    for _ in 0..2 {
        assert_eq!(guess(&mut mesh, "2001:db8:ffff::1").await, "BAD_CREDENTIALS", "the strict regime is off");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_of_a_session_count_as_guesses() {
    let mut mesh = Mesh::with(auth::Config { attempts_by_address: 5, ..auth::Config::default() }).await;
    let tokens = mesh.signed_up("ada").await;
    let mut current = PASSWORD.to_owned();
    let (right, wrong) = ("192.0.2.1", "198.51.100.1");
    for n in 0..2 {
        let new = format!("another password {n}");
        let change = ChangePasswordRequest { current_password: current, new_password: new.clone() };
        mesh.auth.change_password(mesh.through_gateway(by(&tokens, change), right)).await.unwrap();
        current = new;
    }
    for _ in 0..2 {
        let (current_password, new_password) = ("wrong password".to_owned(), "another password".to_owned());
        let change = ChangePasswordRequest { current_password, new_password };
        let refused = mesh.auth.change_password(mesh.through_gateway(by(&tokens, change), wrong)).await.unwrap_err();
        assert_eq!(reason(&refused), "BAD_CREDENTIALS");
    }
    for (address, left) in [(right, 5), (wrong, 3)] {
        for _ in 0..left {
            assert_eq!(guess(&mut mesh, address).await, "BAD_CREDENTIALS", "{address}");
        }
        assert_eq!(guess(&mut mesh, address).await, "RATE_LIMITED", "{address}");
    }
}
