//! Changes of a profile that wait for the lock of another change, on PostgreSQL.

use std::sync::Arc;

use kit::Timestamp;
use users::{
    UserStore,
    domain::{Change, Cooling, State, User},
    store::{InsertError, UpdateError},
};

use crate::{
    databases::Database,
    handles::{COOLING, renamed},
    locks_support::Holder,
    store::{open, page, user},
};

/// Queues the deletion of a profile behind its row's lock, and `change` behind the deletion.
async fn behind_a_deletion<T, F>(change: impl FnOnce(Arc<dyn UserStore>, User) -> F) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let database = Database::postgres().await;
    let (store, ada) = (open(&database.location).await, user("ada"));
    store.insert(&ada, 0).await.unwrap();
    let mut holder = Holder::begin(&database.location, "users").await;
    holder.run("SELECT 1 FROM users WHERE user_id = $1 FOR UPDATE", &[ada.id.0]).await;
    let of = Arc::clone(&store);
    let deleting = tokio::spawn(async move { of.delete(ada.id, false, Timestamp::from_micros(1)).await });
    holder.waiters(1).await;
    let changing = tokio::spawn(change(Arc::clone(&store), ada.clone()));
    holder.waiters(2).await;
    holder.release().await;
    deleting.await.unwrap().unwrap();
    let outcome = changing.await.unwrap();
    let left = store.find(ada.id).await.unwrap().unwrap();
    assert_eq!((left.state, left.display_name.as_str()), (State::Deleted, ""));
    drop(store);
    database.remove().await;
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn update_behind_a_deletion_is_refused() {
    let updated = behind_a_deletion(|store, ada| async move {
        let name = Some("Ada again".to_owned());
        store.update(&Change { id: ada.id, handle: None, display_name: name, revision: None }, &COOLING).await
    })
    .await;
    assert!(matches!(updated, Err(UpdateError::NotMatched)), "{updated:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_insert_behind_a_deletion_is_refused() {
    let inserted = behind_a_deletion(|store, ada| async move { store.insert(&ada, 0).await }).await;
    assert!(matches!(inserted, Err(InsertError::NotActive)), "{inserted:?}");
}

/// Queues `taking` behind the change of Ada's handle. The change waits at its last statement for an uncommitted row
/// with the same handle.
async fn behind_a_release<T, F>(taking: impl FnOnce(Arc<dyn UserStore>) -> F) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let database = Database::postgres().await;
    let (store, ada) = (open(&database.location).await, user("ada"));
    store.insert(&ada, 0).await.unwrap();
    store.insert(&user("bob"), 0).await.unwrap();
    let eve = store.insert(&user("eve"), 0).await.unwrap();
    let mut holder = Holder::begin(&database.location, "users").await;
    let blocking = "INSERT INTO released_handles (handle, user_id, expire_time) VALUES ('ada', $1, now())";
    holder.run(blocking, &[eve.id.0]).await;
    let of = Arc::clone(&store);
    let releasing = tokio::spawn(async move { of.update(&renamed(&ada, "lovelace"), &COOLING).await });
    holder.waiters(1).await;
    let taking = tokio::spawn(taking(Arc::clone(&store)));
    holder.waiters(2).await;
    holder.release().await;
    assert_eq!(releasing.await.unwrap().unwrap().handle, "lovelace");
    let outcome = taking.await.unwrap();
    drop(store);
    database.remove().await;
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn change_to_a_handle_behind_its_release_is_refused() {
    let taken = behind_a_release(|store| async move {
        let bob = store.list(&page("bo", 1)).await.unwrap().remove(0).user;
        store.update(&renamed(&bob, "ada"), &COOLING).await
    })
    .await;
    assert!(matches!(taken, Err(UpdateError::HandleTaken)), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_with_a_handle_behind_its_release_is_refused() {
    let taken = behind_a_release(|store| async move { store.insert(&user("ada"), 0).await }).await;
    assert!(matches!(taken, Err(InsertError::HandleTaken)), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_two_replicas_do_not_exceed_the_limit() {
    let database = Database::postgres().await;
    let (one, other, ada) = (open(&database.location).await, open(&database.location).await, user("ada"));
    one.insert(&ada, 0).await.unwrap();
    let limit = Cooling { limit: 1, ..COOLING };
    let mut holder = Holder::begin(&database.location, "users").await;
    holder.run("SELECT 1 FROM users WHERE user_id = $1 FOR UPDATE", &[ada.id.0]).await;
    let (first, second) = (renamed(&ada, "lovelace"), renamed(&ada, "countess"));
    let of = Arc::clone(&one);
    let first = tokio::spawn(async move { of.update(&first, &limit).await });
    holder.waiters(1).await;
    let of = Arc::clone(&other);
    let second = tokio::spawn(async move { of.update(&second, &limit).await });
    holder.waiters(2).await;
    holder.release().await;
    assert_eq!(first.await.unwrap().unwrap().handle, "lovelace");
    let refused = second.await.unwrap();
    assert!(matches!(refused, Err(UpdateError::TooManyHandles)), "{refused:?}");
    assert_eq!(one.find(ada.id).await.unwrap().unwrap().handle, "lovelace");
    drop((one, other));
    database.remove().await;
}
