//! Which handles a user may take.

use std::time::Duration;

use kit::Timestamp;
use kit_data::store::Location;
use proto::users::v1::{CreateUserRequest, User as WireUser};
use tonic::Code;
use users::{
    UserStore,
    config::Directory,
    domain::{Change, Cooling, User},
    store::{InsertError, UpdateError},
};

use crate::{
    bench::{Bench, named_fields, profile},
    databases::on_both,
    mesh::{refusal, request},
    profile::update,
    store::{open, user},
};

on_both! {
    released_handle_is_reserved_for_its_owner,
    released_handle_is_free_after_the_cooling_period,
    user_does_not_hold_more_handles_than_the_limit,
    without_a_cooling_period_a_handle_is_free_at_once,
    handle_of_a_deleted_owner_stays_reserved,
    only_expired_released_handles_are_deleted,
}

/// A cooling period of a day, which starts one second after the profiles of the tests are created.
pub(crate) const COOLING: Cooling =
    Cooling { now: Timestamp::from_micros(1_700_000_001_000_000), period: Duration::from_secs(86_400), limit: 3 };

/// The change of a handle.
pub(crate) fn renamed(user: &User, handle: &str) -> Change {
    Change { id: user.id, handle: Some(handle.to_owned()), display_name: None, revision: None }
}

/// [`COOLING`], later by `span`.
fn after(span: Duration) -> Cooling {
    Cooling { now: COOLING.now + span, ..COOLING }
}

/// Signs up at `now`.
async fn sign_up(store: &dyn UserStore, handle: &str, now: Timestamp) -> Result<User, InsertError> {
    store.insert(&User { create_time: now, ..user(handle) }, 0).await
}

async fn released_handle_is_reserved_for_its_owner(location: &Location) {
    let store = open(location).await;
    let (ada, bob) = (user("ada"), user("bob"));
    store.insert(&ada, 0).await.unwrap();
    store.insert(&bob, 0).await.unwrap();
    store.update(&renamed(&ada, "lovelace"), &COOLING).await.unwrap();
    let refused = store.update(&renamed(&bob, "ada"), &COOLING).await;
    assert!(matches!(refused, Err(UpdateError::HandleTaken)), "{refused:?}");
    assert_eq!(store.find(bob.id).await.unwrap(), Some(bob.clone()));
    let refused = sign_up(&*store, "ada", COOLING.now).await;
    assert!(matches!(refused, Err(InsertError::HandleTaken)), "{refused:?}");
    // A later attempt of a sign-up cannot take it either.
    let refused = store.insert(&User { handle: "ada".to_owned(), ..bob.clone() }, 1).await;
    assert!(matches!(refused, Err(InsertError::HandleTaken)), "{refused:?}");
    assert_eq!(store.find(bob.id).await.unwrap(), Some(bob.clone()));
    // The owner takes the handle back, and the other one is reserved instead.
    assert_eq!(store.update(&renamed(&ada, "ada"), &COOLING).await.unwrap().handle, "ada");
    let refused = store.update(&renamed(&bob, "lovelace"), &COOLING).await;
    assert!(matches!(refused, Err(UpdateError::HandleTaken)), "{refused:?}");
}

async fn released_handle_is_free_after_the_cooling_period(location: &Location) {
    let store = open(location).await;
    let ada = store.insert(&user("ada"), 0).await.unwrap();
    store.update(&renamed(&ada, "lovelace"), &COOLING).await.unwrap();
    let last = COOLING.now + COOLING.period - Duration::from_micros(1);
    assert!(matches!(sign_up(&*store, "ada", last).await, Err(InsertError::HandleTaken)));
    sign_up(&*store, "ada", COOLING.now + COOLING.period).await.unwrap();
    // It belongs to the new owner now.
    let later = after(COOLING.period);
    assert!(matches!(store.update(&renamed(&ada, "ada"), &later).await, Err(UpdateError::HandleTaken)));
}

async fn user_does_not_hold_more_handles_than_the_limit(location: &Location) {
    let store = open(location).await;
    let ada = store.insert(&user("ada"), 0).await.unwrap();
    for handle in ["ada1", "ada2", "ada3"] {
        store.update(&renamed(&ada, handle), &COOLING).await.unwrap();
    }
    let refused = store.update(&renamed(&ada, "ada4"), &COOLING).await;
    assert!(matches!(refused, Err(UpdateError::TooManyHandles)), "{refused:?}");
    let found = store.find(ada.id).await.unwrap().unwrap();
    assert_eq!(found.handle, "ada3");
    // Changes that reserve no further handle succeed: the same handle, a former one, another name.
    store.update(&renamed(&ada, "ada3"), &COOLING).await.unwrap();
    store.update(&renamed(&ada, "ada"), &COOLING).await.unwrap();
    let name = Change { handle: None, display_name: Some("Ada".to_owned()), ..renamed(&ada, "") };
    store.update(&name, &COOLING).await.unwrap();
    // The refused handle is not reserved.
    sign_up(&*store, "ada4", COOLING.now).await.unwrap();
    store.update(&renamed(&ada, "ada5"), &after(COOLING.period)).await.unwrap();
}

