//! Changes of passwords.

use std::{sync::Arc, time::Duration};

use auth::{
    domain::{Account, Page, PasswordHash, State},
    store::Refreshed,
};
use kit_data::store::Location;
use proto::auth::v1::{ChangePasswordRequest, ListSessionsRequest, RefreshTokenRequest, Tokens};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    databases::{Database, on_both},
    locks_support::Holder,
    mesh::{Mesh, PASSWORD, by, reason},
    store::{active, at, open, refresh, session, successor, token},
};

on_both!(
    change_ends_other_sessions_and_needs_the_latest_password,
    one_of_eight_concurrent_changes_succeeds,
    no_session_of_the_old_password_survives_a_change,
);

const NEW: &str = "another good password";

async fn change(mesh: &mut Mesh, tokens: &Tokens, current: &str, new: &str) -> Result<(), Status> {
    let message = ChangePasswordRequest { current_password: current.to_owned(), new_password: new.to_owned() };
    mesh.auth.change_password(by(tokens, message)).await.map(|_| ())
}

async fn is_refreshed(mesh: &mut Mesh, tokens: &Tokens) -> Result<Tokens, Status> {
    let request = RefreshTokenRequest { refresh_token: tokens.refresh_token.clone() };
    mesh.auth.refresh_token(request).await.map(|response| response.into_inner().tokens.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn password_change_ends_all_other_sessions() {
    let mut mesh = Mesh::start().await;
    let (mine, bobs) = (mesh.signed_up("ada").await, mesh.signed_up("bob").await);
    let other = mesh.signed_in("ada", PASSWORD).await.unwrap();
    change(&mut mesh, &mine, PASSWORD, NEW).await.unwrap();

    let session = other.session_id.parse().unwrap();
    tokio::time::timeout(Duration::from_secs(5), mesh.keys.revoked(session)).await.unwrap();
    let refused = mesh.auth.list_sessions(by(&other, ListSessionsRequest::default())).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "SESSION_REVOKED"));
    assert_eq!(reason(&is_refreshed(&mut mesh, &other).await.unwrap_err()), "REFRESH_TOKEN_INVALID");

    let mine = is_refreshed(&mut mesh, &mine).await.unwrap();
    let sessions = mesh.auth.list_sessions(by(&mine, ListSessionsRequest::default())).await.unwrap().into_inner();
    assert_eq!(sessions.sessions.len(), 1);
    is_refreshed(&mut mesh, &bobs).await.unwrap();
    assert_eq!(reason(&mesh.signed_in("ada", PASSWORD).await.unwrap_err()), "BAD_CREDENTIALS");
    mesh.signed_in("ada", NEW).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_same_or_short_password_changes_nothing() {
    let mut mesh = Mesh::start().await;
    let tokens = mesh.signed_up("ada").await;
    let refused = change(&mut mesh, &tokens, "wrong password", NEW).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "BAD_CREDENTIALS"));
    for new in [PASSWORD, "short", "password", "ADA ada@example.org"] {
        let refused = change(&mut mesh, &tokens, PASSWORD, new).await.unwrap_err();
        let details = refused.get_error_details();
        let fields: Vec<_> = details.bad_request().unwrap().field_violations.iter().map(|v| v.field.clone()).collect();
        assert_eq!((refused.code(), fields), (Code::InvalidArgument, vec!["new_password".to_owned()]), "{new}");
    }
    is_refreshed(&mut mesh, &tokens).await.unwrap();
    mesh.signed_in("ada", PASSWORD).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_count_as_attempts_to_sign_in() {
    let mut mesh = Mesh::start().await;
    let tokens = mesh.signed_up("ada").await;
    for _ in 0..10 {
        let refused = change(&mut mesh, &tokens, "wrong password", NEW).await.unwrap_err();
        assert_eq!(reason(&refused), "BAD_CREDENTIALS");
    }
    let refused = change(&mut mesh, &tokens, PASSWORD, NEW).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "RATE_LIMITED"));
    assert_eq!(reason(&mesh.signed_in("ada", PASSWORD).await.unwrap_err()), "RATE_LIMITED");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_concurrent_password_changes_succeeds() {
    let mut mesh = Mesh::start().await;
    let first = mesh.signed_up("ada").await;
    let second = mesh.signed_in("ada", PASSWORD).await.unwrap();
    let calls = [(first, "the first new password"), (second, "the second new password")].map(|(tokens, new)| {
        let mut auth = mesh.auth.clone();
        tokio::spawn(async move {
            let (current_password, new_password) = (PASSWORD.to_owned(), new.to_owned());
            let message = ChangePasswordRequest { current_password, new_password };
            (auth.change_password(by(&tokens, message)).await, tokens, new)
        })
    });
    let (mut won, mut lost) = (Vec::new(), Vec::new());
    for call in calls {
        let (response, tokens, new) = call.await.unwrap();
        match response {
            Ok(_) => won.push((tokens, new)),
            Err(status) => lost.push((tokens, new, reason(&status))),
        }
    }
    let [(winner, its)] = &won[..] else { panic!("{} succeeded", won.len()) };
    let [(loser, others, why)] = &lost[..] else { panic!("{} failed", lost.len()) };
    // The timing decides whether its password or its session is refused.
    assert!(["BAD_CREDENTIALS", "SESSION_REVOKED"].contains(&why.as_str()), "{why}");
    is_refreshed(&mut mesh, winner).await.unwrap();
    is_refreshed(&mut mesh, loser).await.unwrap_err();
    mesh.signed_in("ada", its).await.unwrap();
    mesh.signed_in("ada", others).await.unwrap_err();
}

