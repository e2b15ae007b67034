//! Roles, suspensions, the first admin, and proofs of who the user is.

use std::{sync::Arc, time::Duration};

use auth::{
    domain::{Account, AccountFilter, AccountPage, AdminCode, Page, State},
    store::{AuthStore, Removal},
};
use kit::{ClockAndRng, keys::Verdict};
use kit_data::store::Location;
use proto::auth::v1::{
    AccountState, DeleteAccountRequest, EndAccountSessionsRequest, GetAccountRequest, GrantRoleRequest,
    ListAccountSessionsRequest, ListAccountsRequest, ReauthenticateRequest, RefreshTokenRequest, RestoreAccountRequest,
    RevokeRoleRequest, SuspendAccountRequest, Tokens,
};
use tonic::{Code, Status};

use crate::{
    database::execute,
    databases::{Database, on_both},
    locks_support::Holder,
    mesh::{Mesh, PASSWORD, by, reason},
    store::{RULES, active, at, id, open, pending, refresh, session, successor, token},
};

on_both!(
    accounts_are_listed_by_their_filter,
    last_admin_stays,
    code_makes_one_admin_until_it_expires,
    suspension_ends_sessions_until_it_is_lifted,
    revoked_role_ends_the_sessions,
    refreshed_session_keeps_the_time_of_its_proof,
);

const ADMIN: &str = "admin";

async fn person(store: &dyn AuthStore, name: &str) -> Account {
    let (account, _) = active(store, &format!("{name}@example.org")).await;
    Account { state: State::Active, ..account }
}

/// The names of the accounts of all pages of two.
async fn names(store: &dyn AuthStore, filter: AccountFilter) -> Vec<String> {
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let page = AccountPage::parse(filter.clone(), 2, &token).unwrap();
        let found = store.list_accounts(&page).await.unwrap();
        names.extend(found.iter().take(2).map(|account| account.email.as_str().split('@').next().unwrap().to_owned()));
        let Some(last) = found.get(1).filter(|_| found.len() > 2) else { return names };
        token = page.token_after(last.id);
    }
}

async fn accounts_are_listed_by_their_filter(location: &Location) {
    let store = open(location).await;
    let mut accounts = Vec::new();
    for name in ["ada", "bob", "cyd", "dan", "eve"] {
        accounts.push(person(&*store, name).await);
    }
    store.insert(&pending("late@example.org")).await.unwrap();
    for (account, role) in [(1, "support"), (1, ADMIN), (3, ADMIN), (4, ADMIN)] {
        assert!(store.grant_role(accounts[account].id, role, None).await.unwrap());
    }
    assert!(matches!(store.suspend(accounts[3].id, None, at(1)).await.unwrap(), Removal::Done(_)));
    let all = AccountFilter::default();
    let mut expected = names(&*store, all.clone()).await;
    assert_eq!(expected.len(), 6);
    expected.sort_unstable();
    assert_eq!(expected, ["ada", "bob", "cyd", "dan", "eve", "late"]);
    let with = |role: &str, state| AccountFilter { role: Some(role.to_owned()), state, ..AccountFilter::default() };
    let sorted = async |filter| {
        let mut found = names(&*store, filter).await;
        found.sort_unstable();
        found
    };
    assert_eq!(sorted(with(ADMIN, None)).await, ["bob", "dan", "eve"]);
    assert_eq!(sorted(with(ADMIN, Some(State::Suspended))).await, ["dan"]);
    let state = |state| AccountFilter { state: Some(state), ..AccountFilter::default() };
    assert_eq!(sorted(state(State::Active)).await, ["ada", "bob", "cyd", "eve"]);
    assert_eq!(sorted(state(State::Pending)).await, ["late"]);
    let email = |state| AccountFilter { email: Some(accounts[3].email.clone()), ..with(ADMIN, state) };
    assert_eq!(sorted(email(None)).await, ["dan"]);
    assert!(sorted(email(Some(State::Active))).await.is_empty());
    let page = AccountPage::parse(with("support", None), 0, "").unwrap();
    let [bob] = &store.list_accounts(&page).await.unwrap()[..] else { panic!("one account") };
    assert_eq!((bob.id, &bob.roles[..]), (accounts[1].id, &[ADMIN.to_owned(), "support".to_owned()][..]));
}

