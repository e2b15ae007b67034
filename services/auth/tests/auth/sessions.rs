//! Listing and ending sessions.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use auth::domain::{AccountId, BadToken, EndedPage, Page, Session, SessionId};
use kit::{Timestamp, config::Span, keys::Verdict};
use kit_data::store::Location;
use proto::auth::v1::{
    ChangePasswordRequest, DeleteAccountRequest, ListEndedSessionsRequest, ListSessionsRequest, ListSessionsResponse,
    RefreshTokenRequest, RevokeAllSessionsRequest, RevokeSessionRequest, SignOutRequest, Tokens,
};
use tonic::{Code, Request, Status};
use uuid::Uuid;

use crate::{
    databases::on_both,
    mesh::{Mesh, PASSWORD, by, reason, sign_in},
    store::{active, at, client, id, open, refresh, session, successor, token},
};

on_both!(
    pages_list_each_session_once_by_last_use,
    only_the_owners_sessions_are_ended,
    revoke_all_keeps_only_the_given_session,
    revoke_all_ends_sessions_that_open_meanwhile,
    ended_sessions_are_listed_in_the_order_of_their_end,
);

async fn list(mesh: &mut Mesh, tokens: &Tokens, message: ListSessionsRequest) -> Result<ListSessionsResponse, Status> {
    mesh.auth.list_sessions(by(tokens, message)).await.map(tonic::Response::into_inner)
}

async fn ids(mesh: &mut Mesh, tokens: &Tokens) -> Vec<String> {
    let response = list(mesh, tokens, ListSessionsRequest::default()).await.unwrap();
    response.sessions.into_iter().map(|session| session.session_id).collect()
}

async fn refreshed(mesh: &mut Mesh, tokens: &Tokens) -> Result<Tokens, Status> {
    let request = RefreshTokenRequest { refresh_token: tokens.refresh_token.clone() };
    mesh.auth.refresh_token(request).await.map(|response| response.into_inner().tokens.unwrap())
}

/// Waits until the signal of the session's end arrives.
async fn wait_for_revocation(mesh: &Mesh, tokens: &Tokens) {
    let session = tokens.session_id.parse().unwrap();
    tokio::time::timeout(Duration::from_secs(5), mesh.keys.revoked(session)).await.expect("the end is signalled");
}

