//! Deletion of accounts: at once in auth, and eventually in all services, despite failures in between.

use std::{sync::Arc, time::Duration};

use auth::{
    AuthStore,
    domain::{EmailAddress, Page, State},
    store::Refreshed,
};
use kit_data::store::Location;
use proto::auth::v1::{DeleteAccountRequest, ListSessionsRequest, RefreshTokenRequest, Tokens};
use tonic::{Code, Status};
use users::domain::{State as ProfileState, UserId};

use crate::{
    database::jobs,
    databases::on_both,
    mesh::{Mesh, PASSWORD, by, eventually, reason, sign_up},
    messaging::{Fault, Messaging},
    store::{active, at, id, open, pending, refresh, session, successor, token},
};

on_both!(
    deletion_reaches_all_services,
    deletion_continues_after_auth_ends_while_users_is_down,
    deletion_continues_after_auth_ends_between_the_services,
    deletion_continues_after_auth_ends_before_the_second_step,
    deletion_continues_after_auth_ends_after_the_second_step,
    deletion_continues_after_auth_ends_after_the_last_step,
    failed_step_is_retried,
    deleted_account_keeps_no_data_and_frees_its_address,
    no_session_survives_a_deletion,
);

/// Longer than the lease of a job.
const LEASE: Duration = Duration::from_secs(31);

async fn delete(mesh: &mut Mesh, tokens: &Tokens, password: &str) -> Result<(), Status> {
    let message = DeleteAccountRequest { password: password.to_owned() };
    mesh.auth.delete_account(by(tokens, message)).await.map(|_| ())
}

/// A mesh with the account `ada`, a member of three conversations.
async fn mesh_of_ada(location: &Location) -> (Mesh, Tokens) {
    let mut mesh = Mesh::on(location, Messaging::new(3)).await;
    let tokens = mesh.signed_up("ada").await;
    settled(&mesh).await;
    (mesh, tokens)
}

async fn settled(mesh: &Mesh) {
    eventually("no job", async || jobs(&mesh.location()).await.is_empty()).await;
}

async fn profile_state(mesh: &Mesh, tokens: &Tokens) -> ProfileState {
    let id = UserId(tokens.user_id.parse().unwrap());
    mesh.users_store().await.find(id).await.unwrap().unwrap().state
}

/// Asserts that all data of the account is deleted and no job is left.
async fn assert_gone(mesh: &Mesh, tokens: &Tokens) {
    settled(mesh).await;
    assert_eq!(profile_state(mesh, tokens).await, ProfileState::Deleted);
    assert_eq!(mesh.messaging.left(), (0, Some(tokens.user_id.clone())));
}

/// Starts auth again after the lease of its job has expired.
async fn restart_auth(mesh: &mut Mesh) {
    mesh.messaging.breaks(None);
    mesh.clock.advance(LEASE);
    mesh.start_auth().await;
}

async fn deletion_reaches_all_services(location: &Location) {
    let (mut mesh, tokens) = mesh_of_ada(location).await;
    let other = mesh.signed_in("ada", PASSWORD).await.unwrap();
    delete(&mut mesh, &tokens, PASSWORD).await.unwrap();
    assert_eq!(reason(&mesh.signed_in("ada", PASSWORD).await.unwrap_err()), "BAD_CREDENTIALS");
    for tokens in [&tokens, &other] {
        let request = RefreshTokenRequest { refresh_token: tokens.refresh_token.clone() };
        assert_eq!(reason(&mesh.auth.refresh_token(request).await.unwrap_err()), "REFRESH_TOKEN_INVALID");
        let session = tokens.session_id.parse().unwrap();
        tokio::time::timeout(Duration::from_secs(5), mesh.keys.revoked(session)).await.unwrap();
        let refused = mesh.auth.list_sessions(by(tokens, ListSessionsRequest::default())).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "SESSION_REVOKED"));
    }
    assert_gone(&mesh, &tokens).await;
    assert_eq!(mesh.messaging.calls(), 3);

    // The address is free; the handle is not.
    let refused = mesh.auth.sign_up(sign_up("ada")).await.unwrap_err();
    assert_eq!(reason(&refused), "HANDLE_TAKEN");
    let mut anew = sign_up("ada");
    anew.handle = "ada_again".to_owned();
    let anew = mesh.auth.sign_up(anew).await.unwrap().into_inner().tokens.unwrap();
    assert_ne!(anew.user_id, tokens.user_id);
    mesh.signed_in("ada", PASSWORD).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_deletes_nothing_and_counts_as_an_attempt() {
    let mut mesh = Mesh::start().await;
    let tokens = mesh.signed_up("ada").await;
    for _ in 0..10 {
        let refused = delete(&mut mesh, &tokens, "wrong password").await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "BAD_CREDENTIALS"));
    }
    assert_eq!(reason(&delete(&mut mesh, &tokens, PASSWORD).await.unwrap_err()), "RATE_LIMITED");
    mesh.clock.advance(Duration::from_secs(15 * 60 - 1));
    mesh.signed_in("ada", PASSWORD).await.unwrap();
}

async fn deletion_continues_after_auth_ends_while_users_is_down(location: &Location) {
    let (mut mesh, tokens) = mesh_of_ada(location).await;
    mesh.stop_users().await;
    delete(&mut mesh, &tokens, PASSWORD).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    mesh.kill_auth();
    assert_eq!((mesh.messaging.calls(), jobs(&mesh.location()).await.len()), (0, 1));
    assert_eq!(profile_state(&mesh, &tokens).await, ProfileState::Active);
    mesh.restart_users().await;
    restart_auth(&mut mesh).await;
    assert_gone(&mesh, &tokens).await;
}

