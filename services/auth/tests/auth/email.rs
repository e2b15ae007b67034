//! The address of an account: verified by its owner, and no obstacle for the owner while it is not.

use std::{sync::Arc, time::Duration};

use auth::domain::State;
use kit_data::store::Location;
use proto::auth::v1::{
    ChangeEmailRequest, ChangePasswordRequest, ConfirmEmailChangeRequest, GetEmailRequest, GetEmailResponse,
    ListSessionsRequest, RefreshTokenRequest, ReleaseEmailRequest, RequestEmailVerificationRequest, SignInRequest,
    SignUpRequest, Tokens, UndoEmailChangeRequest, VerifyEmailRequest,
};
use tonic::{Code, Request, Status};

use crate::{
    audit::list,
    databases::on_both,
    mail::{NEW, link_to, mailing, newest_mail, request_reset, reset, token_in},
    mesh::{Mesh, PASSWORD, by, eventually, reason, sign_in, sign_up},
};

on_both!(
    address_is_verified_by_a_link_once,
    unverified_account_does_not_keep_the_owner_out,
    verified_address_is_not_released,
    one_of_many_parallel_sign_ups_gets_the_address,
    changed_address_is_confirmed_and_undone,
    owner_takes_the_address_of_an_unverified_account,
    notices_go_to_verified_addresses_only,
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
    let owners = || Request::new(SignUpRequest { handle: "ada_l".to_owned(), ..sign_up("ada") });
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
        let request = SignInRequest { email: placeholder, password: PASSWORD.to_owned(), refresh_delivery: 0 };
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

async fn change(mesh: &mut Mesh, tokens: &Tokens, new: &str, password: &str) -> Result<(), Status> {
    let request = ChangeEmailRequest { new_email: new.to_owned(), password: password.to_owned() };
    mesh.auth.change_email(by(tokens, request)).await.map(drop)
}

async fn confirm(mesh: &mut Mesh, token: &str) -> Result<(), Status> {
    mesh.auth.confirm_email_change(ConfirmEmailChangeRequest { token: token.to_owned() }).await.map(drop)
}

async fn undo(mesh: &mut Mesh, token: &str) -> Result<(), Status> {
    mesh.auth.undo_email_change(UndoEmailChangeRequest { token: token.to_owned() }).await.map(drop)
}

/// Signs a user up who verifies the address at once.
async fn verified(mesh: &mut Mesh, handle: &str) -> Tokens {
    let tokens = mesh.signed_up(handle).await;
    let link = token_in(&newest_mail(mesh, handle, 1).await, "verify-email");
    verify(mesh, &link).await.unwrap();
    mesh.clock.advance(Duration::from_secs(1));
    tokens
}

async fn signs_in(mesh: &mut Mesh, handle: &str) -> bool {
    mesh.signed_in(handle, PASSWORD).await.is_ok()
}

async fn changed_address_is_confirmed_and_undone(location: &Location) {
    let mut mesh = Mesh::mailing_on(location, mailing()).await;
    let tokens = verified(&mut mesh, "ada").await;
    for (new, password, why) in [
        ("eve@example.org", "wrong password", "BAD_CREDENTIALS"),
        ("ADA@example.org", PASSWORD, "EMAIL_UNCHANGED"),
        ("no address@", PASSWORD, "EMAIL_INVALID"),
    ] {
        let refused = change(&mut mesh, &tokens, new, password).await.unwrap_err();
        assert_eq!(reason(&refused), why);
        assert!(why != "BAD_CREDENTIALS" || refused.message() == "the password is wrong", "{}", refused.message());
    }
    change(&mut mesh, &tokens, "eve@example.org", PASSWORD).await.unwrap();
    let notice = newest_mail(&mesh, "ada", 2).await;
    assert!(notice.text.contains("e***@example.org") && !notice.text.contains("eve@"), "{}", notice.text);
    let link = token_in(&newest_mail(&mesh, "eve", 1).await, "confirm-email");
    assert!(signs_in(&mut mesh, "ada").await, "nothing has changed yet");
    mesh.clock.advance(Duration::from_secs(1));
    confirm(&mut mesh, &link).await.unwrap();
    assert_eq!(reason(&confirm(&mut mesh, &link).await.unwrap_err()), "LINK_INVALID");
    assert_eq!(email(&mut mesh, &tokens).await.email, "eve@example.org");
    assert!(signs_in(&mut mesh, "eve").await && !signs_in(&mut mesh, "ada").await);

    // Eve has taken the account over, and tries to get rid of the link that undoes it.
    let undoing = token_in(&newest_mail(&mesh, "ada", 3).await, "undo-email-change");
    request_reset(&mut mesh, "eve@example.org").await.unwrap();
    mesh.clock.advance(Duration::from_secs(1));
    let link = link_to(&mesh, "eve", "reset-password").await;
    reset(&mut mesh, &link, NEW).await.unwrap();
    undo(&mut mesh, &undoing).await.unwrap();
    assert_eq!(reason(&undo(&mut mesh, &undoing).await.unwrap_err()), "LINK_INVALID");
    for handle in ["ada", "eve"] {
        for password in [PASSWORD, NEW, ""] {
            assert!(mesh.signed_in(handle, password).await.is_err(), "the password is deleted");
        }
    }
    let refused = mesh.auth.get_email(by(&tokens, GetEmailRequest {})).await.unwrap_err();
    assert_eq!(reason(&refused), "SESSION_REVOKED");
    let link = link_to(&mesh, "ada", "reset-password").await;
    reset(&mut mesh, &link, "the third good password").await.unwrap();
    mesh.signed_in("ada", "the third good password").await.unwrap();
}

async fn owner_takes_the_address_of_an_unverified_account(location: &Location) {
    let mut mesh = Mesh::mailing_on(location, mailing()).await;
    let (ada, squatter) = (verified(&mut mesh, "ada").await, mesh.signed_up("eve").await);
    verified(&mut mesh, "bob").await;
    for new in ["eve@example.org", "bob@example.org"] {
        change(&mut mesh, &ada, new, PASSWORD).await.unwrap();
    }
    let link = link_to(&mesh, "bob", "confirm-email").await;
    let taken = confirm(&mut mesh, &link).await.unwrap_err();
    assert_eq!((taken.code(), reason(&taken).as_str()), (Code::AlreadyExists, "EMAIL_TAKEN"));
    let link = link_to(&mesh, "eve", "confirm-email").await;
    request_reset(&mut mesh, "eve@example.org").await.unwrap();
    let reset_link = link_to(&mesh, "eve", "reset-password").await;
    confirm(&mut mesh, &link).await.unwrap();
    assert_eq!(mesh.signed_in("eve", PASSWORD).await.unwrap().user_id, ada.user_id);
    assert_eq!(email(&mut mesh, &squatter).await.email, "");
    assert_eq!(reason(&reset(&mut mesh, &reset_link, NEW).await.unwrap_err()), "LINK_INVALID");
    let mut changed: Vec<_> = list(location, "code = OK action:ConfirmEmailChange")
        .await
        .into_iter()
        .map(|record| (record.facts.target, record.facts.person))
        .collect();
    changed.sort();
    let mut expected =
        [(format!("users/{}", ada.user_id), ada.user_id.parse().ok()), (format!("users/{}", squatter.user_id), None)];
    expected.sort();
    assert_eq!(changed, expected, "the loss of the address is recorded too");
    // It can state another address.
    change(&mut mesh, &squatter, "mallory@example.org", PASSWORD).await.unwrap();
    let link = link_to(&mesh, "mallory", "confirm-email").await;
    confirm(&mut mesh, &link).await.unwrap();
    assert_eq!(mesh.signed_in("mallory", PASSWORD).await.unwrap().user_id, squatter.user_id);
}

async fn notices_go_to_verified_addresses_only(location: &Location) {
    let mut mesh = Mesh::mailing_on(location, mailing()).await;
    let (tokens, bobs) = (verified(&mut mesh, "ada").await, mesh.signed_up("bob").await);
    newest_mail(&mesh, "bob", 1).await;
    let subjects = async |mesh: &Mesh, handle: &str| {
        let recipient = format!("{handle}@example.org");
        let mails = mesh.store.list_mailbox(100).await.unwrap().into_iter();
        mails.filter(|mail| mail.recipient == recipient).map(|mail| mail.subject).collect::<Vec<_>>()
    };
    // From another network: the tests' own has no address.
    for handle in ["ada", "bob"] {
        let request = mesh.on_behalf_of("192.0.2.7", sign_in(handle, PASSWORD));
        mesh.auth.sign_in(request).await.unwrap();
        let request = mesh.on_behalf_of("192.0.2.7", sign_in(handle, PASSWORD));
        mesh.auth.sign_in(request).await.unwrap();
    }
    let until = async |mesh: &Mesh, subject: &str| {
        eventually(subject, async || subjects(mesh, "ada").await.iter().any(|mail| mail == subject)).await;
    };
    until(&mesh, "New sign-in to your account").await;
    for tokens in [&tokens, &bobs] {
        let request = |token: &str| RefreshTokenRequest { refresh_token: token.to_owned() };
        let first = tokens.refresh_token.clone();
        let second = mesh.auth.refresh_token(request(&first)).await.unwrap().into_inner().tokens.unwrap();
        mesh.auth.refresh_token(request(&second.refresh_token)).await.unwrap();
        for _ in 0..2 {
            mesh.auth.refresh_token(request(&first)).await.unwrap_err();
        }
    }
    until(&mesh, "A session of your account was ended").await;
    let tokens = mesh.signed_in("ada", PASSWORD).await.unwrap();
    let change = ChangePasswordRequest { current_password: PASSWORD.to_owned(), new_password: NEW.to_owned() };
    mesh.auth.change_password(by(&tokens, change)).await.unwrap();
    until(&mesh, "Your password was changed").await;
    let mut all = subjects(&mesh, "ada").await;
    all.sort();
    let expected = [
        "A session of your account was ended",
        "New sign-in to your account",
        "Verify your e-mail address",
        "Your password was changed",
    ];
    assert_eq!(all, expected, "one mail for each event");
    assert_eq!(subjects(&mesh, "bob").await, ["Verify your e-mail address"]);
}

/// The address of the account may be that of another person, who must not get any number of notices.
#[tokio::test(flavor = "multi_thread")]
async fn notices_to_an_unverified_address_are_limited() {
    let mut mesh = Mesh::with(mailing()).await;
    let (stranger, ada) = (mesh.signed_up("eve").await, verified(&mut mesh, "ada").await);
    for n in 0..5 {
        change(&mut mesh, &stranger, &format!("new{n}@example.org"), PASSWORD).await.unwrap();
    }
    let refused = change(&mut mesh, &stranger, "new5@example.org", PASSWORD).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "RATE_LIMITED"));
    // The owner of a verified address gets each notice.
    for n in 0..6 {
        change(&mut mesh, &ada, &format!("other{n}@example.org"), PASSWORD).await.unwrap();
    }
}
