//! Sign-up across two services, interrupted at each step.

use std::time::{Duration, Instant};

use auth::domain::{AccountId, EmailAddress, State};
use kit::config::Span;
use proto::auth::v1::SignUpRequest;
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use tonic::Code;
use users::domain::UserId;

use crate::{
    database::{execute, jobs},
    databases::Database,
    mesh::{Mesh, PASSWORD, reason, sign_in, sign_up},
    messaging::Messaging,
};

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_without_users_fails_and_a_repeat_resumes_it() {
    let mut mesh = Mesh::start().await;
    mesh.stop_users().await;
    let refused = mesh.auth.sign_up(sign_up("ada")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    let email = EmailAddress::parse("ada@example.org").unwrap();
    let half = mesh.store.find_by_email(&email).await.unwrap().unwrap();
    assert_eq!(half.state, State::Pending);
    // A pending account cannot sign in.
    let refused = mesh.auth.sign_in(sign_in("ada", PASSWORD)).await.unwrap_err();
    assert_eq!(reason(&refused), "BAD_CREDENTIALS");
    mesh.restart_users().await;
    let tokens = mesh.auth.sign_up(sign_up("ada")).await.unwrap().into_inner().tokens.unwrap();
    assert_eq!(tokens.user_id, half.id.0.to_string(), "the repeat resumes the same account");
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_times_out_if_users_does_not_respond() {
    let timeout = Duration::from_millis(300);
    let mut mesh = Mesh::with(auth::Config { users_timeout: Span(timeout), ..auth::Config::default() }).await;
    let silent = mesh.silence_users().await;
    let started = Instant::now();
    let refused = mesh.auth.sign_up(sign_up("ada")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    // The pending account can be resumed, but cannot sign in.
    let half = mesh.store.find_by_email(&EmailAddress::parse("ada@example.org").unwrap()).await.unwrap().unwrap();
    assert_eq!(half.state, State::Pending);
    assert_eq!(reason(&mesh.signed_in("ada", PASSWORD).await.unwrap_err()), "BAD_CREDENTIALS");
    drop(silent);
    mesh.restart_users().await;
    assert_eq!(mesh.signed_up("ada").await.user_id, half.id.0.to_string());
    mesh.signed_in("ada", PASSWORD).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_while_users_is_locked_gets_the_reason() {
    let mut mesh = Mesh::start().await;
    let mut other = SqliteConnection::connect(mesh.users_file().to_str().unwrap()).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let refused = mesh.auth.sign_up(sign_up("ada")).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "LOCKED"));
    assert!(refused.metadata().contains_key("grpc-retry-pushback-ms"));
    other.execute("ROLLBACK").await.unwrap();
    mesh.signed_up("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_interrupted_before_its_last_step_is_resumed() {
    let mut mesh = Mesh::start().await;
    let first = mesh.signed_up("ada").await;
    // The state after a crash between the two last steps: a profile, and an account that is not activated.
    mesh.kill_auth();
    execute(&mesh.location(), "DELETE FROM sessions").await;
    execute(&mesh.location(), "UPDATE accounts SET state = 'pending'").await;
    mesh.start_auth().await;
    let mut again = sign_up("ada");
    again.handle = "ada_lovelace".to_owned();
    let second = mesh.auth.sign_up(again).await.unwrap().into_inner().tokens.unwrap();
    assert_eq!(second.user_id, first.user_id);
    assert_eq!(jobs(&mesh.location()).await, [], "a completed sign-up adds no job");
    mesh.signed_in("ada", PASSWORD).await.unwrap();
    // The handle of the first attempt is free again.
    let mut other = sign_up("ada");
    other.email = "other@example.org".to_owned();
    mesh.auth.sign_up(other).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_can_be_repeated_after_a_taken_handle() {
    let mut mesh = Mesh::start().await;
    mesh.auth.sign_up(sign_up("ada")).await.unwrap();
    let mut second = sign_up("ada");
    second.email = "other@example.org".to_owned();
    let refused = mesh.auth.sign_up(second.clone()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::AlreadyExists, "HANDLE_TAKEN"));
    second.handle = "ada_two".to_owned();
    mesh.auth.sign_up(second).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_can_be_repeated_after_a_reserved_handle() {
    let mut mesh = Mesh::start().await;
    let reserved = SignUpRequest { handle: "adm1n".to_owned(), ..sign_up("ada") };
    let refused = mesh.auth.sign_up(reserved).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "HANDLE_RESERVED"));
    let message = "handle: is reserved or looks like a reserved name; choose another";
    assert_eq!(refused.message(), message);
    mesh.auth.sign_up(sign_up("ada")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn second_sign_up_with_an_address_is_refused() {
    let mut mesh = Mesh::start().await;
    mesh.auth.sign_up(sign_up("ada")).await.unwrap();
    let mut again = sign_up("bob");
    again.email = "ADA@example.org".to_owned();
    let refused = mesh.auth.sign_up(again).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::AlreadyExists, "EMAIL_TAKEN"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_sign_up_blocks_its_address_for_ten_minutes() {
    let mut mesh = Mesh::start().await;
    mesh.stop_users().await;
    mesh.auth.sign_up(sign_up("ada")).await.unwrap_err();
    mesh.restart_users().await;
    let mut stranger = sign_up("ada");
    stranger.password = "another password".to_owned();
    let refused = mesh.auth.sign_up(stranger.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "EMAIL_TAKEN");
    mesh.clock.advance(Duration::from_secs(601));
    mesh.auth.sign_up(stranger).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn identical_concurrent_sign_ups_create_one_account() {
    let mesh = Mesh::start().await;
    let calls = (0..4).map(|_| {
        let mut auth = mesh.auth.clone();
        tokio::spawn(async move { auth.sign_up(sign_up("ada")).await })
    });
    let mut won = 0;
    for call in calls.collect::<Vec<_>>() {
        match call.await.unwrap() {
            Ok(_) => won += 1,
            Err(status) => assert!(matches!(status.code(), Code::AlreadyExists | Code::Aborted), "{status:?}"),
        }
    }
    assert_eq!(won, 1);
}

/// Two tabs or devices sign up with the same address and password and different handles.
#[tokio::test(flavor = "multi_thread")]
async fn winner_of_two_concurrent_sign_ups_has_its_handle() {
    let database = Database::postgres().await;
    let mesh = Mesh::on(&database.location, Messaging::new(0)).await;
    let users = mesh.users_store().await;
    for round in 0..30 {
        let calls = ["one", "two"].map(|which| {
            let (mut auth, handle) = (mesh.auth.clone(), format!("{which}_{round}"));
            let request = SignUpRequest { email: format!("ada{round}@example.org"), ..sign_up(&handle) };
            tokio::spawn(async move { (auth.sign_up(request).await, handle) })
        });
        let mut won = Vec::new();
        for call in calls {
            match call.await.unwrap() {
                (Ok(response), handle) => won.push((response.into_inner().tokens.unwrap().user_id, handle)),
                (Err(status), _) => {
                    assert!(matches!(status.code(), Code::AlreadyExists | Code::Aborted), "{status:?}");
                }
            }
        }
        let [(id, handle)] = &won[..] else { panic!("{} of two succeeded", won.len()) };
        let profile = users.find(UserId(id.parse().unwrap())).await.unwrap().unwrap();
        assert_eq!(&profile.handle, handle, "round {round}");
    }
    drop(mesh);
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handle_of_an_abandoned_sign_up_is_free_again() {
    let mut mesh = Mesh::start().await;
    let left = mesh.signed_up("ada").await;
    execute(&mesh.location(), "DELETE FROM refresh_tokens").await;
    execute(&mesh.location(), "DELETE FROM sessions").await;
    execute(&mesh.location(), "UPDATE accounts SET state = 'pending'").await;
    let id = AccountId(left.user_id.parse().unwrap());
    let (now, event) = (mesh.now() + Duration::from_secs(1), kit::ClockAndRng::system().new_id());
    assert!(mesh.store.abandon(id, now, now, event).await.unwrap());
    let other = SignUpRequest { email: "other@example.org".to_owned(), ..sign_up("ada") };
    for _ in 0..500 {
        match mesh.auth.clone().sign_up(mesh.on_behalf_of("192.0.2.1", other.clone())).await {
            Ok(_) => return,
            Err(status) => assert_eq!(reason(&status), "HANDLE_TAKEN"),
        }
        mesh.clock.advance(Duration::from_secs(90));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the handle was not released in time");
}
