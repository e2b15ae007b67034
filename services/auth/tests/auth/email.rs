//! The address of an account: verified by its owner, and no obstacle for the owner while it is not.

use std::{sync::Arc, time::Duration};

use auth::domain::State;
use kit_data::store::Location;
use proto::auth::v1::{
    GetEmailRequest, GetEmailResponse, ListSessionsRequest, ReleaseEmailRequest, RequestEmailVerificationRequest, Tokens,
    VerifyEmailRequest,
};
use tonic::{Code, Request, Status};

use crate::{
    databases::on_both,
    mail::{NEW, mailing, newest_mail, request_reset, reset, token_in},
    mesh::{Mesh, PASSWORD, by, eventually, reason, sign_up},
};

on_both!(
    address_is_verified_by_a_link_once,
    unverified_account_does_not_keep_the_owner_out,
    verified_address_is_not_released,
    one_of_many_parallel_sign_ups_gets_the_address,
);

async fn email(mesh: &mut Mesh, tokens: &Tokens) -> GetEmailResponse {
    mesh.auth.get_email(by(tokens, GetEmailRequest {})).await.unwrap().into_inner()
}

async fn verify(mesh: &mut Mesh, token: &str) -> Result<(), Status> {
    mesh.auth.verify_email(VerifyEmailRequest { token: token.to_owned() }).await.map(drop)
}

async fn release(mesh: &mut Mesh, token: &str) -> Result<(), Status> {
    mesh.auth.release_email(ReleaseEmailRequest { token: token.to_owned() }).await.map(drop)
}

async fn ask(mesh: &mut Mesh, tokens: &Tokens) -> Result<(), Status> {
    mesh.auth.request_email_verification(by(tokens, RequestEmailVerificationRequest {})).await.map(drop)
}

async fn address_is_verified_by_a_link_once(location: &Location) {
    let mut mesh = Mesh::mailing_on(location, mailing()).await;
    let tokens = mesh.signed_up("ada").await;
    let shown = email(&mut mesh, &tokens).await;
    assert_eq!((shown.email.as_str(), shown.verify_time), ("ada@example.org", None));
    let first = token_in(&newest_mail(&mesh, "ada", 1).await, "verify-email");
    mesh.clock.advance(Duration::from_secs(1));
    ask(&mut mesh, &tokens).await.unwrap();
    let second = token_in(&newest_mail(&mesh, "ada", 2).await, "verify-email");
    assert_eq!(reason(&reset(&mut mesh, &first, NEW).await.unwrap_err()), "LINK_INVALID", "it is for another purpose");
    verify(&mut mesh, &second).await.unwrap();
    assert_eq!(reason(&verify(&mut mesh, &second).await.unwrap_err()), "LINK_INVALID");
    verify(&mut mesh, &first).await.unwrap();
    assert!(email(&mut mesh, &tokens).await.verify_time.is_some());
    let refused = ask(&mut mesh, &tokens).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "EMAIL_VERIFIED"));
}

/// A stranger has signed up with the address of its owner.
async fn unverified_account_does_not_keep_the_owner_out(location: &Location) {
    let mut mesh = Mesh::mailing_on(location, mailing()).await;
    let strangers = mesh.signed_up("ada").await;
    let mail = newest_mail(&mesh, "ada", 1).await;
    let owners = || Request::new(proto::auth::v1::SignUpRequest { handle: "ada_l".to_owned(), ..sign_up("ada") });
    assert_eq!(reason(&mesh.auth.sign_up(owners()).await.unwrap_err()), "EMAIL_TAKEN");

    release(&mut mesh, &token_in(&mail, "verify-email")).await.unwrap();
    let again = release(&mut mesh, &token_in(&mail, "verify-email")).await.unwrap_err();
    assert_eq!(reason(&again), "LINK_INVALID");
    assert_eq!(reason(&mesh.signed_in("ada", PASSWORD).await.unwrap_err()), "BAD_CREDENTIALS");
    let tokens = mesh.auth.sign_up(owners()).await.unwrap().into_inner().tokens.unwrap();
    assert_ne!(tokens.user_id, strangers.user_id);
    assert_eq!(mesh.signed_in("ada", PASSWORD).await.unwrap().user_id, tokens.user_id);
    // The stranger's account is as it was, without an address.
    assert_eq!(email(&mut mesh, &strangers).await, GetEmailResponse::default());
    assert_eq!(reason(&ask(&mut mesh, &strangers).await.unwrap_err()), "EMAIL_MISSING");
    mesh.auth.list_sessions(by(&strangers, ListSessionsRequest::default())).await.unwrap();
    for typed in ["released", "deleted"] {
        let placeholder = format!("{typed}:{}", strangers.user_id);
        let request = proto::auth::v1::SignInRequest { email: placeholder, password: PASSWORD.to_owned(), refresh_delivery: 0 };
        assert_eq!(reason(&mesh.auth.sign_in(request).await.unwrap_err()), "BAD_CREDENTIALS");
    }
    // Without a session it is of no use to anyone, and is deleted.
    let account = auth::domain::AccountId(strangers.user_id.parse().unwrap());
    assert_eq!(mesh.store.list_unreachable(9).await.unwrap(), []);
    mesh.store.revoke_all(account, None, mesh.now()).await.unwrap();
    mesh.clock.advance(Duration::from_secs(2 * 24 * 3_600));
    eventually("the account is deleted", async || {
        mesh.store.find(account).await.unwrap().unwrap().state == State::Deleted
    })
    .await;
}

async fn verified_address_is_not_released(location: &Location) {
    let mut mesh = Mesh::mailing_on(location, mailing()).await;
    let tokens = mesh.signed_up("ada").await;
    let link = token_in(&newest_mail(&mesh, "ada", 1).await, "verify-email");
    mesh.clock.advance(Duration::from_secs(1));
    request_reset(&mut mesh, "ada@example.org").await.unwrap();
    let other = token_in(&newest_mail(&mesh, "ada", 2).await, "reset-password");
    verify(&mut mesh, &link).await.unwrap();
    let refused = release(&mut mesh, &other).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "EMAIL_VERIFIED"));
    assert_eq!(email(&mut mesh, &tokens).await.email, "ada@example.org");
    reset(&mut mesh, &other, NEW).await.unwrap();
}

/// Without the hash of a password, which would take half a minute.
async fn one_of_many_parallel_sign_ups_gets_the_address(location: &Location) {
    let store = crate::store::open(location).await;
    let inserts: Vec<_> = (0..1_000)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.insert(&crate::store::pending("ada@example.org")).await.is_ok() })
        })
        .collect();
    let mut accounts = 0;
    for insert in inserts {
        accounts += u32::from(insert.await.unwrap());
    }
    assert_eq!(accounts, 1);
}