async fn without_a_cooling_period_a_handle_is_free_at_once(location: &Location) {
    let store = open(location).await;
    let ada = store.insert(&user("ada"), 0).await.unwrap();
    let none = Cooling { period: Duration::ZERO, limit: 1, ..COOLING };
    for handle in ["ada1", "ada2", "ada3"] {
        store.update(&renamed(&ada, handle), &none).await.unwrap();
    }
    sign_up(&*store, "ada", COOLING.now).await.unwrap();
}

async fn handle_of_a_deleted_owner_stays_reserved(location: &Location) {
    let store = open(location).await;
    let ada = store.insert(&user("ada"), 0).await.unwrap();
    store.update(&renamed(&ada, "lovelace"), &COOLING).await.unwrap();
    store.delete(ada.id, false, COOLING.now).await.unwrap();
    assert!(matches!(sign_up(&*store, "ada", COOLING.now).await, Err(InsertError::HandleTaken)));
    sign_up(&*store, "ada", COOLING.now + COOLING.period).await.unwrap();
    let late = sign_up(&*store, "lovelace", COOLING.now + COOLING.period).await;
    assert!(matches!(late, Err(InsertError::HandleTaken)), "the last handle stays taken: {late:?}");
}

async fn only_expired_released_handles_are_deleted(location: &Location) {
    let store = open(location).await;
    for handle in ["ada", "bob", "eve"] {
        let owner = store.insert(&user(handle), 0).await.unwrap();
        store.update(&renamed(&owner, &format!("{handle}_new")), &COOLING).await.unwrap();
    }
    let dan = store.insert(&user("dan"), 0).await.unwrap();
    store.update(&renamed(&dan, "dan_new"), &after(Duration::from_secs(1))).await.unwrap();
    assert_eq!(store.forget_released(COOLING.now).await.unwrap(), 0);
    let due = COOLING.now + COOLING.period;
    assert_eq!(store.forget_released(due).await.unwrap(), 3);
    assert_eq!(store.forget_released(due).await.unwrap(), 0);
    assert!(matches!(sign_up(&*store, "dan", due).await, Err(InsertError::HandleTaken)));
}

fn with_handle(user: &WireUser, handle: &str) -> WireUser {
    WireUser { handle: handle.to_owned(), etag: String::new(), ..user.clone() }
}

#[tokio::test]
async fn reserved_handle_is_refused_by_name() {
    let bench = Bench::new(Directory::Contacts).await;
    let ada = bench.create("ada").await;
    for handle in ["admin", "adm1n_", "support24"] {
        let refused = bench.client().create_user(request(profile(handle), &[bench.auth()])).await.unwrap_err();
        assert_eq!(named_fields(&refused), ["handle"], "{refused:?}");
        assert_eq!(refusal(Err::<(), _>(refused)), "InvalidArgument HANDLE_RESERVED");
        let refused = update(&bench, &ada, with_handle(&ada, handle), &["handle"]).await.unwrap_err();
        assert_eq!((refused.code(), named_fields(&refused)), (Code::InvalidArgument, vec!["user.handle".to_owned()]));
        assert_eq!(refused.message(), "user.handle: is reserved or looks like a reserved name; choose another");
    }
    bench.end().await;
}

#[tokio::test]
async fn owner_keeps_a_handle_that_became_reserved() {
    let bench = Bench::new(Directory::Contacts).await;
    let store = users::store::open(&bench.database.location, 1).await.unwrap();
    let admin = store.insert(&user("admin"), 0).await.unwrap();
    drop(store);
    let admin = WireUser {
        user_id: admin.id.to_string(),
        handle: admin.handle,
        display_name: "Root".to_owned(),
        ..WireUser::default()
    };
    let kept = update(&bench, &admin, admin.clone(), &[]).await.unwrap();
    assert_eq!((kept.handle.as_str(), kept.display_name.as_str()), ("admin", "Root"));
    let refused = update(&bench, &admin, with_handle(&admin, "support"), &["handle"]).await;
    assert_eq!(refusal(refused), "InvalidArgument HANDLE_RESERVED");
    bench.end().await;
}

#[tokio::test]
async fn former_handle_is_reserved_and_handle_changes_are_limited() {
    let bench = Bench::new(Directory::Contacts).await;
    let (ada, bob) = (bench.create("ada").await, bench.create("bob").await);
    for handle in ["ada1", "ada2", "ada3"] {
        update(&bench, &ada, with_handle(&ada, handle), &["handle"]).await.unwrap();
    }
    let refused = update(&bench, &ada, with_handle(&ada, "ada4"), &["handle"]).await;
    assert_eq!(refusal(refused), "ResourceExhausted TOO_MANY_HANDLES");
    let taken = update(&bench, &bob, with_handle(&bob, "ada"), &["handle"]).await;
    assert_eq!(refusal(taken), "AlreadyExists HANDLE_TAKEN");
    let poser = CreateUserRequest { handle: "ada".to_owned(), ..profile("eve") };
    let taken = bench.client().create_user(request(poser, &[bench.auth()])).await;
    assert_eq!(refusal(taken), "AlreadyExists HANDLE_TAKEN");
    let back = update(&bench, &ada, with_handle(&ada, "ada"), &["handle"]).await.unwrap();
    assert_eq!(back.handle, "ada");
    bench.end().await;
}