async fn last_admin_stays(location: &Location) {
    let store = open(location).await;
    let (ada, bob) = (person(&*store, "ada").await, person(&*store, "bob").await);
    let own = session(&ada, &token());
    assert!(store.open_session(&own).await.unwrap());
    for admin in [&ada, &bob] {
        assert!(store.grant_role(admin.id, ADMIN, None).await.unwrap());
    }
    // A suspended admin cannot administer.
    assert!(matches!(store.suspend(bob.id, None, at(1)).await.unwrap(), Removal::Done(_)));
    assert_eq!(store.revoke_role(ada.id, ADMIN, None, at(2)).await.unwrap(), Removal::LastAdmin);
    assert_eq!(store.suspend(ada.id, None, at(2)).await.unwrap(), Removal::LastAdmin);
    assert_eq!(store.delete_account(&ada, own.id, at(2), id()).await.unwrap(), Removal::LastAdmin);
    assert_eq!(store.find(ada.id).await.unwrap().unwrap().state, State::Active);
    assert!(store.is_in_force(ada.id, own.id, at(2)).await.unwrap(), "nothing was changed");
    // A role that the account does not have ends nothing.
    assert_eq!(store.revoke_role(ada.id, "support", None, at(2)).await.unwrap(), Removal::Done(Vec::new()));
    assert!(store.restore(bob.id, None).await.unwrap());
    assert!(matches!(store.delete_account(&ada, own.id, at(3), id()).await.unwrap(), Removal::Done(_)));
    assert!(store.has_admin().await.unwrap());
    assert_eq!(store.revoke_role(bob.id, ADMIN, None, at(4)).await.unwrap(), Removal::LastAdmin);
    // An admin without an address has no sign-in.
    let cyd = person(&*store, "cyd").await;
    assert!(store.grant_role(cyd.id, ADMIN, None).await.unwrap());
    execute(location, "UPDATE accounts SET release_time = create_time WHERE email = 'cyd@example.org'").await;
    assert_eq!(store.revoke_role(bob.id, ADMIN, None, at(5)).await.unwrap(), Removal::LastAdmin);
}

async fn code_makes_one_admin_until_it_expires(location: &Location) {
    let store = open(location).await;
    let (ada, bob) = (person(&*store, "ada").await, person(&*store, "bob").await);
    let code = || AdminCode::generate(&ClockAndRng::system());
    let claims = async |account: &Account, code: &AdminCode, now| {
        store.claim_admin(account.id, &code.hash(), None, at(now)).await.unwrap()
    };
    let (first, second) = (code(), code());
    assert!(!claims(&ada, &first, 1).await, "no code is offered");
    store.offer_admin(&first.hash(), at(10)).await.unwrap();
    assert!(!claims(&ada, &second, 1).await && !claims(&ada, &first, 10).await);
    assert!(!store.has_admin().await.unwrap());
    // A new code replaces the earlier one, also from another process.
    auth::store::offer_admin(location, &second, at(20)).await.unwrap();
    assert!(!claims(&ada, &first, 1).await);
    assert!(!claims(&Account { id: auth::domain::AccountId(id()), ..ada.clone() }, &second, 11).await);
    assert!(claims(&ada, &second, 11).await);
    assert!(!claims(&bob, &second, 11).await, "a code works once");
    assert_eq!(store.list_roles(ada.id).await.unwrap(), [ADMIN]);
    assert!(store.has_admin().await.unwrap());
}

async fn suspension_ends_sessions_until_it_is_lifted(location: &Location) {
    let store = open(location).await;
    let (ada, presented) = active(&*store, "ada@example.org").await;
    let Removal::Done(ended) = store.suspend(ada.id, None, at(1)).await.unwrap() else { panic!("it is suspended") };
    assert_eq!(ended.len(), 1);
    assert_eq!(store.suspend(ada.id, None, at(1)).await.unwrap(), Removal::Done(Vec::new()));
    assert_eq!(refresh(&*store, &presented, &successor(), 2).await, auth::store::Refreshed::Refused);
    assert!(!store.open_session(&session(&ada, &token())).await.unwrap());
    assert!(!store.grant_role(ada.id, ADMIN, None).await.unwrap());
    assert!(store.restore(ada.id, None).await.unwrap() && store.restore(ada.id, None).await.unwrap());
    assert!(store.open_session(&session(&ada, &token())).await.unwrap());
    assert_eq!(refresh(&*store, &presented, &successor(), 2).await, auth::store::Refreshed::Refused);
    let unfinished = pending("bob@example.org");
    store.insert(&unfinished).await.unwrap();
    assert_eq!(store.suspend(unfinished.id, None, at(1)).await.unwrap(), Removal::Refused);
    assert!(!store.restore(unfinished.id, None).await.unwrap());
}

