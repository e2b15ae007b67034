//! The contract of `UserStore`.

use std::{num::NonZeroU32, sync::Arc};

use kit::{ClockAndRng, Timestamp};
use kit_data::store::{Location, Unopened};
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions,
};
use tokio::task::JoinSet;
use users::{
    UserStore,
    domain::{Cursor, Page, Revision, State, User, UserId},
    store::InsertError,
};

use uuid::Uuid;

use crate::{
    databases::{Database, on_both, patient},
    plan::{plan, statement},
};

on_both! {
    a_stored_user_is_found,
    a_later_attempt_replaces_handle_and_name_only,
    a_user_who_is_not_active_is_not_replaced,
    a_taken_handle_is_refused,
    one_of_sixteen_concurrent_inserts_gets_the_handle,
    pages_list_each_active_user_once_in_order,
    pages_are_complete_while_users_are_added,
    sixty_four_writers_at_once_all_succeed,
    an_older_program_refuses_a_newer_schema_in_one_line,
    the_directory_reads_an_index,
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrently_started_replicas_all_find_the_schema() {
    let database = Database::postgres().await;
    let mut starting = JoinSet::new();
    for _ in 0..8 {
        let location = database.location.clone();
        starting.spawn(async move { users::store::open(&location, 1).await.map(drop) });
    }
    for started in starting.join_all().await {
        started.unwrap_or_else(|e| panic!("{e}"));
    }
    database.remove().await;
}

pub(crate) async fn open(location: &Location) -> Arc<dyn UserStore> {
    users::store::open(location, patient(8)).await.unwrap()
}

pub(crate) fn user(handle: &str) -> User {
    User {
        id: UserId(ClockAndRng::system().new_id()),
        handle: handle.to_owned(),
        display_name: format!("{handle} the Great"),
        state: State::Active,
        create_time: Timestamp::from_micros(1_700_000_000_123_456),
        revision: Revision::FIRST,
    }
}

pub(crate) fn page(after: &str, size: u32) -> Page {
    let after = Cursor { key: after.to_owned(), id: UserId(Uuid::nil()) };
    Page { after, size: NonZeroU32::new(size).unwrap() }
}

/// Runs statements directly on the database.
pub(crate) async fn tamper(location: &Location, statement: &str) {
    let statement = AssertSqlSafe(statement.to_owned());
    match location {
        Location::Postgres(url) => {
            let mut connection = PgConnection::connect(url.expose()).await.unwrap();
            connection.execute("SET search_path TO users").await.unwrap();
            sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        }
        Location::Sqlite(path) => {
            let options = SqliteConnectOptions::new().filename(path);
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        }
    }
}

async fn a_stored_user_is_found(location: &Location) {
    let store = open(location).await;
    let (ada, bob) = (user("ada"), user("bob"));
    assert_eq!(store.insert(&ada, 0).await.unwrap(), ada);
    assert_eq!(store.insert(&bob, 0).await.unwrap(), bob);
    assert_eq!(store.find(ada.id).await.unwrap(), Some(ada.clone()));
    let unknown = UserId(ClockAndRng::system().new_id());
    assert_eq!(store.find(unknown).await.unwrap(), None);

    let mut found = store.find_all(&[bob.id, unknown, ada.id, bob.id]).await.unwrap();
    found.sort_by(|a, b| a.handle.cmp(&b.handle));
    assert_eq!(found, [ada, bob]);
    assert_eq!(store.find_all(&[]).await.unwrap(), []);
    assert!(store.is_reachable().await);
}

async fn a_later_attempt_replaces_handle_and_name_only(location: &Location) {
    let store = open(location).await;
    let first = store.insert(&user("ada"), 0).await.unwrap();
    assert_eq!(store.insert(&first, 0).await.unwrap(), first);

    let mut later = User { handle: "lovelace".to_owned(), display_name: "Countess".to_owned(), ..first.clone() };
    later.create_time = Timestamp::from_micros(1_800_000_000_000_000);
    // The same attempt once more changes nothing.
    assert_eq!(store.insert(&later, 0).await.unwrap(), first);
    let replaced = store.insert(&later, 1).await.unwrap();
    assert_eq!(replaced, User { create_time: first.create_time, revision: Revision(2), ..later });
    assert_eq!(store.find(first.id).await.unwrap(), Some(replaced));
    assert!(matches!(store.insert(&first, 0).await, Err(InsertError::Superseded)), "an earlier attempt is refused");
    // The old handle is free again.
    store.insert(&user("ada"), 0).await.unwrap();
}

async fn a_user_who_is_not_active_is_not_replaced(location: &Location) {
    let store = open(location).await;
    for state in [State::Suspended, State::Deleted] {
        let kept = store.insert(&User { state, ..user(state.as_str()) }, 0).await.unwrap();
        let again = User { handle: format!("{}_again", state.as_str()), state: State::Active, ..kept.clone() };
        assert!(matches!(store.insert(&again, 0).await, Err(InsertError::NotActive)));
        assert_eq!(store.find(kept.id).await.unwrap(), Some(kept.clone()));
        // The handle stays taken, so that no other user can impersonate its owner.
        assert!(matches!(store.insert(&user(&kept.handle), 0).await, Err(InsertError::HandleTaken)));
    }
    assert_eq!(store.list(&page("", 10)).await.unwrap(), []);
}

async fn a_taken_handle_is_refused(location: &Location) {
    let store = open(location).await;
    store.insert(&user("ada"), 0).await.unwrap();
    assert!(matches!(store.insert(&user("ada"), 0).await, Err(InsertError::HandleTaken)));
    let bob = store.insert(&user("bob"), 0).await.unwrap();
    let renamed = User { handle: "ada".to_owned(), ..bob.clone() };
    assert!(matches!(store.insert(&renamed, 1).await, Err(InsertError::HandleTaken)));
    assert_eq!(store.find(bob.id).await.unwrap(), Some(bob));
}

async fn one_of_sixteen_concurrent_inserts_gets_the_handle(location: &Location) {
    let store = open(location).await;
    for handle in ["first", "second", "third"] {
        let mut racers = JoinSet::new();
        for _ in 0..16 {
            let store = Arc::clone(&store);
            racers.spawn(async move { store.insert(&user(handle), 0).await });
        }
        let outcomes = racers.join_all().await;
        let lost = outcomes.iter().filter(|outcome| matches!(outcome, Err(InsertError::HandleTaken))).count();
        assert_eq!(lost, 15, "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    }
}

/// All handles, read in pages of `size`.
async fn walk(store: &Arc<dyn UserStore>, size: u32) -> Vec<String> {
    let (mut handles, mut after) = (Vec::new(), String::new());
    loop {
        let mut users = store.list(&page(&after, size)).await.unwrap();
        let more = users.len() > usize::try_from(size).unwrap();
        users.truncate(usize::try_from(size).unwrap());
        handles.extend(users.into_iter().map(|listed| listed.user.handle));
        if !more {
            return handles;
        }
        after = handles.last().unwrap().clone();
    }
}

async fn pages_list_each_active_user_once_in_order(location: &Location) {
    let store = open(location).await;
    // '_' sorts between digits and letters. With the order of a locale, pages would lose users.
    let mut handles: Vec<String> = ["a_1", "a_z", "a1", "aa", "ab_", "ab0", "z", "zz_9"].map(str::to_owned).into();
    for handle in handles.iter().rev() {
        store.insert(&user(handle), 0).await.unwrap();
    }
    store.insert(&User { state: State::Suspended, ..user("hidden") }, 0).await.unwrap();
    handles.sort();
    for size in 1..=9 {
        assert_eq!(walk(&store, size).await, handles, "pages of {size}");
    }
}

async fn pages_are_complete_while_users_are_added(location: &Location) {
    let store = open(location).await;
    let before: Vec<String> = (0..60).map(|n| format!("u{n:03}")).collect();
    for handle in &before {
        store.insert(&user(handle), 0).await.unwrap();
    }
    let adding = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for n in 0..60 {
                store.insert(&user(&format!("u{n:03}x")), 0).await.unwrap();
            }
        }
    });
    while !adding.is_finished() {
        let seen = walk(&store, 7).await;
        assert!(seen.is_sorted_by(|a, b| a < b), "each once and in order: {seen:?}");
        assert!(before.iter().all(|handle| seen.contains(handle)), "no earlier user is skipped: {seen:?}");
    }
    adding.await.unwrap();
    assert_eq!(walk(&store, 7).await.len(), 120);
}

