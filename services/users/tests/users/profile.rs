//! Updates by the owner, and deletion by auth.

use std::sync::Arc;

use prost_types::FieldMask;
use proto::users::v1::{DeleteUserRequest, GetUserRequest, UpdateUserRequest, User};
use tokio::task::JoinSet;
use tonic::Status;
use users::{
    config::Directory,
    domain::{Change, Revision, State, UserId},
    store::{InsertError, UpdateError},
};

use crate::{
    bench::{Bench, named_fields, profile},
    databases::on_both,
    handles::COOLING,
    mesh::{refusal, request},
    store::user,
};

on_both!(
    change_increments_the_revision_unless_it_is_refused,
    one_of_sixteen_concurrent_changes_succeeds,
    a_deleted_profile_stays_deleted,
);

pub(crate) async fn update(bench: &Bench, caller: &User, user: User, paths: &[&str]) -> Result<User, Status> {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let message = UpdateUserRequest { user: Some(user), update_mask: Some(FieldMask { paths }) };
    let response = bench.client().update_user(request(message, &[bench.signed_in(caller)])).await?;
    Ok(response.into_inner().user.unwrap())
}

async fn get(bench: &Bench, user: &User) -> Result<User, Status> {
    let message = GetUserRequest { user_id: user.user_id.clone() };
    let response = bench.client().get_user(request(message, &[bench.signed_in(user)])).await?;
    Ok(response.into_inner().user.unwrap())
}

#[tokio::test]
async fn owner_updates_the_fields_of_the_mask() {
    let bench = Bench::new(Directory::Contacts).await;
    let ada = bench.create("ada").await;
    let wanted = User { handle: "lovelace".to_owned(), display_name: "Ada".to_owned(), ..ada.clone() };
    let renamed = update(&bench, &ada, wanted.clone(), &["display_name"]).await.unwrap();
    assert_ne!(renamed.etag, ada.etag);
    assert_eq!(renamed, User { display_name: "Ada".to_owned(), etag: renamed.etag.clone(), ..ada.clone() });
    assert_eq!(get(&bench, &ada).await.unwrap(), renamed);
    let whole = update(&bench, &ada, User { etag: String::new(), ..wanted.clone() }, &[]).await.unwrap();
    assert_eq!((whole.handle.as_str(), whole.display_name.as_str()), ("lovelace", "Ada"));
    bench.end().await;
}

#[tokio::test]
async fn invalid_update_is_refused_and_changes_nothing() {
    let bench = Bench::new(Directory::Contacts).await;
    let (ada, bob) = (bench.create("ada").await, bench.create("bob").await);
    let stranger = User { user_id: kit::ClockAndRng::system().new_id().to_string(), ..bob.clone() };
    for other in [bob.clone(), stranger] {
        assert_eq!(refusal(update(&bench, &ada, other, &[]).await), "PermissionDenied NOT_YOURS");
    }
    let taken = User { handle: "bob".to_owned(), ..ada.clone() };
    assert_eq!(refusal(update(&bench, &ada, taken, &["handle"]).await), "AlreadyExists HANDLE_TAKEN");
    let bad: [(User, &[&str], &str); 5] = [
        (ada.clone(), &["handle", "create_time"], "update_mask"),
        (User { display_name: String::new(), ..ada.clone() }, &[], "user.display_name"),
        (User { display_name: String::new(), ..ada.clone() }, &["display_name"], "user.display_name"),
        (User { handle: String::new(), ..ada.clone() }, &[], "user.handle"),
        (User { handle: "Not A Handle".to_owned(), ..ada.clone() }, &["handle"], "user.handle"),
    ];
    for (user, paths, field) in bad {
        let status = update(&bench, &ada, user, paths).await.unwrap_err();
        assert_eq!(named_fields(&status), [field], "{status:?}");
    }
    let nothing = bench.client().update_user(request(UpdateUserRequest::default(), &[bench.signed_in(&ada)])).await;
    assert_eq!(named_fields(&nothing.unwrap_err()), ["user"]);
    assert_eq!(get(&bench, &ada).await.unwrap(), ada);
    bench.end().await;
}

#[tokio::test]
async fn change_of_an_outdated_profile_is_refused() {
    let bench = Bench::new(Directory::Contacts).await;
    let ada = bench.create("ada").await;
    let named = |name: &str| User { display_name: name.to_owned(), ..ada.clone() };
    let first = update(&bench, &ada, named("First"), &["display_name"]).await.unwrap();
    for etag in [ada.etag.clone(), "made up".to_owned(), "999".to_owned()] {
        let stale = User { etag, ..named("Second") };
        assert_eq!(refusal(update(&bench, &ada, stale, &["display_name"]).await), "Aborted ETAG_MISMATCH");
    }
    assert_eq!(get(&bench, &ada).await.unwrap(), first);
    update(&bench, &ada, User { etag: first.etag.clone(), ..named("Second") }, &["display_name"]).await.unwrap();
    bench.end().await;
}

