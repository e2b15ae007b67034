//! The bytes of a conversation's log are counted exactly and bounded.

use std::{borrow::Cow, sync::Arc};

use kit_data::store::{Location, Settings, postgres, sqlite};
use messaging::{
    domain::{ConversationId, Details, Quotas},
    store::{AppendError, ChangeError, Changed},
};
use proto::messaging::v1::SendMessageRequest;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection, migrate::Migrator};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    bench::Bench,
    changes::{bounds, by, new_message, open, people, room, send_text, with_quotas},
    databases::{Database, on_both},
    locks::{LOCK_CONVERSATION, in_turn},
};

on_both! {
    full_conversation_takes_no_more_until_a_deletion,
    bytes_of_older_rows_are_counted_by_the_migration,
    conversation_with_a_negative_count_stays_open,
}

/// The stored count of a conversation, and the sum over its entries.
pub(crate) async fn sizes(location: &Location, id: ConversationId) -> (i64, i64) {
    let statement = "SELECT c.stored_bytes, CAST((SELECT coalesce(sum(length(e.body) + 200), 0) FROM entries e \
                     WHERE e.conversation_id = c.conversation_id) AS BIGINT) FROM conversations c \
                     WHERE c.conversation_id = $1";
    match location {
        Location::Postgres(url) => {
            let mut connection = PgConnection::connect(url.expose()).await.unwrap();
            connection.execute("SET search_path TO messaging").await.unwrap();
            sqlx::query_as(statement).bind(id.0).fetch_one(&mut connection).await.unwrap()
        }
        Location::Sqlite(path) => {
            let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
            sqlx::query_as(statement).bind(id.0).fetch_one(&mut connection).await.unwrap()
        }
    }
}

fn quota(conversation_bytes: u64) -> Quotas {
    Quotas { conversation_bytes, ..Quotas::default() }
}

fn is_full<T>(outcome: Result<T, ChangeError>) -> bool {
    matches!(outcome, Err(ChangeError::StorageFull))
}

async fn full_conversation_takes_no_more_until_a_deletion(location: &Location) {
    let (store, [ada, bob, eve]) = (with_quotas(location, quota(4_500)).await, people());
    let id = room(&store, ada, &[bob]).await;
    let long = "x".repeat(1_000);
    let mut sent = Vec::new();
    let refused = loop {
        let new = new_message(id, bob, &long);
        match store.append(&new).await {
            Ok(_) => sent.push(new),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::StorageFull), "{refused:?}");
    assert_eq!(sent.len(), 3, "each message counts its text of 1 000 bytes and the overhead");
    let (stored, taken) = sizes(location, id).await;
    assert_eq!(stored, taken);
    // Every change that adds to the log fails and stores nothing. A repeat returns the stored message.
    assert!(is_full(store.edit(by(bob, id), sent[0].id, &"y".repeat(2_000)).await));
    let title = "t".repeat(1_000);
    assert!(is_full(store.update(by(ada, id), &Details::titled(&title)).await));
    let mut small = 0;
    while store.append(&new_message(id, ada, "x")).await.is_ok() {
        small += 1;
    }
    assert!(small > 0, "a smaller message still fits");
    assert!(!store.append(&sent[0]).await.unwrap().is_new);
    assert!(is_full(store.add(by(ada, id), eve, &bounds(100)).await));
    // A non-member gets NotFound.
    let stranger = store.append(&new_message(id, eve, &long)).await;
    assert!(matches!(stranger, Err(AppendError::NotFound)), "{stranger:?}");
    // Members can always erase messages and leave.
    assert!(matches!(store.erase(by(bob, id), sent[0].id).await.unwrap(), Changed::Now(_)));
    store.append(&new_message(id, bob, "there is room again")).await.unwrap();
    assert!(matches!(store.remove(by(bob, id), bob).await.unwrap(), Changed::Now(_)));
    let (stored, taken) = sizes(location, id).await;
    assert_eq!(stored, taken);
}

/// Two conversations in the schema of the first migration, one of them without an entry.
const OLD_ROWS: [&str; 2] = [
    "INSERT INTO conversations (conversation_id, creator_id, request_id, fingerprint, title, owner_id, add_policy, revision, \
     create_time, update_time, last_seq, message_count, member_count) VALUES \
     ($1, $1, $1, $1, 't', $1, 'all_members', 1, $3, $3, 2, 0, 0), ($2, $2, $2, $2, 't', $2, 'all_members', 1, $3, $3, 0, 0, 0)",
    "INSERT INTO entries (conversation_id, seq, author_id, create_time, body) VALUES ($1, 1, $1, $3, $4), ($1, 2, $2, $3, $4)",
];

