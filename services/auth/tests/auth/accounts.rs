//! The store's contract for the state of accounts and for the jobs.

use std::sync::Arc;

use auth::{
    domain::{EmailAddress, State},
    store::Refreshed,
};
use kit_data::store::Location;

use crate::{
    database::{execute, jobs},
    databases::on_both,
    store::{RULES, active, at, client, id, open, pending, session, successor, token},
};

on_both!(
    abandoned_account_adds_one_job,
    activation_and_cleanup_never_both_succeed,
    suspended_account_is_refused_and_keeps_its_sessions,
);

async fn abandoned_account_adds_one_job(location: &Location) {
    let store = open(location).await;
    let (active, _) = active(&*store, "ada@example.org").await;
    let left = pending("bob@example.org");
    store.insert(&left).await.unwrap();
    assert!(!store.abandon(left.id, at(0), at(5), id()).await.unwrap());
    assert!(store.abandon(left.id, at(1), at(5), id()).await.unwrap());
    for account in [&active, &left] {
        assert!(!store.activate(&session(account, &token()), 0).await.unwrap());
        assert!(!store.abandon(account.id, at(1), at(5), id()).await.unwrap());
    }
    let expected = [("account.abandoned".to_owned(), left.id.0)];
    assert_eq!(jobs(location).await, expected);
}

async fn activation_and_cleanup_never_both_succeed(location: &Location) {
    let store = open(location).await;
    let mut expected = Vec::new();
    for n in 0..32 {
        let account = pending(&format!("user{n}@example.org"));
        store.insert(&account).await.unwrap();
        let (new, email) = (session(&account, &token()), account.email.clone());
        let (activating, abandoning) = (Arc::clone(&store), Arc::clone(&store));
        let activated = async move { activating.activate(&new, 0).await.unwrap() };
        let abandoned = async move { abandoning.abandon(account.id, at(1), at(5), id()).await.unwrap() };
        // The task that is spawned first has a head start, so alternate.
        let (activated, abandoned) = if n % 2 == 0 {
            let (first, second) = (tokio::spawn(activated), tokio::spawn(abandoned));
            (first.await.unwrap(), second.await.unwrap())
        } else {
            let (first, second) = (tokio::spawn(abandoned), tokio::spawn(activated));
            (second.await.unwrap(), first.await.unwrap())
        };
        assert_ne!(activated, abandoned, "exactly one wins");
        let left = store.find_by_email(&email).await.unwrap().map(|account| account.state);
        assert_eq!(left, activated.then_some(State::Active));
        // An activated account adds no event.
        if abandoned {
            expected.push(("account.abandoned".to_owned(), account.id.0));
        }
    }
    expected.sort();
    assert_eq!(jobs(location).await, expected);
}

async fn suspended_account_is_refused_and_keeps_its_sessions(location: &Location) {
    let store = open(location).await;
    let (account, first) = active(&*store, "ada@example.org").await;
    for statement in ["UPDATE accounts SET state = 'suspended'", "UPDATE accounts SET state = 'deleted'"] {
        execute(location, statement).await;
        assert!(!store.open_session(&session(&account, &token())).await.unwrap());
        assert_eq!(
            store.refresh(&first, &successor(), &client("later"), at(1), RULES).await.unwrap(),
            Refreshed::Refused
        );
    }
    execute(location, "UPDATE accounts SET state = 'active'").await;
    assert!(matches!(
        store.refresh(&first, &successor(), &client("later"), at(2), RULES).await.unwrap(),
        Refreshed::Rotated(_)
    ));
    assert_eq!(
        store.find_by_email(&EmailAddress::parse("ada@example.org").unwrap()).await.unwrap().unwrap().id,
        account.id
    );
}
