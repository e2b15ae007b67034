//! The contract of `AuthStore`.

use std::{sync::Arc, time::Duration};

use auth::{
    domain::{
        Account, AccountId, Client, EmailAddress, Lifetimes, Method, NewSession, Page, PasswordHash, RefreshToken,
        SessionId, State, TokenHash,
    },
    store::{self, AuthStore, InsertError, Refreshed, Successor},
};
use kit::{ClockAndRng, Timestamp};
use kit_data::store::Location;

use crate::databases::{on_both, patient};

on_both!(
    an_address_has_one_account,
    activation_is_all_or_nothing,
    an_abandoned_sign_up_frees_the_address,
    a_token_is_used_once_and_repeated_within_the_grace,
    sixteen_refreshes_at_once_give_one_successor,
    reused_token_ends_the_session,
    a_revoked_session_refuses_its_tokens,
    session_ends_after_its_idle_and_maximum_lifetimes,
    only_active_accounts_get_sessions,
    rehash_replaces_only_an_unchanged_hash,
    ended_sessions_and_used_tokens_are_pruned,
    backlog_is_pruned_in_batches,
    sixty_four_writers_at_once_all_succeed,
);

pub(crate) const RULES: Lifetimes = Lifetimes {
    idle: Duration::from_secs(1_000),
    absolute: Duration::from_secs(1_500),
    grace: Duration::from_secs(10),
};

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_700_000_000 + seconds) * 1_000_000)
}

pub(crate) fn id() -> uuid::Uuid {
    ClockAndRng::system().new_id()
}

pub(crate) async fn open(location: &Location) -> Arc<dyn AuthStore> {
    store::open(location, patient(16)).await.unwrap()
}

pub(crate) fn pending(email: &str) -> Account {
    Account {
        id: AccountId(id()),
        email: EmailAddress::parse(email).unwrap(),
        password: PasswordHash("hash".to_owned()),
        password_no: 0,
        state: State::Pending,
        create_time: at(0),
    }
}

pub(crate) fn session(account: &Account, token: &TokenHash) -> NewSession {
    NewSession {
        id: SessionId(id()),
        account: account.id,
        password_no: account.password_no,
        client: client("first"),
        token: token.clone(),
        create_time: at(0),
        expire_time: RULES.end(at(0), at(0)),
        method: Method::Password,
        mail: None,
    }
}

pub(crate) fn client(name: &str) -> Client {
    Client::new(name, "10.0.0.1".parse().ok())
}

pub(crate) fn token() -> TokenHash {
    RefreshToken::generate(&ClockAndRng::system()).hash()
}

pub(crate) fn successor() -> Successor {
    let hash = token();
    Successor { sealed: hash.0.clone(), hash, notice: None }
}

pub(crate) async fn refresh(
    store: &dyn AuthStore,
    presented: &TokenHash,
    successor: &Successor,
    seconds: i64,
) -> Refreshed {
    store.refresh(presented, successor, &client("later"), at(seconds), RULES).await.unwrap()
}

/// Stores an active account with a session. Returns the account and the session's token.
pub(crate) async fn active(store: &dyn AuthStore, email: &str) -> (Account, TokenHash) {
    let (account, token) = (pending(email), token());
    store.insert(&account).await.unwrap();
    assert!(store.activate(&session(&account, &token), 0).await.unwrap());
    (account, token)
}

async fn an_address_has_one_account(location: &Location) {
    let store = open(location).await;
    let ada = pending("Ada@Example.org");
    store.insert(&ada).await.unwrap();
    let again = store.insert(&pending(" ada@example.ORG")).await;
    assert!(matches!(again, Err(InsertError::EmailTaken)), "{again:?}");
    assert_eq!(store.find_by_email(&EmailAddress::parse("ADA@example.org").unwrap()).await.unwrap(), Some(ada));
    assert_eq!(store.find_by_email(&EmailAddress::parse("bob@example.org").unwrap()).await.unwrap(), None);
}

async fn activation_is_all_or_nothing(location: &Location) {
    let store = open(location).await;
    let (account, first) = active(&*store, "ada@example.org").await;
    assert!(!store.activate(&session(&account, &token()), 0).await.unwrap(), "it is active already");
    let found = store.find_by_email(&account.email).await.unwrap().unwrap();
    assert_eq!(found.state, State::Active);
    assert!(matches!(refresh(&*store, &first, &successor(), 1).await, Refreshed::Rotated(_)));
    assert_eq!(store.list_roles(account.id).await.unwrap(), Vec::<String>::new());
}