async fn bytes_of_older_rows_are_counted_by_the_migration(location: &Location) {
    let [used, empty] = people().map(|user| ConversationId(user.0));
    let settings = Settings::from(1);
    let first = |all: Migrator| Migrator {
        migrations: Cow::Owned(vec![all.iter().next().unwrap().clone()]),
        ..Migrator::DEFAULT
    };
    let time = kit_data::store::DbTimestamp(kit::Timestamp::from_micros(1));
    macro_rules! fill {
        ($pool:expr) => {
            for statement in OLD_ROWS {
                // In PostgreSQL, fingerprints and bodies are bytes and ids are not.
                let statement = statement
                    .replace("$1, $1, $1, $1,", "$1, $1, $1, $4,")
                    .replace("$2, $2, $2, $2,", "$2, $2, $2, $4,");
                let query = sqlx::query(AssertSqlSafe(statement)).bind(used.0).bind(empty.0).bind(time);
                query.bind(b"12345".to_vec()).execute($pool).await.unwrap();
            }
        };
    }
    match location {
        Location::Postgres(url) => {
            let migrator = first(sqlx::migrate!("migrations/postgres"));
            fill!(&postgres::open(url, "messaging", &settings, &migrator).await.unwrap());
        }
        Location::Sqlite(path) => {
            let migrator = first(sqlx::migrate!("migrations/sqlite"));
            fill!(&sqlite::open(path, &settings, &migrator).await.unwrap().write);
        }
    }
    drop(open(location).await);
    assert_eq!(sizes(location, used).await, (410, 410));
    assert_eq!(sizes(location, empty).await, (0, 0));
}

/// A process of an older release, which counts nothing, wrote entries that this one then erases.
async fn conversation_with_a_negative_count_stays_open(location: &Location) {
    let (store, [ada, bob]) = (with_quotas(location, quota(4_500)).await, people());
    let id = room(&store, ada, &[bob]).await;
    let statement = "UPDATE conversations SET stored_bytes = -15000 WHERE conversation_id = $1";
    match location {
        Location::Postgres(url) => {
            let mut connection = PgConnection::connect(url.expose()).await.unwrap();
            connection.execute("SET search_path TO messaging").await.unwrap();
            sqlx::query(statement).bind(id.0).execute(&mut connection).await.unwrap();
        }
        Location::Sqlite(path) => {
            let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
            sqlx::query(statement).bind(id.0).execute(&mut connection).await.unwrap();
        }
    }
    assert!(store.append(&new_message(id, bob, "still open")).await.unwrap().is_new);
}

/// Two messages wait for the conversation's row, and one of them fits.
#[tokio::test(flavor = "multi_thread")]
async fn last_bytes_go_to_the_first_in_the_queue() {
    let database = Database::postgres().await;
    let store = with_quotas(&database.location, quota(2_000)).await;
    let [ada, bob] = people();
    let id = room(&store, ada, &[bob]).await;
    let long = "x".repeat(1_000);
    let [first, behind] = [ada, bob].map(|author| {
        let (store, new) = (Arc::clone(&store), new_message(id, author, &long));
        async move { store.append(&new).await }
    });
    let (sent, refused) = in_turn(&database.location, (LOCK_CONVERSATION, &[id.0]), first, behind).await;
    assert!(sent.unwrap().is_new);
    assert!(matches!(refused, Err(AppendError::StorageFull)), "{refused:?}");
    let (stored, taken) = sizes(&database.location, id).await;
    assert_eq!(stored, taken);
    database.remove().await;
}

/// An erasure and an edit of one message wait for the row, in both orders.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_exact_under_concurrent_edits_and_erasures() {
    let database = Database::postgres().await;
    let store = open(&database.location).await;
    let [ada, bob] = people();
    let id = room(&store, ada, &[bob]).await;
    for erases_first in [true, false] {
        let sent = send_text(&store, id, ada, "a text").await;
        store.edit(by(ada, id), sent.id, "a text that is longer").await.unwrap();
        let (one, two) = (Arc::clone(&store), Arc::clone(&store));
        let erasing = async move { one.erase(by(ada, id), sent.id).await.map(drop).map_err(drop) };
        let editing = async move { two.edit(by(ada, id), sent.id, &"z".repeat(500)).await.map(drop).map_err(drop) };
        let row = (LOCK_CONVERSATION, &[id.0][..]);
        if erases_first {
            assert_eq!(in_turn(&database.location, row, erasing, editing).await, (Ok(()), Err(())));
        } else {
            assert_eq!(in_turn(&database.location, row, editing, erasing).await, (Ok(()), Ok(())));
        }
        let (stored, taken) = sizes(&database.location, id).await;
        assert_eq!(stored, taken);
    }
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_conversation_reports_its_quota_without_retry_info() {
    let bench = Bench::new(|config| config.conversation_bytes = 2_000).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let room = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    let send = async || {
        let client_message_id = bench.mesh.clock_rng.new_id().to_string();
        ada.send(SendMessageRequest { conversation_id: room.clone(), client_message_id, text: "x".repeat(1_000) }).await
    };
    send().await.unwrap();
    let refused = send().await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("delete messages"), "{}", refused.message());
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "CONVERSATION_STORAGE_FULL");
    assert_eq!(details.quota_failure().unwrap().violations[0].subject, "messaging.conversation_bytes");
    assert!(details.retry_info().is_none(), "a repeat fails as well");
}
