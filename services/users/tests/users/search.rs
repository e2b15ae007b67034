//! Search for users by handle and by name.

use std::sync::Arc;

use kit_data::store::Location;
use proto::users::v1::{ListUsersRequest, UpdateUserRequest};
use tokio::task::JoinSet;
use users::{
    UserStore,
    config::Directory,
    domain::{Change, Page, Query, State, User},
};

use crate::{
    bench::{Bench, named_fields, profile},
    databases::{Database, on_both},
    directory::{handles, list},
    handles::COOLING,
    locks_support::Holder,
    mesh::{refusal, request},
    plan::{plan, statement},
    store::{open, tamper, user},
};

on_both! {
    search_finds_names_and_handles_as_they_are_now,
    pages_of_a_search_list_each_match_once,
    profiles_older_than_the_search_are_found_once_indexed,
    profile_changed_by_an_older_program_is_indexed_again,
    indexing_during_changes_keeps_the_newest_names,
    search_reads_an_index,
    indexing_reads_an_index,
}

fn named(handle: &str, display_name: &str) -> User {
    User { display_name: display_name.to_owned(), ..user(handle) }
}

/// The handles that match `query`, read in pages of `size`.
async fn found(store: &Arc<dyn UserStore>, query: &str, size: i32) -> Vec<String> {
    let query = Query::parse(query).unwrap();
    let (mut handles, mut token) = (Vec::new(), String::new());
    let size_of_page = usize::try_from(size).unwrap();
    loop {
        let page = Page::parse(size, &token, Some(&query)).unwrap();
        let mut listed = store.search(&query, &page).await.unwrap();
        let more = listed.len() > size_of_page;
        listed.truncate(size_of_page);
        handles.extend(listed.iter().map(|listed| listed.user.handle.clone()));
        if !more {
            return handles;
        }
        token = listed.last().unwrap().cursor().token(Some(&query));
    }
}

fn rename(user: &User, display_name: &str) -> Change {
    Change { id: user.id, handle: None, display_name: Some(display_name.to_owned()), revision: None }
}

async fn search_finds_names_and_handles_as_they_are_now(location: &Location) {
    let store = open(location).await;
    let ada = store.insert(&named("countess", "Ada Lovelace"), 0).await.unwrap();
    store.insert(&named("hidden", "Ada Hidden"), 0).await.unwrap();
    store.insert(&User { state: State::Suspended, ..named("away", "Ada Away") }, 0).await.unwrap();
    for query in ["count", "ada l", "LOVE"] {
        assert_eq!(found(&store, query, 10).await, ["countess"], "{query}");
    }
    store.insert(&User { display_name: "Augusta".to_owned(), ..ada.clone() }, 1).await.unwrap();
    assert_eq!(found(&store, "lovelace", 10).await, Vec::<String>::new(), "a later sign-up attempt replaces the name");
    store.update(&rename(&ada, "Ada King"), &COOLING).await.unwrap();
    assert_eq!(found(&store, "aug", 10).await, Vec::<String>::new());
    assert_eq!(found(&store, "king", 10).await, ["countess"]);
    assert_eq!(found(&store, "ada", 10).await, ["hidden", "countess"], "in the order of the matching term");
    store.delete(ada.id, false, ada.create_time).await.unwrap();
    for query in ["king", "count", "ada k"] {
        assert_eq!(found(&store, query, 10).await, Vec::<String>::new(), "{query}");
    }
    assert_eq!(store.index_stale(10).await.unwrap(), 0, "each change leaves current terms");
}

async fn pages_of_a_search_list_each_match_once(location: &Location) {
    let store = open(location).await;
    let mut expected = Vec::new();
    for n in 0..23 {
        // Several users share a term, and each has several matching terms.
        let handle = format!("ada_{n:02}");
        store.insert(&named(&handle, "Ada Adams Ada"), 0).await.unwrap();
        store.insert(&named(&format!("bob_{n:02}"), "Bob"), 0).await.unwrap();
        expected.push(handle);
    }
    for size in [1, 2, 7, 23, 100] {
        let mut seen = found(&store, "ada", size).await;
        seen.sort();
        assert_eq!(seen, expected, "pages of {size}");
    }
    for query in ["🦊", "%", "ada z", "zz"] {
        assert_eq!(found(&store, query, 10).await, Vec::<String>::new(), "{query}");
    }
}