async fn sixty_four_writers_at_once_all_succeed(location: &Location) {
    let store = open(location).await;
    let mut writers = JoinSet::new();
    for writer in 0..64 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for n in 0..4 {
                store.insert(&user(&format!("w{writer:02}_{n}")), 0).await?;
                store.list(&page("", 5)).await.map_err(InsertError::Store)?;
            }
            Ok::<_, InsertError>(())
        });
    }
    for outcome in writers.join_all().await {
        outcome.unwrap();
    }
    assert_eq!(walk(&store, 100).await.len(), 256);
}

async fn an_older_program_refuses_a_newer_schema_in_one_line(location: &Location) {
    drop(open(location).await);
    let migration = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     SELECT 9999, 'from the future', success, checksum, execution_time FROM _sqlx_migrations LIMIT 1";
    tamper(location, migration).await;
    let Err(Unopened(line)) = users::store::open(location, 2).await else { panic!("it opened") };
    assert!(line.contains("is newer than this program: it has migration 9999"), "{line}");
    assert!(!line.contains('\n') && !line.contains("trellis@"), "{line}");
}

async fn the_directory_reads_an_index(location: &Location) {
    drop(open(location).await);
    let columns = "INSERT INTO users (user_id, handle, display_name, state, create_time) SELECT";
    let postgres = format!(
        "{columns} gen_random_uuid(), 'u' || n, 'U', 'active', now() FROM generate_series(1, 20000) AS n; ANALYZE users"
    );
    let sqlite = format!(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000) \
         {columns} randomblob(16), 'u' || n, 'U', 'active', 0 FROM n; ANALYZE"
    );
    let list = statement(include_str!("../../src/store/sql.rs"), "async fn list(");
    let plan = plan(location, "users", &postgres, &sqlite, &list).await;
    // The index of the constraint has a generated name in SQLite.
    assert!(plan.contains("users_handle_key") || plan.contains("USING INDEX sqlite_autoindex_users_2"), "{plan}");
    assert!(!plan.contains("Sort") && !plan.contains("TEMP B-TREE"), "{plan}");
}