fn hash(text: &str) -> PasswordHash {
    PasswordHash(text.to_owned())
}

async fn change_ends_other_sessions_and_needs_the_latest_password(location: &Location) {
    let store = open(location).await;
    let (ada, first) = active(&*store, "ada@example.org").await;
    let (kept, other) = (session(&ada, &token()), session(&ada, &token()));
    for session in [&kept, &other] {
        assert!(store.open_session(session).await.unwrap());
    }
    let found = store.find(ada.id).await.unwrap().unwrap();
    let ended = store.change_password(&found, &hash("new"), kept.id, None, at(1)).await.unwrap().unwrap();
    assert!(ended.len() == 2 && ended.contains(&other.id) && !ended.contains(&kept.id));
    assert!(matches!(refresh(&*store, &kept.token, &successor(), 2).await, Refreshed::Rotated(_)));
    for token in [&first, &other.token] {
        assert_eq!(refresh(&*store, token, &successor(), 2).await, Refreshed::Refused);
    }
    // Calls that verified the old password are refused.
    assert_eq!(store.change_password(&found, &hash("late"), kept.id, None, at(2)).await.unwrap(), None);
    assert_eq!(store.delete_account(&found, kept.id, at(2), crate::store::id()).await.unwrap().ended(), None);
    assert!(!store.open_session(&session(&found, &token())).await.unwrap());
    let now = store.find(ada.id).await.unwrap().unwrap();
    assert_eq!((now.password.clone(), now.password_no), (hash("new"), 1));
    // A new hash of the same password does not count as a change.
    store.rehash(ada.id, &hash("new"), &hash("stronger")).await.unwrap();
    assert!(store.open_session(&session(&now, &token())).await.unwrap());
}

async fn one_of_eight_concurrent_changes_succeeds(location: &Location) {
    let store = open(location).await;
    let (ada, _) = active(&*store, "ada@example.org").await;
    let mut sessions = Vec::new();
    for _ in 0..8 {
        let session = session(&ada, &token());
        assert!(store.open_session(&session).await.unwrap());
        sessions.push(session.id);
    }
    let tasks: Vec<_> = sessions
        .into_iter()
        .map(|own| {
            let (store, ada) = (Arc::clone(&store), ada.clone());
            tokio::spawn(async move {
                store.change_password(&ada, &hash(&own.0.to_string()), own, None, at(1)).await.unwrap().map(|_| own)
            })
        })
        .collect();
    let mut won = Vec::new();
    for task in tasks {
        won.extend(task.await.unwrap());
    }
    let [winner] = won[..] else { panic!("{won:?}") };
    let page = Page::parse(0, "", ada.id).unwrap();
    let left: Vec<_> = store.list_sessions(ada.id, &page, at(1)).await.unwrap().into_iter().map(|s| s.id).collect();
    assert_eq!(left, [winner]);
    assert_eq!(store.find(ada.id).await.unwrap().unwrap().password, hash(&winner.0.to_string()));
}

async fn no_session_of_the_old_password_survives_a_change(location: &Location) {
    let store = open(location).await;
    for round in 0..10 {
        let (ada, _) = active(&*store, &format!("ada{round}@example.org")).await;
        let keep = session(&ada, &token());
        assert!(store.open_session(&keep).await.unwrap());
        let opening: Vec<_> = (0..8)
            .map(|_| {
                let (store, ada) = (Arc::clone(&store), ada.clone());
                tokio::spawn(async move { store.open_session(&session(&ada, &token())).await.unwrap() })
            })
            .collect();
        store.change_password(&ada, &hash("new"), keep.id, None, at(1)).await.unwrap().unwrap();
        for task in opening {
            task.await.unwrap();
        }
        let page = Page::parse(0, "", ada.id).unwrap();
        let left = store.list_sessions(ada.id, &page, at(1)).await.unwrap();
        assert_eq!(left.iter().map(|session| session.id).collect::<Vec<_>>(), [keep.id]);
    }
}

/// The change waits for the account's row while its own session is ended.
#[tokio::test(flavor = "multi_thread")]
async fn password_change_after_a_wait_sees_its_ended_session() {
    let database = Database::postgres().await;
    let store = open(&database.location).await;
    let (ada, _) = active(&*store, "ada@example.org").await;
    for deletes in [false, true] {
        let own = session(&ada, &token());
        assert!(store.open_session(&own).await.unwrap());
        let mut holder = Holder::begin(&database.location, "auth").await;
        holder.run("SELECT 1 FROM accounts WHERE account_id = $1 FOR UPDATE", &[ada.id.0]).await;
        let (waiting, account) = (Arc::clone(&store), ada.clone());
        let change = tokio::spawn(async move {
            if deletes {
                waiting.delete_account(&account, own.id, at(2), crate::store::id()).await.unwrap().ended()
            } else {
                waiting.change_password(&account, &hash("new"), own.id, None, at(2)).await.unwrap()
            }
        });
        holder.waiters(1).await;
        assert!(store.revoke_session(ada.id, own.id, at(1)).await.unwrap());
        holder.release().await;
        assert_eq!(change.await.unwrap(), None);
        assert_eq!(store.find(ada.id).await.unwrap().unwrap(), Account { state: State::Active, ..ada.clone() });
    }
    database.remove().await;
}