async fn an_abandoned_sign_up_frees_the_address(location: &Location) {
    let store = open(location).await;
    let account = pending("ada@example.org");
    store.insert(&account).await.unwrap();
    assert!(!store.abandon(account.id, at(0), at(5), id()).await.unwrap(), "it is too recent");
    assert_eq!(store.list_pending(at(1), 10).await.unwrap(), [account.id]);
    assert!(store.abandon(account.id, at(1), at(5), id()).await.unwrap());
    assert!(!store.activate(&session(&account, &token()), 0).await.unwrap(), "there is nothing to activate");
    store.insert(&pending("ada@example.org")).await.unwrap();
    let (active, _) = active(&*store, "bob@example.org").await;
    assert!(!store.abandon(active.id, at(1), at(5), id()).await.unwrap(), "an active account stays");
}

async fn a_token_is_used_once_and_repeated_within_the_grace(location: &Location) {
    let store = open(location).await;
    let (account, first) = active(&*store, "ada@example.org").await;
    let second = successor();
    let Refreshed::Rotated(session) = refresh(&*store, &first, &second, 1).await else {
        panic!("the first use rotates");
    };
    assert_eq!((session.account, session.expire_time), (account.id, at(1) + RULES.idle));
    let id = session.session;
    let repeated = refresh(&*store, &first, &successor(), 5).await;
    assert_eq!(repeated, Refreshed::Repeated(session, second.sealed.clone()));
    // The successor's first use ends the grace period of its predecessor.
    assert!(matches!(refresh(&*store, &second.hash, &successor(), 6).await, Refreshed::Rotated(_)));
    assert_eq!(refresh(&*store, &first, &successor(), 7).await, Refreshed::Revoked(id));
}

async fn sixteen_refreshes_at_once_give_one_successor(location: &Location) {
    let store = open(location).await;
    let (_, first) = active(&*store, "ada@example.org").await;
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (store, first, offered) = (Arc::clone(&store), first.clone(), successor());
            tokio::spawn(async move { (refresh(&*store, &first, &offered, 1).await, offered.sealed) })
        })
        .collect();
    let mut given = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            (Refreshed::Rotated(_), own) => given.push(own),
            (Refreshed::Repeated(_, sealed), _) => given.push(sealed),
            other => panic!("{other:?}"),
        }
    }
    given.dedup();
    assert_eq!(given.len(), 1);
}

async fn reused_token_ends_the_session(location: &Location) {
    let store = open(location).await;
    let (_, first) = active(&*store, "ada@example.org").await;
    let second = successor();
    refresh(&*store, &first, &second, 1).await;
    assert!(matches!(refresh(&*store, &first, &successor(), 11).await, Refreshed::Revoked(_)));
    assert_eq!(refresh(&*store, &second.hash, &successor(), 12).await, Refreshed::Refused);
    assert_eq!(refresh(&*store, &token(), &successor(), 12).await, Refreshed::Refused);
}

async fn a_revoked_session_refuses_its_tokens(location: &Location) {
    let store = open(location).await;
    let (account, first) = active(&*store, "ada@example.org").await;
    let other = token();
    assert!(store.open_session(&session(&account, &other)).await.unwrap());
    let ended = store.revoke(&first, at(1)).await.unwrap();
    assert!(ended.is_some() && store.revoke(&first, at(2)).await.unwrap() == ended, "a repeat returns the same");
    assert_eq!(store.revoke(&token(), at(1)).await.unwrap(), None);
    assert_eq!(refresh(&*store, &first, &successor(), 2).await, Refreshed::Refused);
    assert!(matches!(refresh(&*store, &other, &successor(), 2).await, Refreshed::Rotated(_)));
}