#[tokio::test]
async fn deleted_profile_is_not_found_and_a_repeat_succeeds() {
    let bench = Bench::new(Directory::Contacts).await;
    let ada = bench.create("ada").await;
    let message = DeleteUserRequest { user_id: ada.user_id.clone(), release_handle: false };
    let refused = bench.client().delete_user(request(message.clone(), &[bench.signed_in(&ada)])).await;
    assert_eq!(refusal(refused), "PermissionDenied INTERNAL_METHOD");
    let messaging = bench.mesh.service_token("messaging", "users", &bench.mesh.clock_rng);
    let refused = bench.client().delete_user(request(message, &[messaging])).await;
    assert_eq!(refusal(refused), "PermissionDenied SERVICE_NOT_ALLOWED");

    for _ in 0..2 {
        bench.delete(&ada.user_id).await;
    }
    assert_eq!(refusal(get(&bench, &ada).await), "NotFound USER_NOT_FOUND");
    assert_eq!(refusal(update(&bench, &ada, ada.clone(), &[]).await), "NotFound USER_NOT_FOUND");
    let poser = bench.client().create_user(request(profile("ada"), &[bench.auth()])).await;
    assert_eq!(refusal(poser), "AlreadyExists HANDLE_TAKEN");
    bench.end().await;
}

#[tokio::test]
async fn late_sign_up_after_a_deletion_creates_no_profile() {
    let bench = Bench::new(Directory::Contacts).await;
    let late = profile("ada");
    bench.delete(&late.user_id).await;
    let response = bench.client().create_user(request(late, &[bench.auth()])).await;
    assert_eq!(refusal(response), "FailedPrecondition USER_NOT_ACTIVE");
    bench.create("ada").await;
    bench.end().await;
}

fn named(id: UserId, name: &str, revision: Option<Revision>) -> Change {
    Change { id, handle: None, display_name: Some(name.to_owned()), revision }
}

async fn change_increments_the_revision_unless_it_is_refused(location: &kit_data::store::Location) {
    let store = users::store::open(location, 4).await.unwrap();
    let (ada, bob) = (user("ada"), user("bob"));
    store.insert(&ada, 0).await.unwrap();
    store.insert(&bob, 0).await.unwrap();
    let changed = store.update(&named(ada.id, "Ada", None), &COOLING).await.unwrap();
    assert_eq!((changed.revision, changed.display_name.as_str(), &changed.handle), (Revision(2), "Ada", &ada.handle));
    let taken = Change { handle: Some("bob".to_owned()), display_name: None, ..named(ada.id, "", None) };
    assert!(matches!(store.update(&taken, &COOLING).await, Err(UpdateError::HandleTaken)));
    assert_eq!(store.find(ada.id).await.unwrap(), Some(changed));
    let unknown = UserId(kit::ClockAndRng::system().new_id());
    assert!(matches!(store.update(&named(unknown, "Unknown", None), &COOLING).await, Err(UpdateError::NotMatched)));
}

async fn one_of_sixteen_concurrent_changes_succeeds(location: &kit_data::store::Location) {
    let store = users::store::open(location, 16).await.unwrap();
    let ada = store.insert(&user("ada"), 0).await.unwrap();
    let mut racers = JoinSet::new();
    for n in 0..16 {
        let (store, change) = (Arc::clone(&store), named(ada.id, &format!("Ada {n}"), Some(ada.revision)));
        racers.spawn(async move { store.update(&change, &COOLING).await });
    }
    let outcomes = racers.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    let lost = outcomes.iter().filter(|outcome| matches!(outcome, Err(UpdateError::NotMatched))).count();
    assert_eq!(lost, 15, "{outcomes:?}");
}

async fn a_deleted_profile_stays_deleted(location: &kit_data::store::Location) {
    let store = users::store::open(location, 4).await.unwrap();
    let (ada, never) = (user("ada"), user("never"));
    store.insert(&ada, 0).await.unwrap();
    for id in [ada.id, ada.id, never.id] {
        store.delete(id, false, ada.create_time).await.unwrap();
        let gone = store.find(id).await.unwrap().unwrap();
        assert_eq!((gone.state, gone.display_name.as_str()), (State::Deleted, ""));
        assert!(matches!(store.update(&named(id, "Back", None), &COOLING).await, Err(UpdateError::NotMatched)));
    }
    for late in [&ada, &never] {
        assert!(matches!(store.insert(late, 0).await, Err(InsertError::NotActive)));
    }
    assert!(matches!(store.insert(&user("ada"), 0).await, Err(InsertError::HandleTaken)));
    store.insert(&user("never"), 0).await.unwrap();
    // The handle of a sign-up that was never finished is free again.
    let left = user("left");
    store.insert(&left, 0).await.unwrap();
    store.delete(left.id, true, left.create_time).await.unwrap();
    assert_eq!(store.find(left.id).await.unwrap().unwrap().state, State::Deleted);
    store.insert(&user("left"), 0).await.unwrap();
}
