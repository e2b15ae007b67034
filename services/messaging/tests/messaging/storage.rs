//! The bytes that a user has stored in all conversations are counted exactly and bounded.

use std::sync::Arc;

use kit_data::store::Location;
use messaging::{
    domain::{ConversationId, Details, NewConversation, Quotas, UserId},
    store::{AppendError, ChangeError, Changed, InsertError},
};
use proto::messaging::v1::SendMessageRequest;
use sqlx::{Connection as _, Executor as _, PgConnection, SqliteConnection};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    admission::{Store, create},
    admission_locks::LOCK_PERSON,
    bench::Bench,
    changes::{bounds, by, new_id, new_message, open, people, room, send_text, with_quotas},
    databases::{Database, on_both},
    locks::in_turn,
    locks_support::Holder,
    quotas,
};

on_both! {
    full_user_writes_nowhere_until_a_deletion,
    bytes_of_a_user_are_those_of_messages_edits_and_titles,
    title_of_a_new_conversation_is_charged,
    full_user_deletes_and_shortens_messages,
    departed_member_stays_charged_until_the_deletion,
    counts_stay_at_least_zero,
}

fn quota(user_bytes: u64) -> Quotas {
    Quotas { user_bytes, ..Quotas::default() }
}

/// The stored count of a user, and the sum over the entries that count.
async fn sizes(location: &Location, user: UserId) -> (i64, i64) {
    // Titles change without a mark of their own: their entries have the tag 7 in the first byte, 0x3a. The first entry of
    // a conversation has the tag 2, 0x12; all conversations of these tests have a title.
    let statement = "SELECT p.stored_bytes, CAST((SELECT coalesce(sum(length(e.body) + 200), 0) FROM entries e \
                     WHERE e.author_id = p.user_id AND (e.message_no IS NOT NULL OR e.target_no IS NOT NULL \
                     OR FIRST IN ('12', '3A'))) AS BIGINT) FROM people p WHERE p.user_id = $1";
    match location {
        Location::Postgres(url) => {
            let mut connection = PgConnection::connect(url.expose()).await.unwrap();
            connection.execute("SET search_path TO messaging").await.unwrap();
            let statement = statement.replace("FIRST", "upper(encode(substr(e.body, 1, 1), 'hex'))");
            sqlx::query_as(sqlx::AssertSqlSafe(statement)).bind(user.0).fetch_one(&mut connection).await.unwrap()
        }
        Location::Sqlite(path) => {
            let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
            let statement = statement.replace("FIRST", "hex(substr(e.body, 1, 1))");
            sqlx::query_as(sqlx::AssertSqlSafe(statement)).bind(user.0).fetch_one(&mut connection).await.unwrap()
        }
    }
}

/// Checks that the count of a user is exact, and returns it.
async fn exact(location: &Location, user: UserId) -> i64 {
    let (stored, taken) = sizes(location, user).await;
    assert_eq!(stored, taken, "{user}");
    stored
}

/// Sets the counts of all users and conversations to 0, as if processes of an older release had written the entries.
async fn forget_counts(location: &Location) {
    let statements = ["UPDATE people SET stored_bytes = 0", "UPDATE conversations SET stored_bytes = 0"];
    match location {
        Location::Postgres(url) => {
            let mut connection = PgConnection::connect(url.expose()).await.unwrap();
            connection.execute("SET search_path TO messaging").await.unwrap();
            for statement in statements {
                connection.execute(statement).await.unwrap();
            }
        }
        Location::Sqlite(path) => {
            let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
            for statement in statements {
                connection.execute(statement).await.unwrap();
            }
        }
    }
}

/// Opens the store with quotas that the user and the conversation have used up to the last byte.
async fn open_full(location: &Location, id: ConversationId, user: UserId) -> Store {
    let used = |bytes: i64| u64::try_from(bytes).unwrap();
    let user_bytes = used(exact(location, user).await);
    let conversation_bytes = used(quotas::sizes(location, id).await.0);
    with_quotas(location, Quotas { user_bytes, conversation_bytes, ..Quotas::default() }).await
}

async fn is_full(store: &Store, id: ConversationId, author: UserId) -> bool {
    match store.append(&new_message(id, author, &"x".repeat(1_000))).await {
        Ok(_) => false,
        Err(AppendError::UserStorageFull) => true,
        Err(other) => panic!("{other:?}"),
    }
}