/// Ends auth during the given call to messaging, starts it again, and checks that the deletion completes.
async fn interrupted(location: &Location, call: u32, fault: Fault, left: u32) {
    let (mut mesh, tokens) = mesh_of_ada(location).await;
    mesh.messaging.breaks(Some((call, fault)));
    delete(&mut mesh, &tokens, PASSWORD).await.unwrap();
    mesh.messaging.called(call).await;
    mesh.kill_auth();
    assert_eq!((mesh.messaging.left().0, jobs(&mesh.location()).await.len()), (left, 1));
    assert_eq!(profile_state(&mesh, &tokens).await, ProfileState::Deleted);
    restart_auth(&mut mesh).await;
    assert_gone(&mesh, &tokens).await;
    assert_eq!(reason(&mesh.signed_in("ada", PASSWORD).await.unwrap_err()), "BAD_CREDENTIALS");
}

async fn deletion_continues_after_auth_ends_between_the_services(location: &Location) {
    interrupted(location, 1, Fault::EndsBefore, 3).await;
}

async fn deletion_continues_after_auth_ends_before_the_second_step(location: &Location) {
    interrupted(location, 2, Fault::EndsBefore, 2).await;
}

async fn deletion_continues_after_auth_ends_after_the_second_step(location: &Location) {
    interrupted(location, 2, Fault::EndsAfter, 1).await;
}

/// All steps are done but the job is not removed: a repeat of all steps succeeds.
async fn deletion_continues_after_auth_ends_after_the_last_step(location: &Location) {
    interrupted(location, 3, Fault::EndsAfter, 0).await;
}

async fn failed_step_is_retried(location: &Location) {
    let (mut mesh, tokens) = mesh_of_ada(location).await;
    mesh.messaging.breaks(Some((2, Fault::Fails)));
    delete(&mut mesh, &tokens, PASSWORD).await.unwrap();
    mesh.messaging.called(2).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(mesh.messaging.calls(), 2, "no retry before the backoff has passed");
    mesh.clock.advance(Duration::from_secs(1));
    assert_gone(&mesh, &tokens).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn abandoned_sign_up_deletes_its_profile() {
    let mut mesh = Mesh::start().await;
    let abandoned = pending("ada@example.org");
    mesh.store.insert(&abandoned).await.unwrap();
    assert!(mesh.store.abandon(abandoned.id, at(1), mesh.now(), id()).await.unwrap());
    settled(&mesh).await;
    let profile = mesh.users_store().await.find(UserId(abandoned.id.0)).await.unwrap().unwrap();
    assert_eq!(profile.state, ProfileState::Deleted, "the job creates a tombstone");
    mesh.signed_up("ada").await;
}

async fn sessions(store: &dyn AuthStore, account: auth::domain::AccountId) -> usize {
    let page = Page::parse(0, "", account).unwrap();
    store.list_sessions(account, &page, at(1)).await.unwrap().len()
}

async fn deleted_account_keeps_no_data_and_frees_its_address(location: &Location) {
    let store = open(location).await;
    let (ada, first) = active(&*store, "ada@example.org").await;
    let second = session(&ada, &token());
    assert!(store.open_session(&second).await.unwrap());
    let ended = store.delete_account(&ada, second.id, at(1), id()).await.unwrap().ended().unwrap();
    assert!(ended.len() == 2 && ended.contains(&second.id));
    assert_eq!(store.delete_account(&ada, second.id, at(2), id()).await.unwrap().ended(), None);
    assert_eq!(store.find_by_email(&ada.email).await.unwrap(), None);
    let left = store.find(ada.id).await.unwrap().unwrap();
    assert_eq!((left.state, left.password.0.as_str()), (State::Deleted, ""));
    assert_eq!(left.email, EmailAddress::deleted(ada.id));
    for token in [&first, &second.token] {
        assert_eq!(refresh(&*store, token, &successor(), 2).await, Refreshed::Refused);
    }
    assert_eq!(store.change_password(&left, &ada.password, second.id, None, at(2)).await.unwrap(), None);
    assert!(!store.open_session(&session(&left, &token())).await.unwrap());
    active(&*store, "ada@example.org").await;
    assert_eq!(jobs(location).await.len(), 1, "one job is stored");
}

async fn no_session_survives_a_deletion(location: &Location) {
    let store = open(location).await;
    for round in 0..10 {
        let (ada, first) = active(&*store, &format!("ada{round}@example.org")).await;
        let page = Page::parse(0, "", ada.id).unwrap();
        let caller = store.list_sessions(ada.id, &page, at(1)).await.unwrap()[0].id;
        let (opener, refresher, account) = (Arc::clone(&store), Arc::clone(&store), ada.clone());
        let opening = tokio::spawn(async move {
            for _ in 0..8 {
                opener.open_session(&session(&account, &token())).await.unwrap();
            }
        });
        let refreshing = tokio::spawn(async move {
            let mut presented = first;
            for _ in 0..8 {
                let next = successor();
                match refresh(&*refresher, &presented, &next, 1).await {
                    Refreshed::Rotated(_) => presented = next.hash,
                    other => return assert_eq!(other, Refreshed::Refused),
                }
            }
        });
        store.delete_account(&ada, caller, at(1), id()).await.unwrap().ended().unwrap();
        opening.await.unwrap();
        refreshing.await.unwrap();
        assert_eq!(sessions(&*store, ada.id).await, 0);
    }
}
