//! Refusals that must not reveal their reason.

use std::{sync::Arc, time::Duration};

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
use auth::domain::{EmailAddress, PasswordHash};
use proto::auth::v1::{RefreshTokenRequest, SignOutRequest, Tokens};
use tonic::{Code, Status};

use crate::{
    database::execute,
    mesh::{Mesh, PASSWORD, reason, sign_in, sign_up, status_fields},
};

async fn signed_up(mesh: &mut Mesh, handle: &str) -> Tokens {
    mesh.auth.sign_up(sign_up(handle)).await.unwrap().into_inner().tokens.unwrap()
}

async fn refused(mesh: &mut Mesh, token: &str) -> Status {
    let request = RefreshTokenRequest { refresh_token: token.to_owned() };
    mesh.auth.refresh_token(request).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_password_and_unknown_address_are_refused_alike() {
    let mut mesh = Mesh::start().await;
    signed_up(&mut mesh, "ada").await;
    let mut statuses = [Vec::new(), Vec::new()];
    for (of_one, handle) in statuses.iter_mut().zip(["ada", "unknown"]) {
        for _ in 0..11 {
            let status = mesh.auth.sign_in(sign_in(handle, "wrong password")).await.unwrap_err();
            of_one.push((status_fields(&status), status.metadata().get("retry-after").cloned(), reason(&status)));
        }
    }
    assert_eq!(statuses[0], statuses[1]);
    // The last one is the limit by account, which reveals nothing either.
    let reasons: Vec<_> = statuses[0].iter().map(|(_, _, reason)| reason.as_str()).collect();
    assert_eq!((reasons[0], reasons[9], reasons[10]), ("BAD_CREDENTIALS", "BAD_CREDENTIALS", "RATE_LIMITED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn inactive_account_is_refused_like_an_unknown_one() {
    let mut mesh = Mesh::start().await;
    signed_up(&mut mesh, "ada").await;
    let unknown = status_fields(&mesh.auth.sign_in(sign_in("unknown", PASSWORD)).await.unwrap_err());
    assert_eq!(unknown.0, Code::Unauthenticated);
    for statement in [
        "UPDATE accounts SET state = 'suspended'",
        "UPDATE accounts SET state = 'deleted'",
        "UPDATE accounts SET state = 'pending'",
    ] {
        execute(&mesh.location(), statement).await;
        let status = mesh.auth.sign_in(sign_in("ada", PASSWORD)).await.unwrap_err();
        assert_eq!(status_fields(&status), unknown, "{statement}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_token_is_refused_like_an_unknown_one() {
    let mut mesh = Mesh::start().await;
    let unknown = status_fields(&refused(&mut mesh, "trr_unknown").await);
    assert_eq!(unknown.0, Code::Unauthenticated);
    let (revoked, unused) = (signed_up(&mut mesh, "ada").await, signed_up(&mut mesh, "bob").await);
    mesh.auth.sign_out(SignOutRequest { refresh_token: revoked.refresh_token.clone() }).await.unwrap();
    assert_eq!(status_fields(&refused(&mut mesh, &revoked.refresh_token).await), unknown);
    execute(&mesh.location(), "UPDATE accounts SET state = 'suspended'").await;
    assert_eq!(status_fields(&refused(&mut mesh, &unused.refresh_token).await), unknown);
    execute(&mesh.location(), "UPDATE accounts SET state = 'active'").await;
    mesh.clock.advance(Duration::from_secs(30 * 86_400));
    assert_eq!(status_fields(&refused(&mut mesh, &unused.refresh_token).await), unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn used_session_ends_after_its_maximum_lifetime() {
    let mut mesh = Mesh::start().await;
    let mut tokens = signed_up(&mut mesh, "ada").await;
    for _ in 0..6 {
        mesh.clock.advance(Duration::from_secs(29 * 86_400));
        let request = RefreshTokenRequest { refresh_token: tokens.refresh_token };
        tokens = mesh.auth.refresh_token(request).await.unwrap().into_inner().tokens.unwrap();
    }
    let left = tokens.refresh_expire_time.unwrap().seconds - mesh.now().as_secs();
    assert_eq!(left, 6 * 86_400, "of 180 days, 174 have passed");
    mesh.clock.advance(Duration::from_secs(6 * 86_400));
    assert_eq!(reason(&refused(&mut mesh, &tokens.refresh_token).await), "REFRESH_TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_of_older_parameters_is_renewed_by_signing_in() {
    let mut mesh = Mesh::start().await;
    signed_up(&mut mesh, "ada").await;
    let email = EmailAddress::parse("ada@example.org").unwrap();
    let today = mesh.store.find_by_email(&email).await.unwrap().unwrap();
    let older = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8_192, 1, 1, None).unwrap());
    let older = older.hash_password_with_salt(PASSWORD.as_bytes(), &[7; 16]).unwrap().to_string();
    mesh.store.rehash(today.id, &today.password, &PasswordHash(older.clone())).await.unwrap();
    mesh.auth.sign_in(sign_in("ada", "wrong password")).await.unwrap_err();
    assert_eq!(mesh.store.find_by_email(&email).await.unwrap().unwrap().password.0, older);
    for _ in 0..2 {
        mesh.auth.sign_in(sign_in("ada", PASSWORD)).await.unwrap();
        let renewed = mesh.store.find_by_email(&email).await.unwrap().unwrap().password.0;
        assert!(renewed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{renewed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_tabs_at_once_get_one_token() {
    let mut mesh = Mesh::start().await;
    let first = Arc::new(signed_up(&mut mesh, "ada").await);
    let calls = (0..16).map(|_| {
        let (mut auth, first) = (mesh.auth.clone(), Arc::clone(&first));
        tokio::spawn(async move {
            let request = RefreshTokenRequest { refresh_token: first.refresh_token.clone() };
            auth.refresh_token(request).await.unwrap().into_inner().tokens.unwrap().refresh_token
        })
    });
    let mut given = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        given.push(call.await.unwrap());
    }
    given.dedup();
    assert_eq!(given.len(), 1);
    let request = RefreshTokenRequest { refresh_token: given[0].clone() };
    mesh.auth.refresh_token(request).await.unwrap();
}