async fn revoked_role_ends_the_sessions(location: &Location) {
    let store = open(location).await;
    let ada = person(&*store, "ada").await;
    assert!(store.grant_role(ada.id, "support", None).await.unwrap());
    assert!(store.grant_role(ada.id, "support", None).await.unwrap(), "a repeat does no harm");
    let Removal::Done(ended) = store.revoke_role(ada.id, "support", None, at(1)).await.unwrap() else {
        panic!("it is gone")
    };
    assert_eq!(ended.len(), 1);
    assert!(store.list_roles(ada.id).await.unwrap().is_empty());
    let page = Page::parse(0, "", ada.id).unwrap();
    assert!(store.list_sessions(ada.id, &page, at(1)).await.unwrap().is_empty());
}

async fn refreshed_session_keeps_the_time_of_its_proof(location: &Location) {
    let store = open(location).await;
    let (ada, presented) = active(&*store, "ada@example.org").await;
    let ada = Account { state: State::Active, ..ada };
    let page = Page::parse(0, "", ada.id).unwrap();
    let own = store.list_sessions(ada.id, &page, at(0)).await.unwrap()[0].id;
    let continued = |refreshed| match refreshed {
        auth::store::Refreshed::Rotated(continued) => continued,
        other => panic!("{other:?}"),
    };
    let first = successor();
    assert_eq!(continued(refresh(&*store, &presented, &first, 1).await).auth_time, at(0));
    let proved = store.prove_again(&ada, own, at(2)).await.unwrap().unwrap();
    assert_eq!((proved.auth_time, proved.session, proved.expire_time), (at(2), own, RULES.end(at(0), at(1))));
    assert_eq!(continued(refresh(&*store, &first.hash, &successor(), 3).await).auth_time, at(2));
    // Another password, another session, or an ended one proves nothing.
    let other = Account { password_no: 7, ..ada.clone() };
    assert_eq!(store.prove_again(&other, own, at(4)).await.unwrap(), None);
    assert_eq!(store.prove_again(&ada, auth::domain::SessionId(id()), at(4)).await.unwrap(), None);
    assert!(store.revoke_session(ada.id, own, at(4)).await.unwrap());
    assert_eq!(store.prove_again(&ada, own, at(5)).await.unwrap(), None);
}

/// Two admins lose the role, are suspended or delete themselves at the same time, in every pair.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_admins_stays_when_both_go_at_once() {
    let database = Database::postgres().await;
    let store = open(&database.location).await;
    for (number, [one, other]) in [[0, 0], [0, 1], [1, 1], [1, 2], [2, 2]].into_iter().enumerate() {
        execute(&database.location, "DELETE FROM roles").await;
        let admins = [person(&*store, &format!("a{number}")).await, person(&*store, &format!("b{number}")).await];
        for admin in &admins {
            assert!(store.grant_role(admin.id, ADMIN, None).await.unwrap());
        }
        let mut holder = Holder::begin(&database.location, "auth").await;
        holder.run("SELECT 1 FROM admin_setup FOR UPDATE", &[]).await;
        let mut going = Vec::new();
        for (admin, change) in admins.iter().zip([one, other]) {
            going.push(tokio::spawn(goes(Arc::clone(&store), admin.clone(), change)));
            holder.waiters(i64::try_from(going.len()).unwrap()).await;
        }
        holder.release().await;
        let mut outcomes = Vec::new();
        for gone in going {
            outcomes.push(gone.await.unwrap());
        }
        assert!(matches!(outcomes[..], [Removal::Done(_), Removal::LastAdmin]), "{one} {other}: {outcomes:?}");
        assert_eq!(store.list_roles(admins[1].id).await.unwrap(), [ADMIN]);
    }
    drop(store);
    database.remove().await;
}

