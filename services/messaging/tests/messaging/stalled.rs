//! Another transaction holds the row of a conversation or of a user and does not end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use kit_data::store::Location;
use messaging::domain::{ConversationId, Quotas, UserId};
use proto::messaging::v1::SendMessageRequest;
use sqlx::{Connection as _, Executor as _, PgConnection, SqliteConnection};
use tonic::Code;
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::{
    admission::{Store, contacts},
    admission_locks::LOCK_PERSON,
    bench::{Bench, MOMENT},
    changes::{bounds, by, new_message, people, room},
    databases::{Database, patient},
    locks_support::Holder,
};

#[tokio::test(flavor = "multi_thread")]
async fn locked_conversation_does_not_stop_other_conversations() {
    let database = Database::postgres().await;
    let Location::Postgres(url) = database.location.clone() else { panic!("a PostgreSQL database") };
    // Four connections.
    let bench = Bench::on(database, |_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let room = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    let other = bob.create(bob.opening(&bench.mesh.clock_rng, &[ada.id])).await.unwrap().conversation_id;

    let mut stranger = PgConnection::connect(url.expose()).await.unwrap();
    let mut holding = stranger.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM messaging.conversations WHERE conversation_id = $1 FOR UPDATE")
        .bind(Uuid::try_parse(&room).unwrap())
        .execute(&mut *holding)
        .await
        .unwrap();
    let sends: Vec<_> = (0..12)
        .map(|_| {
            let (mut client, request) = (ada.client.clone(), ada.request(message(&bench, &room)));
            tokio::spawn(async move { client.send_message(request).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = Instant::now();
    for _ in 0..20 {
        bob.send(message(&bench, &other)).await.expect("another conversation accepts messages");
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    for send in sends {
        let refused = tokio::time::timeout(MOMENT, send).await.unwrap().unwrap().unwrap_err();
        let details = refused.get_error_details();
        let reason = details.error_info().map(|info| info.reason.as_str());
        assert_eq!((refused.code(), reason), (Code::Unavailable, Some("LOCKED")), "{refused:?}");
        assert!(details.retry_info().is_some());
    }
    holding.rollback().await.unwrap();
    ada.send(message(&bench, &room)).await.expect("the conversation accepts messages again");
}

/// SQLite has one lock for all writers. Another process holds it longer than any deadline.
#[tokio::test(flavor = "multi_thread")]
async fn locked_file_is_reported_before_the_deadline() {
    let database = Database::sqlite();
    let Location::Sqlite(path) = database.location.clone() else { panic!("a SQLite file") };
    let bench = Bench::on(database, |_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let room = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    let mut stranger = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    stranger.execute("BEGIN IMMEDIATE").await.unwrap();
    let (sent, behind) = (message(&bench, &room), message(&bench, &room));
    let (first, second) = tokio::join!(ada.send(sent.clone()), ada.send(behind));
    for refused in [first.unwrap_err(), second.unwrap_err()] {
        let details = refused.get_error_details();
        let reason = details.error_info().map(|info| info.reason.as_str());
        assert_eq!((refused.code(), reason), (Code::Unavailable, Some("LOCKED")), "{refused:?}");
        assert!(details.retry_info().is_some());
    }
    stranger.execute("ROLLBACK").await.unwrap();
    // The entry after the first one, so no refused message was stored.
    assert_eq!(ada.send(sent).await.unwrap().seq, 2);
}

fn message(bench: &Bench, room: &str) -> SendMessageRequest {
    SendMessageRequest {
        conversation_id: room.to_owned(),
        client_message_id: bench.mesh.clock_rng.new_id().to_string(),
        text: "hello".to_owned(),
    }
}

/// An operation in a user's own conversation that locks Bob's row.
type Work = fn(Store, Scene) -> BoxFuture<'static, ()>;

#[derive(Clone, Copy)]
struct Scene {
    id: ConversationId,
    owner: UserId,
    bob: UserId,
}

/// Twelve users run `change` at once while another transaction holds Bob's row. Only two of the changes hold a
/// connection.
async fn locked_user_does_not_block_others(prepare: Work, change: Work) {
    let database = Database::postgres().await;
    // Four connections.
    let store = messaging::store::open(&database.location, patient(4), Quotas::default()).await.unwrap();
    let [bob, kim] = people();
    let other = room(&store, kim, &[]).await;
    room(&store, bob, &[]).await;
    let mut scenes = Vec::new();
    for [owner] in std::iter::repeat_with(people).take(12) {
        let scene = Scene { id: room(&store, owner, &[]).await, owner, bob };
        prepare(Arc::clone(&store), scene).await;
        scenes.push(scene);
    }
    let mut holder = Holder::begin(&database.location, "messaging").await;
    holder.run(LOCK_PERSON, &[bob.0]).await;
    let changes: Vec<_> = scenes.into_iter().map(|scene| tokio::spawn(change(Arc::clone(&store), scene))).collect();
    holder.waiters(2).await;
    let started = Instant::now();
    for _ in 0..20 {
        store.append(&new_message(other, kim, "hello")).await.expect("calls of others succeed");
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    holder.waiters(2).await;
    holder.release().await;
    for change in changes {
        tokio::time::timeout(MOMENT, change).await.unwrap().unwrap();
    }
    drop(store);
    database.remove().await;
}

fn nothing(_: Store, _: Scene) -> BoxFuture<'static, ()> {
    Box::pin(async {})
}

fn add(store: Store, Scene { id, owner, bob }: Scene) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        store.add(by(owner, id), bob, &bounds(100)).await.unwrap();
    })
}

fn invite(store: Store, Scene { id, owner, bob }: Scene) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        store.add(by(owner, id), bob, &contacts(100)).await.unwrap();
    })
}

fn create(store: Store, Scene { owner, bob, .. }: Scene) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        room(&store, owner, &[bob]).await;
    })
}

fn accept(store: Store, Scene { id, bob, .. }: Scene) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        store.accept(by(bob, id), &bounds(100)).await.unwrap();
    })
}

fn remove(store: Store, Scene { id, owner, bob }: Scene) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        store.remove(by(owner, id), bob).await.unwrap();
    })
}

fn bar(store: Store, Scene { bob, .. }: Scene) -> BoxFuture<'static, ()> {
    Box::pin(async move { store.bar(bob, kit::Timestamp::from_micros(0)).await.unwrap() })
}

#[tokio::test(flavor = "multi_thread")]
async fn additions_of_a_locked_user_do_not_block_others() {
    locked_user_does_not_block_others(nothing, add).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_with_a_locked_user_do_not_block_others() {
    locked_user_does_not_block_others(nothing, create).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acceptances_of_a_locked_user_do_not_block_others() {
    locked_user_does_not_block_others(invite, accept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removals_of_a_locked_user_do_not_block_others() {
    locked_user_does_not_block_others(add, remove).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_of_a_locked_user_do_not_block_others() {
    locked_user_does_not_block_others(nothing, bar).await;
}