async fn full_user_writes_nowhere_until_a_deletion(location: &Location) {
    let (store, [ada, bob]) = (with_quotas(location, quota(3_000)).await, people());
    let rooms = [room(&store, ada, &[bob]).await, room(&store, ada, &[bob]).await];
    let long = "x".repeat(1_000);
    let first = new_message(rooms[0], bob, &long);
    store.append(&first).await.unwrap();
    store.append(&new_message(rooms[1], bob, &long)).await.unwrap();
    let is_full = |refused: &Result<Changed, ChangeError>| matches!(refused, Err(ChangeError::UserStorageFull));
    for id in rooms {
        let head = store.head(id, ada).await.unwrap();
        let refused = store.append(&new_message(id, bob, &long)).await;
        assert!(matches!(refused, Err(AppendError::UserStorageFull)), "{refused:?}");
        let refused = store.update(by(bob, id), &Details::titled(&long)).await;
        assert!(is_full(&refused), "{refused:?}");
        assert_eq!(store.head(id, ada).await.unwrap(), head, "nothing was written");
    }
    let refused = store.edit(by(bob, rooms[0]), first.id, &"y".repeat(2_000)).await;
    assert!(is_full(&refused), "{refused:?}");
    // Other users write on. A repeat returns the stored message.
    send_text(&store, rooms[0], ada, &long).await;
    assert!(!store.append(&first).await.unwrap().is_new);
    // The owner's deletion frees the bytes of the author.
    assert!(matches!(store.erase(by(ada, rooms[0]), first.id).await.unwrap(), Changed::Now(_)));
    send_text(&store, rooms[1], bob, "there is room again").await;
}

async fn bytes_of_a_user_are_those_of_messages_edits_and_titles(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let id = room(&store, ada, &[bob]).await;
    let sent = send_text(&store, id, bob, "helo").await;
    store.edit(by(bob, id), sent.id, "hello, all").await.unwrap();
    store.edit(by(bob, id), sent.id, "hi").await.unwrap();
    store.update(by(bob, id), &Details::titled("Coffee")).await.unwrap();
    send_text(&store, id, ada, "hello").await;
    for user in [ada, bob] {
        assert!(exact(location, user).await > 0);
    }
    store.erase(by(ada, id), sent.id).await.unwrap();
    for user in [ada, bob] {
        exact(location, user).await;
    }
}

async fn title_of_a_new_conversation_is_charged(location: &Location) {
    let (store, [ada]) = (with_quotas(location, quota(3_000)).await, people());
    let titled = |title: &str| NewConversation {
        id: ConversationId(new_id()),
        creator: ada,
        request_id: new_id(),
        members: vec![ada],
        title: title.to_owned(),
        create_time: kit::ClockAndRng::system().now(),
    };
    let mut opened = Vec::new();
    let refused = loop {
        let new = titled(&"t".repeat(1_000));
        match store.insert(&new, &bounds(100)).await {
            Ok(found) => opened.push(found.id),
            Err(error) => break (new.request_id, error),
        }
    };
    assert!(matches!(refused.1, InsertError::UserStorageFull), "{:?}", refused.1);
    assert_eq!(store.find_by_request(ada, refused.0).await.unwrap(), None, "nothing was written");
    assert_eq!(opened.len(), 2, "each title counts its 1 000 bytes and the overhead");
    exact(location, ada).await;
    store.insert(&titled(""), &bounds(100)).await.expect("a conversation without a title is not charged");
}

/// A deletion stores its time, which is longer than a text of a few bytes.
async fn full_user_deletes_and_shortens_messages(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let id = room(&store, ada, &[bob]).await;
    for actor in [bob, ada] {
        for text in ["x", "four", "sixsix"] {
            let sent = send_text(&store, id, bob, text).await;
            let full = open_full(location, id, bob).await;
            let refused = full.append(&new_message(id, bob, "x")).await;
            assert!(matches!(refused, Err(AppendError::StorageFull)), "{refused:?}");
            let erased = full.erase(by(actor, id), sent.id).await;
            assert!(matches!(erased, Ok(Changed::Now(_))), "{text}: {erased:?}");
            exact(location, bob).await;
        }
        let sent = send_text(&store, id, bob, &"x".repeat(1_000)).await;
        let beyond = Quotas { user_bytes: 1, conversation_bytes: 1, ..Quotas::default() };
        let edited = with_quotas(location, beyond).await.edit(by(bob, id), sent.id, "x").await;
        assert!(matches!(edited, Ok(Changed::Now(_))), "{edited:?}");
        let erased = open_full(location, id, bob).await.erase(by(actor, id), sent.id).await;
        assert!(matches!(erased, Ok(Changed::Now(_))), "{erased:?}");
        exact(location, bob).await;
    }
}