async fn goes(store: Arc<dyn AuthStore>, admin: Account, change: u32) -> Removal {
    match change {
        0 => store.revoke_role(admin.id, ADMIN, None, at(5)).await.unwrap(),
        1 => store.suspend(admin.id, None, at(5)).await.unwrap(),
        _ => {
            let page = Page::parse(0, "", admin.id).unwrap();
            let own = store.list_sessions(admin.id, &page, at(1)).await.unwrap()[0].id;
            store.delete_account(&admin, own, at(5), id()).await.unwrap()
        }
    }
}

/// A mesh, and an account that has claimed the role of an admin.
async fn administered() -> (Mesh, Tokens) {
    let mut mesh = Mesh::start().await;
    let ada = mesh.signed_up("ada").await;
    let ada = mesh.make_admin(&ada).await;
    (mesh, ada)
}

async fn grant(mesh: &mut Mesh, admin: &Tokens, user_id: &str, role: &str) -> Result<Vec<String>, Status> {
    let request = GrantRoleRequest { user_id: user_id.to_owned(), role: role.to_owned() };
    let response = mesh.auth.grant_role(by(admin, request)).await?.into_inner();
    Ok(response.account.unwrap().roles)
}

async fn refreshed(mesh: &mut Mesh, tokens: &Tokens) -> Tokens {
    let request = RefreshTokenRequest { refresh_token: tokens.refresh_token.clone() };
    mesh.auth.refresh_token(request).await.unwrap().into_inner().tokens.unwrap()
}