async fn session_ends_after_its_idle_and_maximum_lifetimes(location: &Location) {
    let store = open(location).await;
    let (_, first) = active(&*store, "ada@example.org").await;
    let (second, third) = (successor(), successor());
    refresh(&*store, &first, &second, 900).await;
    let Refreshed::Rotated(session) = refresh(&*store, &second.hash, &third, 1_400).await else {
        panic!("a used session continues");
    };
    assert_eq!(session.expire_time, at(0) + RULES.absolute);
    assert_eq!(refresh(&*store, &third.hash, &successor(), 1_500).await, Refreshed::Refused);
    let (_, unused) = active(&*store, "bob@example.org").await;
    assert_eq!(refresh(&*store, &unused, &successor(), 1_000).await, Refreshed::Refused);
}

async fn only_active_accounts_get_sessions(location: &Location) {
    let store = open(location).await;
    let account = pending("ada@example.org");
    store.insert(&account).await.unwrap();
    assert!(!store.open_session(&session(&account, &token())).await.unwrap());
}

async fn rehash_replaces_only_an_unchanged_hash(location: &Location) {
    let store = open(location).await;
    let (account, _) = active(&*store, "ada@example.org").await;
    let [one, two, three] = ["hash", "two", "three"].map(|text| PasswordHash(text.to_owned()));
    store.rehash(account.id, &one, &two).await.unwrap();
    store.rehash(account.id, &one, &three).await.unwrap();
    assert_eq!(store.find_by_email(&account.email).await.unwrap().unwrap().password, two);
}

async fn ended_sessions_and_used_tokens_are_pruned(location: &Location) {
    let store = open(location).await;
    let (_, first) = active(&*store, "ada@example.org").await;
    let second = successor();
    refresh(&*store, &first, &second, 1).await;
    assert_eq!(store.erase_sealed(at(1)).await.unwrap(), 0, "the grace period is not over");
    assert_eq!(store.erase_sealed(at(2)).await.unwrap(), 1);
    let prune = async |before, used_before| store.prune(at(before), at(used_before), 10).await.unwrap();
    assert_eq!(prune(1_001, 1).await, 0);
    // First the used token, then the session's other token, then the session.
    assert_eq!([prune(0, 2).await, prune(0, 2).await], [1, 0]);
    assert_eq!([prune(1_002, 0).await, prune(1_002, 0).await, prune(1_002, 0).await], [1, 1, 0]);
    assert_eq!(refresh(&*store, &second.hash, &successor(), 3).await, Refreshed::Refused);
}

async fn backlog_is_pruned_in_batches(location: &Location) {
    let store = open(location).await;
    for n in 0..12 {
        let (_, mut presented) = active(&*store, &format!("user{n}@example.org")).await;
        for second in 1..=2 {
            let next = successor();
            refresh(&*store, &presented, &next, second).await;
            presented = next.hash;
        }
    }
    let (ada, _) = active(&*store, "ada@example.org").await;
    let kept = NewSession { expire_time: at(9_000), ..session(&ada, &token()) };
    assert!(store.open_session(&kept).await.unwrap());
    // Two cleanups at once, as of two replicas.
    let cleanups: Vec<_> = (0..2)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut deleted = Vec::new();
                while deleted.last() != Some(&0) {
                    deleted.push(store.prune(at(5_000), at(0), 5).await.unwrap());
                }
                deleted
            })
        })
        .collect();
    let mut deleted = Vec::new();
    for cleanup in cleanups {
        deleted.extend(cleanup.await.unwrap());
    }
    assert!(deleted.iter().all(|rows| *rows <= 5), "{deleted:?}");
    // Three tokens and a session each, and the first session of Ada with its token.
    assert_eq!(deleted.iter().sum::<u64>(), 12 * 4 + 2);
    let left = store.list_sessions(ada.id, &Page::parse(0, "", ada.id).unwrap(), at(5_000)).await.unwrap();
    assert_eq!(left.iter().map(|session| session.id).collect::<Vec<_>>(), [kept.id]);
    assert!(matches!(refresh(&*store, &kept.token, &successor(), 1).await, Refreshed::Rotated(_)), "the token is kept");
}

async fn sixty_four_writers_at_once_all_succeed(location: &Location) {
    let store = open(location).await;
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let (_, first) = active(&*store, &format!("user{n}@example.org")).await;
                refresh(&*store, &first, &successor(), 1).await
            })
        })
        .collect();
    for task in tasks {
        assert!(matches!(task.await.unwrap(), Refreshed::Rotated(_)));
    }
}
