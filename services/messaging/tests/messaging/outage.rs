//! Streams while the database is unavailable.

use std::{sync::atomic::Ordering, time::Duration};

use kit::config::Span;
use messaging::domain::AddRule;
use proto::messaging::v1::{MarkReadRequest, NewEntry, SubscribeRequest, entry::Body, subscribe_response::Event};

use crate::{
    bench::{Bench, MOMENT, catch_up, next},
    mesh::refusal,
};

#[tokio::test(flavor = "multi_thread")]
async fn stream_outlasts_failed_reads_without_a_gap() {
    const MESSAGES: i64 = 20;
    let bench = Bench::new(|_| {}).await;
    let [ada, bob, eve] = [bench.person().await, bench.person().await, bench.person().await];
    // Eve is no contact of Ada, so that her conversation is a request.
    bench.store().set_rule(messaging::domain::UserId(ada.id), Some(AddRule::Contacts)).await.unwrap();
    let room = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    // Each kind of read fails at first.
    bench.failures.alternate.store(true, Ordering::SeqCst);
    let mut stream = ada.subscribe(SubscribeRequest::default()).await.unwrap();
    assert_eq!(catch_up(&mut stream).await.len(), 1);
    for n in 1..=MESSAGES {
        ada.send_text(&bench.mesh.clock_rng, &room, &n.to_string()).await;
    }
    let later = eve.create(eve.opening(&bench.mesh.clock_rng, &[ada.id])).await.unwrap().conversation_id;
    let (mut texts, mut announced) = (Vec::new(), false);
    while texts.len() < 20 || !announced {
        match next(&mut stream).await {
            Event::Entry(NewEntry { entry: Some(entry), .. }) => {
                if let Some(Body::Message(message)) = entry.body {
                    texts.push(message.text);
                }
            }
            Event::Conversation(conversation) => announced |= conversation.conversation_id == later,
            _ => {}
        }
    }
    assert_eq!(texts, (1..=MESSAGES).map(|n| n.to_string()).collect::<Vec<_>>());
    let read = MarkReadRequest { conversation_id: room.clone(), message_no: MESSAGES };
    let request = bob.request(read);
    bob.client.clone().mark_read(request).await.unwrap();
    loop {
        if let Event::ReadMarks(marks) = next(&mut stream).await
            && marks.marks.iter().any(|mark| mark.user_id == bob.id.to_string())
        {
            break;
        }
    }
    // The reader's own mark in a request that is not accepted has a read of its own.
    eve.send_text(&bench.mesh.clock_rng, &later, "hello").await;
    let request = ada.request(MarkReadRequest { conversation_id: later.clone(), message_no: 1 });
    ada.client.clone().mark_read(request).await.unwrap();
    loop {
        if let Event::ReadMarks(marks) = next(&mut stream).await
            && marks.conversation_id == later
        {
            break;
        }
    }
    let all = ["find_all", "heads", "list_entries", "read_marks", "requests"];
    assert_eq!(bench.failures.recovered(), all, "each kind of read has failed, and succeeded later");
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_ends_when_the_outage_exceeds_its_patience() {
    let bench = Bench::new(|config| config.database_patience = Span(Duration::from_millis(300))).await;
    let ada = bench.person().await;
    bench.failures.always.store(true, Ordering::SeqCst);
    let mut stream = ada.subscribe(SubscribeRequest::default()).await.unwrap();
    let end = tokio::time::timeout(MOMENT, stream.message()).await.expect("the stream ends");
    assert_eq!(refusal(end), "Unavailable UNAVAILABLE");
}

#[tokio::test(flavor = "multi_thread")]
async fn outage_does_not_delay_the_end_of_a_stream() {
    let bench = Bench::new(|config| config.database_patience = Span(Duration::from_secs(3_600))).await;
    let ada = bench.person().await;
    let brief = bench.signed_in(ada.id, Duration::from_secs(2));
    bench.failures.always.store(true, Ordering::SeqCst);
    let mut stream = brief.subscribe(SubscribeRequest::default()).await.unwrap();
    // The token lives two seconds; the test waits ten times as long.
    let end = tokio::time::timeout(Duration::from_secs(20), stream.message()).await.expect("the stream ends");
    assert_eq!(refusal(end), "Unauthenticated TOKEN_EXPIRED");
    let mut stream = ada.subscribe(SubscribeRequest::default()).await.unwrap();
    let stopping = tokio::spawn(bench.messaging.stop());
    let end = tokio::time::timeout(MOMENT, stream.message()).await.expect("the stream ends");
    assert_eq!(refusal(end), "Unavailable SERVER_STOPPING");
    drop((stream, brief, ada));
    tokio::time::timeout(MOMENT, stopping).await.expect("no stream delays the shutdown").unwrap();
}
