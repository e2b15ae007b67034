//! A transaction elsewhere that holds a conversation's row and does not end.

use std::time::{Duration, Instant};

use kit::store::Location;
use proto::messaging::v1::SendMessageRequest;
use sqlx::{Connection as _, PgConnection};
use tonic::Code;
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::{
    bench::{Bench, MOMENT},
    databases::Database,
};

#[tokio::test(flavor = "multi_thread")]
async fn locked_conversation_does_not_stop_other_conversations() {
    let database = Database::postgres().await;
    let Location::Postgres(url) = database.location.clone() else { panic!("a PostgreSQL database") };
    // Four connections.
    let bench = Bench::on(database, |_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let room = ada.create(ada.opening(&bench.mesh.ambient, &[bob.id])).await.unwrap().conversation_id;
    let other = bob.create(bob.opening(&bench.mesh.ambient, &[ada.id])).await.unwrap().conversation_id;

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
        bob.send(message(&bench, &other)).await.expect("another conversation takes messages");
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
    ada.send(message(&bench, &room)).await.expect("the conversation goes on");
}

fn message(bench: &Bench, room: &str) -> SendMessageRequest {
    SendMessageRequest {
        conversation_id: room.to_owned(),
        client_message_id: bench.mesh.ambient.new_id().to_string(),
        text: "hello".to_owned(),
    }
}