/// Removes the search terms, as if a release without the search had written the profiles.
async fn forget_terms(location: &Location) {
    tamper(location, "DELETE FROM search_terms; UPDATE users SET terms_revision = 0").await;
}

async fn profiles_older_than_the_search_are_found_once_indexed(location: &Location) {
    let store = open(location).await;
    for n in 0..25 {
        store.insert(&named(&format!("user_{n:02}"), "Zoë"), 0).await.unwrap();
    }
    let gone = store.insert(&named("gone", "Zoë"), 0).await.unwrap();
    store.delete(gone.id, false, gone.create_time).await.unwrap();
    forget_terms(location).await;
    assert_eq!(found(&store, "zoë", 100).await, Vec::<String>::new());
    // Indexing may stop after any batch and continues from there.
    assert_eq!(store.index_stale(10).await.unwrap(), 10);
    assert_eq!(open(location).await.index_stale(10).await.unwrap(), 10);
    assert_eq!(store.index_stale(10).await.unwrap(), 6);
    assert_eq!(store.index_stale(10).await.unwrap(), 0);
    assert_eq!(found(&store, "zoë", 7).await.len(), 25);
}

async fn profile_changed_by_an_older_program_is_indexed_again(location: &Location) {
    let store = open(location).await;
    store.insert(&named("ada", "Ada"), 0).await.unwrap();
    tamper(location, "UPDATE users SET display_name = 'Countess', revision = revision + 1").await;
    assert_eq!(store.index_stale(10).await.unwrap(), 1);
    assert_eq!(found(&store, "countess", 10).await, ["ada"]);
}

async fn indexing_during_changes_keeps_the_newest_names(location: &Location) {
    let store = open(location).await;
    let mut people = Vec::new();
    for n in 0..8 {
        people.push(store.insert(&named(&format!("user_{n}"), "Old"), 0).await.unwrap());
    }
    forget_terms(location).await;
    let mut tasks = JoinSet::new();
    for one in people {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for n in 0..10 {
                store.update(&rename(&one, &format!("Name{n}")), &COOLING).await.unwrap();
            }
            store.update(&rename(&one, "Newest"), &COOLING).await.unwrap();
        });
    }
    for _ in 0..3 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for _ in 0..10 {
                store.index_stale(4).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    store.index_stale(100).await.unwrap();
    assert_eq!(found(&store, "newest", 3).await.len(), 8);
    for query in ["old", "name"] {
        assert_eq!(found(&store, query, 10).await, Vec::<String>::new(), "{query}");
    }
}

/// Two changes wait for the profile's row; the terms are those of the later one.
#[tokio::test(flavor = "multi_thread")]
async fn terms_match_the_last_of_two_waiting_changes() {
    let database = Database::postgres().await;
    let store = open(&database.location).await;
    let ada = store.insert(&named("ada", "First"), 0).await.unwrap();
    let mut holder = Holder::begin(&database.location, "users").await;
    holder.run("SELECT 1 FROM users WHERE user_id = $1 FOR UPDATE", &[ada.id.0]).await;
    let mut changes = JoinSet::new();
    for (waiters, name) in [(1, "Second"), (2, "Third")] {
        let (store, change) = (Arc::clone(&store), rename(&ada, name));
        changes.spawn(async move { store.update(&change, &COOLING).await.unwrap() });
        holder.waiters(waiters).await;
    }
    holder.release().await;
    changes.join_all().await;
    assert_eq!(found(&store, "third", 10).await, ["ada"]);
    for query in ["first", "second"] {
        assert_eq!(found(&store, query, 10).await, Vec::<String>::new(), "{query}");
    }
    drop(store);
    database.remove().await;
}