/// The claims of an access token.
fn claims(tokens: &Tokens) -> serde_json::Value {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let payload = tokens.access_token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn granted_role_is_in_the_next_access_token() {
    let (mut mesh, ada) = administered().await;
    assert_eq!(claims(&ada)["roles"], serde_json::json!([ADMIN]));
    assert_eq!(claims(&ada)["scope"], "accounts.read accounts.suspend roles.write sessions.end");
    let bob = mesh.signed_up("bob").await;
    let list = ListAccountsRequest::default;
    let refused = mesh.auth.list_accounts(by(&bob, list())).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "ROLE_REQUIRED"));
    assert_eq!(grant(&mut mesh, &ada, &bob.user_id, "support").await.unwrap(), ["support"]);
    let unknown = grant(&mut mesh, &ada, &bob.user_id, "root").await.unwrap_err();
    assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::InvalidArgument, "ROLE_UNKNOWN"));
    assert!(unknown.message().contains("admin, support"), "{}", unknown.message());
    assert!(mesh.auth.list_accounts(by(&bob, list())).await.is_err(), "the old token has no role");
    let bob = refreshed(&mut mesh, &bob).await;
    let accounts = mesh.auth.list_accounts(by(&bob, list())).await.unwrap().into_inner().accounts;
    assert_eq!(accounts.len(), 2);
    let refused = grant(&mut mesh, &bob, &bob.user_id, ADMIN).await.unwrap_err();
    assert_eq!(reason(&refused), "ROLE_REQUIRED", "support does not make admins");
    // The loss of the role ends the session, so that its token is refused everywhere.
    let revoke = RevokeRoleRequest { user_id: bob.user_id.clone(), role: "support".to_owned() };
    let left = mesh.auth.revoke_role(by(&ada, revoke)).await.unwrap().into_inner().account.unwrap();
    assert!(left.roles.is_empty());
    tokio::time::timeout(Duration::from_secs(5), mesh.keys.revoked(bob.session_id.parse().unwrap())).await.unwrap();
    assert_eq!(mesh.keys.verify(&bob.access_token).await, Verdict::Revoked);
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_account_cannot_sign_in_until_it_is_restored() {
    let (mut mesh, ada) = administered().await;
    let bob = mesh.signed_up("bob").await;
    let user_id = bob.user_id.clone();
    let suspend = SuspendAccountRequest { user_id: user_id.clone() };
    let account = mesh.auth.suspend_account(by(&ada, suspend.clone())).await.unwrap().into_inner().account.unwrap();
    assert_eq!((account.state(), account.email.as_str()), (AccountState::Suspended, "bob@example.org"));
    let unknown = mesh.signed_in("eve", PASSWORD).await.unwrap_err();
    let refused = mesh.signed_in("bob", PASSWORD).await.unwrap_err();
    let shown = |status: &Status| (status.code(), reason(status), status.message().to_owned());
    assert_eq!(shown(&refused), shown(&unknown), "the state of an account is not public");
    tokio::time::timeout(Duration::from_secs(5), mesh.keys.revoked(bob.session_id.parse().unwrap())).await.unwrap();
    let restore = RestoreAccountRequest { user_id: user_id.clone() };
    mesh.auth.restore_account(by(&ada, restore)).await.unwrap();
    let bob = mesh.signed_in("bob", PASSWORD).await.unwrap();
    let sessions = ListAccountSessionsRequest { user_id: user_id.clone(), ..ListAccountSessionsRequest::default() };
    let listed = mesh.auth.list_account_sessions(by(&ada, sessions)).await.unwrap().into_inner().sessions;
    assert_eq!(listed.iter().map(|session| &session.session_id).collect::<Vec<_>>(), [&bob.session_id]);
    let end =
        |session_id: &str| EndAccountSessionsRequest { user_id: user_id.clone(), session_id: session_id.to_owned() };
    let wrong = mesh.auth.end_account_sessions(by(&ada, end(&ada.session_id))).await.unwrap_err();
    assert_eq!(reason(&wrong), "SESSION_NOT_FOUND", "the session of another account");
    let ended = mesh.auth.end_account_sessions(by(&ada, end(""))).await.unwrap().into_inner();
    assert_eq!(ended.ended_count, 1);
    let own = SuspendAccountRequest { user_id: ada.user_id.clone() };
    let refused = mesh.auth.suspend_account(by(&ada, own)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "LAST_ADMIN"));
    let delete = DeleteAccountRequest { password: PASSWORD.to_owned() };
    assert_eq!(reason(&mesh.auth.delete_account(by(&ada, delete)).await.unwrap_err()), "LAST_ADMIN");
    let missing = GetAccountRequest { user_id: id().to_string() };
    assert_eq!(reason(&mesh.auth.get_account(by(&ada, missing)).await.unwrap_err()), "ACCOUNT_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_proof_must_be_renewed_with_the_password() {
    let (mut mesh, mut ada) = administered().await;
    let bob = mesh.signed_up("bob").await;
    mesh.clock.advance(Duration::from_secs(601));
    let refused = grant(&mut mesh, &ada, &bob.user_id, "support").await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "STEP_UP_REQUIRED"));
    use tonic_types::StatusExt as _;
    let metadata = refused.get_error_details().error_info().unwrap().metadata.clone();
    assert_eq!((metadata["proofs"].as_str(), metadata["max_age_seconds"].as_str()), ("pwd", "600"));
    // Reading needs no new proof, and a refresh is none.
    mesh.auth.list_accounts(by(&ada, ListAccountsRequest::default())).await.unwrap();
    ada = refreshed(&mut mesh, &ada).await;
    assert_eq!(reason(&grant(&mut mesh, &ada, &bob.user_id, "support").await.unwrap_err()), "STEP_UP_REQUIRED");
    let prove = |password: &str| ReauthenticateRequest { password: password.to_owned(), code: String::new() };
    let wrong = mesh.auth.reauthenticate(by(&ada, prove("wrong"))).await.unwrap_err();
    assert_eq!((wrong.code(), reason(&wrong).as_str()), (Code::Unauthenticated, "BAD_CREDENTIALS"));
    let proved = mesh.auth.reauthenticate(by(&ada, prove(PASSWORD))).await.unwrap().into_inner();
    ada.access_token = proved.access_token;
    assert_eq!(claims(&ada)["auth_time"], mesh.now().as_secs());
    assert_eq!((&claims(&ada)["sid"], &claims(&ada)["amr"]), (&ada.session_id.as_str().into(), &["pwd"].into()));
    grant(&mut mesh, &ada, &bob.user_id, "support").await.unwrap();
    ada = refreshed(&mut mesh, &ada).await;
    grant(&mut mesh, &ada, &bob.user_id, "support").await.unwrap();
    // Guesses are limited for each session, as those of a sign-in.
    let mut last = wrong;
    for _ in 0..12 {
        last = mesh.auth.reauthenticate(by(&ada, prove("wrong"))).await.unwrap_err();
    }
    assert_eq!((last.code(), reason(&last).as_str()), (Code::ResourceExhausted, "RATE_LIMITED"));
}