/// Asserts that the session's refresh token and access token are refused.
async fn assert_ended(mesh: &mut Mesh, tokens: &Tokens) {
    wait_for_revocation(mesh, tokens).await;
    let refused = list(mesh, tokens, ListSessionsRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "SESSION_REVOKED"));
    assert_eq!(reason(&refreshed(mesh, tokens).await.unwrap_err()), "REFRESH_TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_show_their_client_and_the_current_one() {
    let mut mesh = Mesh::start().await;
    let first = mesh.signed_up("ada").await;
    mesh.clock.advance(Duration::from_secs(1));
    let mut request = Request::new(sign_in("ada", PASSWORD));
    request.metadata_mut().insert("user-agent", "n".repeat(300).parse().unwrap());
    let request = mesh.through_gateway(request, "203.0.113.7");
    let second = mesh.auth.sign_in(request).await.unwrap().into_inner().tokens.unwrap();

    let sessions = list(&mut mesh, &first, ListSessionsRequest::default()).await.unwrap().sessions;
    let shown: Vec<_> = sessions.iter().map(|s| (s.session_id.as_str(), s.current, s.address.as_str())).collect();
    assert_eq!(shown, [(second.session_id.as_str(), false, "203.0.113.7"), (first.session_id.as_str(), true, "")]);
    // tonic appends its own name to the user agent.
    assert!(sessions[1].user_agent.starts_with("tester/1.0"), "{}", sessions[1].user_agent);
    assert_eq!((sessions[0].user_agent.len(), &sessions[0].user_agent[..3]), (256, "nnn"));
    assert_eq!(sessions[0].expire_time, second.refresh_expire_time);

    // A refresh moves a session up in the list and updates its address.
    mesh.clock.advance(Duration::from_secs(1));
    let request = Request::new(RefreshTokenRequest { refresh_token: first.refresh_token.clone() });
    let request = mesh.through_gateway(request, "2001:db8::1");
    mesh.auth.refresh_token(request).await.unwrap();
    let sessions = list(&mut mesh, &second, ListSessionsRequest::default()).await.unwrap().sessions;
    let shown: Vec<_> = sessions.iter().map(|s| (s.session_id.as_str(), s.current, s.address.as_str())).collect();
    assert_eq!(
        shown,
        [(first.session_id.as_str(), false, "2001:db8::1"), (second.session_id.as_str(), true, "203.0.113.7")]
    );
    assert_eq!(sessions[0].last_use_time.unwrap().seconds, mesh.now().as_secs());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_list_only_the_callers_own_sessions() {
    let mut mesh = Mesh::start().await;
    let first = mesh.signed_up("ada").await;
    let other = mesh.signed_up("bob").await;
    let mut opened = BTreeSet::from([first.session_id.clone()]);
    for _ in 0..4 {
        opened.insert(mesh.signed_in("ada", PASSWORD).await.unwrap().session_id);
    }
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = list(&mut mesh, &first, ListSessionsRequest { page_size: 2, page_token }).await.unwrap();
        assert!((1..=2).contains(&page.sessions.len()));
        seen.extend(page.sessions.into_iter().map(|session| session.session_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
        for (tokens, token) in [(&other, page_token.clone()), (&first, "made up".to_owned())] {
            let message = ListSessionsRequest { page_size: 2, page_token: token };
            let refused = list(&mut mesh, tokens, message).await.unwrap_err();
            assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "PAGE_TOKEN_INVALID"));
        }
    }
    assert_eq!((seen.len(), BTreeSet::from_iter(seen)), (5, opened));
}