#[tokio::test]
async fn open_directory_finds_all_users_by_name() {
    let bench = Bench::new(Directory::All).await;
    let ada = bench.create("ada").await;
    let mut eve = bench.create("eve").await;
    eve.display_name = "Évelyne Brown".to_owned();
    let change = UpdateUserRequest { user: Some(eve.clone()), update_mask: None };
    bench.client().update_user(request(change, &[bench.signed_in(&eve)])).await.unwrap();
    for query in ["brown", "E\u{301}VEL", "eve", "évelyne br"] {
        assert_eq!(handles(&bench, &ada, query).await, ["eve"], "{query}");
    }
    assert_eq!(handles(&bench, &ada, " ").await, ["ada", "eve"], "white space is an empty query");
    let query = "x".repeat(65);
    let refused = list(&bench, &ada, ListUsersRequest { query, ..ListUsersRequest::default() }).await;
    assert_eq!(named_fields(&refused.unwrap_err()), ["query"]);
    bench.end().await;
}

#[tokio::test]
async fn page_token_belongs_to_its_query() {
    let bench = Bench::new(Directory::All).await;
    let ada = bench.create("ada").await;
    bench.create("adam").await;
    let page = |query: &str, page_token: &str| {
        let (query, page_token) = (query.to_owned(), page_token.to_owned());
        list(&bench, &ada, ListUsersRequest { page_size: 1, page_token, query })
    };
    let first = page("ad", "").await.unwrap();
    let second = page("ad", &first.next_page_token).await.unwrap();
    assert_eq!((first.users[0].handle.as_str(), second.users[0].handle.as_str()), ("ada", "adam"));
    assert_eq!(second.next_page_token, "");
    for query in ["", "a", "ada"] {
        assert_eq!(refusal(page(query, &first.next_page_token).await), "InvalidArgument PAGE_TOKEN_INVALID", "{query}");
    }
    bench.end().await;
}

/// The service indexes profiles without terms by itself.
#[tokio::test]
async fn service_indexes_old_profiles_when_it_starts() {
    let bench = Bench::with(Directory::All, |location| async move {
        let store = open(&location).await;
        store.insert(&named("ada", "Ada Lovelace"), 0).await.unwrap();
        forget_terms(&location).await;
    })
    .await;
    let bob = bench.client().create_user(request(profile("bob"), &[bench.auth()])).await.unwrap();
    let bob = bob.into_inner().user.unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(20), async {
        while handles(&bench, &bob, "lovelace").await != ["ada"] {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    bench.end().await;
}

const POSTGRES: &str = "INSERT INTO users (user_id, handle, display_name, state, create_time, terms_revision) \
     SELECT gen_random_uuid(), 'u' || n, 'U', 'active', now(), 1 FROM generate_series(1, 20000) AS n; \
     INSERT INTO search_terms (term, user_id) SELECT handle, user_id FROM users; ANALYZE";
const SQLITE: &str = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000) \
     INSERT INTO users (user_id, handle, display_name, state, create_time, terms_revision) \
     SELECT randomblob(16), 'u' || n, 'U', 'active', 0, 1 FROM n; \
     INSERT INTO search_terms (term, user_id) SELECT handle, user_id FROM users; ANALYZE";

async fn search_reads_an_index(location: &Location) {
    drop(open(location).await);
    let search = statement(include_str!("../../src/store/sql.rs"), "async fn search(");
    let among = match location {
        Location::Postgres(_) => statement(include_str!("../../src/store/postgres.rs"), "const SEARCH_AMONG"),
        Location::Sqlite(_) => statement(include_str!("../../src/store/sqlite.rs"), "const SEARCH_AMONG"),
    };
    let of_search = plan(location, "users", POSTGRES, SQLITE, &search).await;
    let of_among = plan(location, "users", "", "", &among).await;
    for plan in [&of_search, &of_among] {
        let scanned = ["Seq Scan", "SCAN t", "SCAN s", "SCAN u"].iter().any(|scan| plan.contains(scan));
        assert!(!scanned, "{plan}");
    }
    let sorted = ["Sort", "TEMP B-TREE"].iter().any(|sort| of_search.contains(sort));
    assert!(!sorted, "{of_search}");
}

async fn indexing_reads_an_index(location: &Location) {
    drop(open(location).await);
    let stale = match location {
        Location::Postgres(_) => statement(include_str!("../../src/store/postgres.rs"), "const STALE"),
        Location::Sqlite(_) => statement(include_str!("../../src/store/sqlite.rs"), "const STALE"),
    };
    let plan = plan(location, "users", POSTGRES, SQLITE, &stale).await;
    assert!(plan.contains("users_stale_terms"), "{plan}");
}