async fn departed_member_stays_charged_until_the_deletion(location: &Location) {
    let (store, [ada, bob]) = (with_quotas(location, quota(2_000)).await, people());
    let rooms = [room(&store, ada, &[bob]).await, room(&store, ada, &[bob]).await];
    // Bob leaves, and is then removed.
    for remover in [bob, ada] {
        let sent = send_text(&store, rooms[0], bob, &"x".repeat(1_000)).await;
        let before = exact(location, bob).await;
        store.remove(by(remover, rooms[0]), bob).await.unwrap();
        assert_eq!(exact(location, bob).await, before);
        assert!(is_full(&store, rooms[1], bob).await);
        store.erase(by(ada, rooms[0]), sent.id).await.unwrap();
        assert!(exact(location, bob).await < before - 900);
        store.add(by(ada, rooms[0]), bob, &bounds(100)).await.unwrap();
    }
    assert!(!is_full(&store, rooms[1], bob).await);
}

async fn counts_stay_at_least_zero(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let id = room(&store, ada, &[bob]).await;
    let [first, second] = ["x", "y"].map(|letter| new_message(id, bob, &letter.repeat(1_000)));
    for new in [&first, &second] {
        store.append(new).await.unwrap();
    }
    forget_counts(location).await;
    store.edit(by(bob, id), first.id, "x").await.unwrap();
    assert_eq!((sizes(location, bob).await.0, quotas::sizes(location, id).await.0), (0, 0));
    store.erase(by(ada, id), second.id).await.unwrap();
    assert_eq!((sizes(location, bob).await.0, quotas::sizes(location, id).await.0), (0, 0));
}

/// Two messages in different conversations wait for their author's row, and one of them fits.
#[tokio::test(flavor = "multi_thread")]
async fn last_bytes_of_a_user_are_used_once() {
    let database = Database::postgres().await;
    let store = with_quotas(&database.location, quota(2_000)).await;
    let [ada, bob] = people();
    let rooms = [room(&store, ada, &[bob]).await, room(&store, ada, &[bob]).await];
    let long = "x".repeat(1_000);
    let [first, behind] = rooms.map(|id| {
        let (store, new) = (Arc::clone(&store), new_message(id, bob, &long));
        async move { store.append(&new).await }
    });
    let (sent, refused) = in_turn(&database.location, (LOCK_PERSON, &[bob.0]), first, behind).await;
    assert!(sent.unwrap().is_new);
    assert!(matches!(refused, Err(AppendError::UserStorageFull)), "{refused:?}");
    exact(&database.location, bob).await;
    database.remove().await;
}

/// A reply that accepts a request changes its author's row, so it waits for that row without a connection.
#[tokio::test(flavor = "multi_thread")]
async fn replies_wait_for_their_author_without_a_connection() {
    const REPLIES: usize = 6;
    let database = Database::postgres().await;
    let store = open(&database.location).await;
    let [bob, eve, kim] = people();
    let mut requests = Vec::new();
    for _ in 0..REPLIES {
        let [stranger] = people();
        requests.push(create(&store, stranger, &[bob]).await.unwrap());
    }
    let elsewhere = room(&store, eve, &[kim]).await;
    let mut holder = Holder::begin(&database.location, "messaging").await;
    holder.run(LOCK_PERSON, &[bob.0]).await;
    let replies: Vec<_> = requests
        .into_iter()
        .map(|id| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.append(&new_message(id, bob, "hello")).await })
        })
        .collect();
    // Two replies hold a connection (`database.row_writers`); the others wait without one.
    holder.waiters(2).await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    holder.waiters(2).await;
    send_text(&store, elsewhere, eve, "not delayed").await;
    holder.release().await;
    for reply in replies {
        reply.await.unwrap().unwrap();
    }
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_user_gets_the_quota_without_retry_info() {
    let bench = Bench::new(|config| config.user_bytes = 2_000).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let room = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    let send = async || {
        let client_message_id = bench.mesh.clock_rng.new_id().to_string();
        ada.send(SendMessageRequest { conversation_id: room.clone(), client_message_id, text: "x".repeat(1_000) }).await
    };
    send().await.unwrap();
    let message = send().await.unwrap_err();
    let title = loop {
        if let Err(refused) = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await {
            break refused;
        }
    };
    for refused in [message, title] {
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let details = refused.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "USER_STORAGE_FULL");
        assert_eq!(details.quota_failure().unwrap().violations[0].subject, "messaging.user_bytes");
        assert!(details.retry_info().is_none(), "a repeat fails as well");
    }
}