#[tokio::test(flavor = "multi_thread")]
async fn session_ends_at_once_and_a_repeat_returns_the_same() {
    let mut mesh = Mesh::start().await;
    let (first, other) = (mesh.signed_up("ada").await, mesh.signed_up("bob").await);
    let second = mesh.signed_in("ada", PASSWORD).await.unwrap();
    for session_id in [other.session_id.clone(), id().to_string()] {
        let refused = mesh.auth.revoke_session(by(&first, RevokeSessionRequest { session_id })).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "SESSION_NOT_FOUND"));
    }
    for _ in 0..2 {
        let message = RevokeSessionRequest { session_id: second.session_id.clone() };
        mesh.auth.revoke_session(by(&first, message)).await.unwrap();
    }
    assert_ended(&mut mesh, &second).await;
    assert_eq!(ids(&mut mesh, &first).await, [first.session_id.as_str()]);
    assert_eq!(ids(&mut mesh, &other).await, [other.session_id.as_str()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_sessions_end_and_then_all_sessions() {
    let mut mesh = Mesh::start().await;
    let (first, other) = (mesh.signed_up("ada").await, mesh.signed_up("bob").await);
    let second = mesh.signed_in("ada", PASSWORD).await.unwrap();
    mesh.auth.revoke_all_sessions(by(&first, RevokeAllSessionsRequest { keep_current: true })).await.unwrap();
    assert_ended(&mut mesh, &second).await;
    let first = refreshed(&mut mesh, &first).await.unwrap();
    mesh.auth.revoke_all_sessions(by(&first, RevokeAllSessionsRequest { keep_current: false })).await.unwrap();
    assert_ended(&mut mesh, &first).await;
    assert_eq!(ids(&mut mesh, &other).await, [other.session_id.as_str()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_out_revokes_the_access_token() {
    let mut mesh = Mesh::start().await;
    let tokens = mesh.signed_up("ada").await;
    mesh.auth.sign_out(SignOutRequest { refresh_token: tokens.refresh_token.clone() }).await.unwrap();
    assert_ended(&mut mesh, &tokens).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stolen_old_token_revokes_the_session_and_its_access_tokens() {
    let mut mesh = Mesh::start().await;
    let stolen = mesh.signed_up("ada").await;
    let owned = refreshed(&mut mesh, &stolen).await.unwrap();
    let newest = refreshed(&mut mesh, &owned).await.unwrap();
    assert_eq!(reason(&refreshed(&mut mesh, &stolen).await.unwrap_err()), "REFRESH_TOKEN_REUSED");
    for tokens in [stolen, owned, newest] {
        assert_ended(&mut mesh, &tokens).await;
    }
}

async fn all(store: &dyn auth::AuthStore, account: AccountId, seconds: i64) -> Vec<Session> {
    let page = Page::parse(0, "", account).unwrap();
    store.list_sessions(account, &page, at(seconds)).await.unwrap()
}

async fn pages_list_each_session_once_by_last_use(location: &Location) {
    let store = open(location).await;
    let (ada, first) = active(&*store, "ada@example.org").await;
    active(&*store, "bob@example.org").await;
    for _ in 0..8 {
        assert!(store.open_session(&session(&ada, &token())).await.unwrap());
    }
    let (gone, unused) = (token(), token());
    assert!(store.open_session(&session(&ada, &gone)).await.unwrap());
    store.revoke(&gone, at(1)).await.unwrap();
    let mut short = session(&ada, &unused);
    short.expire_time = at(5);
    assert!(store.open_session(&short).await.unwrap());
    refresh(&*store, &first, &successor(), 3).await;

    let whole = all(&*store, ada.id, 5).await;
    assert_eq!(whole.len(), 9, "without the ended and the expired session");
    assert_eq!((whole[0].last_use_time, &whole[0].client), (at(3), &client("later")));
    assert_eq!((whole[1].last_use_time, &whole[1].client), (at(0), &client("first")));
    assert!(whole.is_sorted_by(|a, b| (a.last_use_time, a.id.0) > (b.last_use_time, b.id.0)));
    for size in 1..=10 {
        let (mut seen, mut page_token) = (Vec::new(), String::new());
        loop {
            let page = Page::parse(size, &page_token, ada.id).unwrap();
            let mut sessions = store.list_sessions(ada.id, &page, at(5)).await.unwrap();
            let more = sessions.len() > page.size;
            sessions.truncate(page.size);
            seen.extend(sessions);
            if !more {
                break;
            }
            page_token = Page::token_after(ada.id, seen.last().unwrap());
        }
        assert_eq!(seen, whole, "pages of {size}");
    }
    assert_eq!(Page::parse(0, &Page::token_after(ada.id, &whole[0]), AccountId(id())), Err(BadToken));
}

async fn only_the_owners_sessions_are_ended(location: &Location) {
    let store = open(location).await;
    let (ada, first) = active(&*store, "ada@example.org").await;
    let (bob, _) = active(&*store, "bob@example.org").await;
    let session = all(&*store, ada.id, 1).await[0].id;
    assert!(!store.revoke_session(bob.id, session, at(1)).await.unwrap());
    assert!(!store.revoke_session(ada.id, SessionId(id()), at(1)).await.unwrap());
    assert_eq!(all(&*store, ada.id, 1).await.len(), 1);
    for seconds in [1, 2] {
        assert!(store.revoke_session(ada.id, session, at(seconds)).await.unwrap());
    }
    assert_eq!(all(&*store, ada.id, 1).await, []);
    assert_eq!(refresh(&*store, &first, &successor(), 2).await, auth::store::Refreshed::Refused);
}

async fn revoke_all_keeps_only_the_given_session(location: &Location) {
    let store = open(location).await;
    let (ada, _) = active(&*store, "ada@example.org").await;
    let (bob, _) = active(&*store, "bob@example.org").await;
    for _ in 0..3 {
        assert!(store.open_session(&session(&ada, &token())).await.unwrap());
    }
    let sessions = all(&*store, ada.id, 1).await;
    let kept = sessions[2].id;
    let ended = store.revoke_all(ada.id, Some(kept), at(1)).await.unwrap();
    let others: BTreeSet<_> = sessions.iter().map(|session| session.id.0).filter(|id| *id != kept.0).collect();
    assert_eq!(ended.iter().map(|session| session.0).collect::<BTreeSet<_>>(), others);
    assert_eq!(all(&*store, ada.id, 1).await.len(), 1);
    assert_eq!(store.revoke_all(ada.id, None, at(1)).await.unwrap(), [kept]);
    assert_eq!(store.revoke_all(ada.id, None, at(1)).await.unwrap(), []);
    assert_eq!(all(&*store, bob.id, 1).await.len(), 1);
}

/// Concurrent calls end all sessions and open new ones: there is no deadlock, and the last call ends all.
async fn revoke_all_ends_sessions_that_open_meanwhile(location: &Location) {
    let store = open(location).await;
    let (ada, _) = active(&*store, "ada@example.org").await;
    let tasks: Vec<_> = (0..32)
        .map(|n| {
            let (store, ada) = (Arc::clone(&store), ada.clone());
            tokio::spawn(async move {
                if n % 4 == 0 {
                    store.revoke_all(ada.id, None, at(1)).await.unwrap();
                } else {
                    assert!(store.open_session(&session(&ada, &token())).await.unwrap());
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    store.revoke_all(ada.id, None, at(1)).await.unwrap();
    assert_eq!(all(&*store, ada.id, 1).await, []);
}

async fn ended_sessions_are_listed_in_the_order_of_their_end(location: &Location) {
    let store = open(location).await;
    let (ada, _) = active(&*store, "ada@example.org").await;
    let mut ended = Vec::new();
    for second in [3, 1, 2, 2] {
        let one = session(&ada, &token());
        assert!(store.open_session(&one).await.unwrap());
        assert!(store.is_in_force(ada.id, one.id, at(second)).await.unwrap());
        assert!(!store.is_in_force(AccountId(id()), one.id, at(second)).await.unwrap(), "another account's");
        assert!(store.revoke_session(ada.id, one.id, at(second)).await.unwrap());
        assert!(!store.is_in_force(ada.id, one.id, at(second)).await.unwrap());
        ended.push((at(second), one.id));
    }
    ended.sort_by_key(|(time, id)| (*time, id.0));
    let (mut seen, mut after) = (Vec::new(), (at(0), SessionId(Uuid::nil())));
    loop {
        let mut page = store.list_ended(&EndedPage { after, size: 1 }).await.unwrap();
        let more = page.len() > 1;
        page.truncate(1);
        let Some(last) = page.pop() else { break };
        after = (last.revoke_time, last.id);
        seen.push(after);
        if !more {
            break;
        }
    }
    assert_eq!(seen, ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn auth_checks_sessions_in_its_own_table() {
    let mut mesh = Mesh::start().await;
    let tokens = mesh.signed_up("ada").await;
    // Without a signal, as after a restart.
    let (account, ended) = (AccountId(tokens.user_id.parse().unwrap()), SessionId(tokens.session_id.parse().unwrap()));
    assert!(mesh.store.revoke_session(account, ended, mesh.now()).await.unwrap());
    let change = ChangePasswordRequest {
        current_password: PASSWORD.to_owned(),
        new_password: "another good password".to_owned(),
    };
    let refusals = [
        mesh.auth.list_sessions(by(&tokens, ListSessionsRequest::default())).await.map(drop),
        mesh.auth.revoke_all_sessions(by(&tokens, RevokeAllSessionsRequest::default())).await.map(drop),
        mesh.auth
            .revoke_session(by(&tokens, RevokeSessionRequest { session_id: tokens.session_id.clone() }))
            .await
            .map(drop),
        mesh.auth.change_password(by(&tokens, change)).await.map(drop),
        mesh.auth.delete_account(by(&tokens, DeleteAccountRequest { password: PASSWORD.to_owned() })).await.map(drop),
    ];
    for refusal in refusals {
        let refusal = refusal.unwrap_err();
        assert_eq!((refusal.code(), reason(&refusal).as_str()), (Code::Unauthenticated, "SESSION_REVOKED"));
    }
    mesh.signed_in("ada", PASSWORD).await.unwrap();
}

/// The ended sessions that another process lists at its start, or since its last list at `since`.
async fn ended(mesh: &mut Mesh, since: Option<Timestamp>) -> Vec<String> {
    let message = ListEndedSessionsRequest { since_time: since.map(Into::into), ..Default::default() };
    let request = mesh.on_behalf_of("192.0.2.1", message);
    mesh.auth.list_ended_sessions(request).await.unwrap().into_inner().session_ids
}

/// The configured lifetime may be shorter than that of tokens issued before.
#[tokio::test(flavor = "multi_thread")]
async fn ended_sessions_are_listed_for_the_longest_life_of_a_token() {
    let access_lifetime = Span(Duration::from_secs(60));
    let mut mesh = Mesh::with(auth::Config { access_lifetime, ..auth::Config::default() }).await;
    let tokens = mesh.signed_up("ada").await;
    mesh.auth.sign_out(SignOutRequest { refresh_token: tokens.refresh_token.clone() }).await.unwrap();
    // An hour, plus two minutes for clock differences.
    mesh.clock.advance(Duration::from_secs(3_600 + 119));
    assert_eq!(ended(&mut mesh, None).await, std::slice::from_ref(&tokens.session_id));
    let own = mesh.own_keys();
    assert!(own.ready().await && own.is_revoked(tokens.session_id.parse().unwrap()));
    mesh.clock.advance(Duration::from_secs(2));
    assert!(ended(&mut mesh, None).await.is_empty());
    let own = mesh.own_keys();
    assert!(own.ready().await && !own.is_revoked(tokens.session_id.parse().unwrap()));
}

/// An ended session may become visible late: the clocks of replicas differ, and a transaction takes time.
#[tokio::test(flavor = "multi_thread")]
async fn list_of_ended_sessions_overlaps_the_one_before() {
    let mut mesh = Mesh::start().await;
    let tokens = mesh.signed_up("ada").await;
    mesh.auth.sign_out(SignOutRequest { refresh_token: tokens.refresh_token }).await.unwrap();
    mesh.clock.advance(Duration::from_secs(119));
    let since = mesh.now();
    mesh.clock.advance(Duration::from_secs(300));
    assert_eq!(ended(&mut mesh, Some(since)).await, [tokens.session_id]);
    assert!(ended(&mut mesh, Some(since + Duration::from_secs(2))).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn auth_verifies_by_its_own_keys_without_a_call() {
    let mut mesh = Mesh::start().await;
    let (ended, tokens) = (mesh.signed_up("ada").await, mesh.signed_in("ada", PASSWORD).await.unwrap());
    mesh.auth.sign_out(SignOutRequest { refresh_token: ended.refresh_token }).await.unwrap();
    // No other process can be called.
    mesh.kill_auth();
    let own = mesh.own_keys();
    assert!(own.ready().await);
    assert!(matches!(own.verify(&tokens.access_token).await, Verdict::Genuine(_)));
    assert_eq!(own.verify(&ended.access_token).await, Verdict::Revoked);
}

#[tokio::test(flavor = "multi_thread")]
async fn access_token_states_when_and_how_its_user_signed_in() {
    let mut mesh = Mesh::start().await;
    let (opened, first) = (mesh.now().as_secs(), mesh.signed_up("ada").await);
    mesh.clock.advance(Duration::from_secs(60));
    let request = RefreshTokenRequest { refresh_token: first.refresh_token };
    let refreshed = mesh.auth.refresh_token(request).await.unwrap().into_inner().tokens.unwrap();
    let signed_in = mesh.signed_in("ada", PASSWORD).await.unwrap();
    let own = mesh.own_keys();
    assert!(own.ready().await);
    for (token, authenticated) in [(first.access_token, 0), (refreshed.access_token, 0), (signed_in.access_token, 60)] {
        let Verdict::Genuine(session) = own.verify(&token).await else { panic!("the token is genuine") };
        assert_eq!(session.authenticated.as_secs(), opened + authenticated);
        assert_eq!(session.methods, ["pwd"]);
    }
}
