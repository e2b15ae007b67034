//! Changes of a profile that wait for its row behind its deletion, on PostgreSQL.

use std::sync::Arc;

use kit::Timestamp;
use users::{
    UserStore,
    domain::{Change, State, User},
    store::{InsertError, UpdateError},
};

use crate::{
    databases::Database,
    locks_support::Holder,
    store::{open, user},
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
        store.update(&Change { id: ada.id, handle: None, display_name: name, revision: None }).await
    })
    .await;
    assert!(matches!(updated, Err(UpdateError::NotMatched)), "{updated:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_insert_behind_a_deletion_is_refused() {
    let inserted = behind_a_deletion(|store, ada| async move { store.insert(&ada, 0).await }).await;
    assert!(matches!(inserted, Err(InsertError::NotActive)), "{inserted:?}");
}
