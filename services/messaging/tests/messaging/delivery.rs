//! The guarantee of delivery: each entry once, in order, without a gap, until the stream ends.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use kit::config::Span;
use kit_data::store::Location;
use messaging::domain::{ConversationId, Cursor, UserId};
use proto::messaging::v1::{
    LeaveConversationRequest, MarkReadRequest, NewEntry, Position, SubscribeRequest, SubscribeResponse, entry::Body,
    subscribe_response::Event,
};
use sqlx::{Connection as _, PgConnection};
use tonic::Streaming;

use crate::{
    bench::{Bench, MOMENT, Person, catch_up, next},
    databases::Database,
    mesh::refusal,
};

fn text(event: Event) -> String {
    match event {
        Event::Entry(NewEntry { entry, .. }) => match entry.unwrap().body.unwrap() {
            Body::Message(message) => message.text,
            other => format!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_announces_conversations_then_sends_entries() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let room = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    ada.send_text(&bench.mesh.clock_rng, &room, "before").await;
    let mut stream = bob.subscribe(SubscribeRequest::default()).await.unwrap();
    let announced = catch_up(&mut stream).await;
    let [Event::Conversation(found)] = &announced[..] else { panic!("{announced:?}") };
    assert_eq!((&found.conversation_id, found.message_count), (&room, 1));
    ada.send_text(&bench.mesh.clock_rng, &room, "after").await;
    assert_eq!(text(next(&mut stream).await), "after");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_conversation_arrives_with_its_whole_log() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let mut stream = bob.subscribe(SubscribeRequest::default()).await.unwrap();
    assert!(catch_up(&mut stream).await.is_empty());
    let room = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    assert!(matches!(next(&mut stream).await, Event::Conversation(found) if found.conversation_id == room));
    assert!(text(next(&mut stream).await).starts_with("ConversationCreated"));
    ada.send_text(&bench.mesh.clock_rng, &room, "first").await;
    assert_eq!(text(next(&mut stream).await), "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn resumed_stream_has_no_gap_and_no_duplicate() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let opened = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap();
    let room = opened.conversation_id.clone();
    let senders: Vec<_> = (0..4)
        .map(|at| {
            let sender = bench.signed_in(ada.id, Duration::from_secs(600));
            let (clock_rng, room) = (bench.mesh.clock_rng.clone(), room.clone());
            tokio::spawn(async move {
                for n in 0..50 {
                    sender.send_text(&clock_rng, &room, &format!("{at}: {n}")).await;
                }
            })
        })
        .collect();
    let mut cursor = opened.cursor;
    let mut seqs = Vec::new();
    while seqs.len() < 200 {
        let positions = vec![Position { conversation_id: room.clone(), cursor: cursor.clone() }];
        let mut stream = bob.subscribe(SubscribeRequest { positions, ..Default::default() }).await.unwrap();
        // Each stream is closed after a few events.
        for _ in 0..17 {
            if seqs.len() == 200 {
                break;
            }
            if let Event::Entry(new) = next(&mut stream).await {
                seqs.push(new.entry.unwrap().seq);
                cursor = new.cursor;
            }
        }
    }
    assert_eq!(seqs, (2..=201).collect::<Vec<_>>());
    for sender in senders {
        sender.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_ends_when_its_token_expires() {
    let bench = Bench::new(|_| {}).await;
    let ada = bench.person().await;
    let brief = bench.signed_in(ada.id, Duration::from_secs(2));
    let mut stream = brief.subscribe(SubscribeRequest::default()).await.unwrap();
    catch_up(&mut stream).await;
    // The token lives two seconds; the test waits ten times as long.
    let end = tokio::time::timeout(Duration::from_secs(20), stream.message()).await.expect("the stream ends");
    assert_eq!(refusal(end), "Unauthenticated TOKEN_EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_server_ends_its_streams() {
    let bench = Bench::new(|_| {}).await;
    let ada = bench.person().await;
    let mut stream = ada.subscribe(SubscribeRequest::default()).await.unwrap();
    catch_up(&mut stream).await;
    let stopping = tokio::spawn(bench.messaging.stop());
    let end = tokio::time::timeout(MOMENT, stream.message()).await.expect("the stream ends");
    assert_eq!(refusal(end), "Unavailable SERVER_STOPPING");
    drop((stream, ada));
    tokio::time::timeout(MOMENT, stopping).await.expect("no stream delays the shutdown").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_reader_takes_bounded_memory_and_loses_nothing() {
    const MESSAGES: usize = 2_000;
    let bench = Bench::new(|_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let room = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    let mut stream = bob.subscribe(SubscribeRequest::default()).await.unwrap();
    catch_up(&mut stream).await;
    // 32 MiB: much more than a stream reads ahead and HTTP/2 buffers.
    let long = "x".repeat(16 * 1024 - 8);
    for n in 0..MESSAGES {
        ada.send_text(&bench.mesh.clock_rng, &room, &format!("{n:08}{long}")).await;
    }
    // The entries that the stream reads ahead (`undelivered_bytes`), tonic's flow-control window of a stream, and
    // hyper's send buffer (`max_send_buf_size`).
    let most = (1024 + 1024 + 400) / 16;
    let held = bench.entries_read.load(Ordering::SeqCst);
    assert!(held <= most, "{held} of {MESSAGES} entries were read for a client that reads none");
    for n in 0..MESSAGES {
        // On a busy machine, sending takes longer than a heartbeat.
        let entry = loop {
            match next(&mut stream).await {
                Event::CaughtUp(_) => {}
                event => break text(event),
            }
        };
        assert_eq!(entry[..8], format!("{n:08}"));
    }
    assert_eq!(bench.entries_read.load(Ordering::SeqCst), MESSAGES, "each entry was read once");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_stream_sends_heartbeats() {
    let bench = Bench::new(|config| config.heartbeat = Span(Duration::from_millis(100))).await;
    let ada = bench.person().await;
    let mut stream = ada.subscribe(SubscribeRequest::default()).await.unwrap();
    for _ in 0..4 {
        assert!(matches!(next(&mut stream).await, Event::CaughtUp(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_ends_at_its_deadline() {
    let bench = Bench::new(|_| {}).await;
    let ada = bench.person().await;
    let mut request = ada.request(SubscribeRequest::default());
    request.metadata_mut().insert("grpc-timeout", "500m".parse().unwrap());
    let mut stream = ada.client.clone().subscribe(request).await.unwrap().into_inner();
    catch_up(&mut stream).await;
    let end = tokio::time::timeout(Duration::from_secs(5), stream.message()).await.expect("ten times the deadline");
    assert_eq!(refusal(end), "DeadlineExceeded DEADLINE_EXCEEDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_streams_do_not_block_calls() {
    let database = Database::postgres().await;
    let Location::Postgres(url) = database.location.clone() else { panic!("{:?}", database.location) };
    let bench = Bench::on(database, |config| config.streams_per_session = 100).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let opened = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap();
    let room = opened.conversation_id;
    ada.send_text(&bench.mesh.clock_rng, &room, "missed").await;
    // As if the database were busy: a reader of entries waits and holds a connection.
    let mut busy = PgConnection::connect(url.expose()).await.unwrap();
    let mut lock = busy.begin().await.unwrap();
    sqlx::query("LOCK TABLE messaging.entries").execute(&mut *lock).await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..16 {
        let positions = vec![Position { conversation_id: room.clone(), cursor: opened.cursor.clone() }];
        streams.push(bob.subscribe(SubscribeRequest { positions, ..Default::default() }).await.unwrap());
    }
    for _ in 0..20 {
        // A call that reads no entries.
        let leave = LeaveConversationRequest { conversation_id: bench.mesh.clock_rng.new_id().to_string() };
        let mut client = bob.client.clone();
        let leaving = client.leave_conversation(bob.request(leave));
        tokio::time::timeout(Duration::from_secs(4), leaving)
            .await
            .expect("the call does not wait for the streams")
            .unwrap();
    }
    lock.rollback().await.unwrap();
    for stream in &mut streams {
        assert_eq!(text(next(stream).await), "missed");
    }
}

/// The next entry of the conversation `quiet`, without those of others.
async fn next_of(stream: &mut Streaming<SubscribeResponse>, quiet: &str) -> NewEntry {
    let found = async {
        loop {
            match stream.message().await.unwrap().expect("the stream is open").event.unwrap() {
                Event::Entry(new) if new.entry.as_ref().unwrap().conversation_id == quiet => return new,
                _ => {}
            }
        }
    };
    tokio::time::timeout(MOMENT, found).await.expect("the comparison of all conversations finds it")
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_signal_is_recovered_while_others_wake_the_stream() {
    let bench = Bench::new(|config| config.heartbeat = Span(Duration::from_millis(500))).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let noisy = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    let quiet = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    let mut stream = bob.subscribe(SubscribeRequest::default()).await.unwrap();
    catch_up(&mut stream).await;
    bench.bus.lose(quiet.parse().unwrap());
    let (talker, clock_rng) = (bench.signed_in(ada.id, Duration::from_secs(600)), bench.mesh.clock_rng.clone());
    let talking = tokio::spawn(async move {
        loop {
            talker.send_text(&clock_rng, &noisy, "noise").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    for n in 0..3 {
        let sent = ada.send_text(&bench.mesh.clock_rng, &quiet, &n.to_string()).await;
        assert_eq!(next_of(&mut stream, &quiet).await.entry, Some(sent));
    }
    talking.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn cursor_beyond_the_newest_entry_is_refused() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let opened = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap();
    let id = ConversationId(opened.conversation_id.parse().unwrap());
    let position = |seq| Position {
        conversation_id: opened.conversation_id.clone(),
        cursor: Cursor { epoch: bench.store().epoch(), conversation: id, seq }.encode(),
    };
    let head = bench.store().head(id, UserId(bob.id)).await.unwrap().unwrap();
    for seq in [head + 1, i64::MAX] {
        let mut stream =
            bob.subscribe(SubscribeRequest { positions: vec![position(seq)], ..Default::default() }).await.unwrap();
        let end = tokio::time::timeout(MOMENT, stream.message()).await.expect("the stream ends");
        assert_eq!(refusal(end), "FailedPrecondition CURSOR_EPOCH_CHANGED");
    }
    let mut stream =
        bob.subscribe(SubscribeRequest { positions: vec![position(head)], ..Default::default() }).await.unwrap();
    assert!(catch_up(&mut stream).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_ends_when_the_store_lost_sent_entries() {
    let database = Database::postgres().await;
    let Location::Postgres(url) = database.location.clone() else { panic!("{:?}", database.location) };
    let bench = Bench::on(database, |config| config.heartbeat = Span(Duration::from_millis(200))).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let room = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    let mut stream = bob.subscribe(SubscribeRequest::default()).await.unwrap();
    catch_up(&mut stream).await;
    ada.send_text(&bench.mesh.clock_rng, &room, "lost soon").await;
    assert_eq!(text(next(&mut stream).await), "lost soon");
    // As after a failover to a standby that had not received the entry.
    let mut session = PgConnection::connect(url.expose()).await.unwrap();
    let lose = "DELETE FROM messaging.entries WHERE seq = 2; DELETE FROM messaging.client_messages; \
                UPDATE messaging.conversations SET last_seq = 1, message_count = 0";
    sqlx::raw_sql(lose).execute(&mut session).await.unwrap();
    let end = async {
        loop {
            match stream.message().await {
                Ok(event) => assert!(matches!(event.unwrap().event, Some(Event::CaughtUp(_)))),
                refused => return refused,
            }
        }
    };
    let end = tokio::time::timeout(MOMENT, end).await.expect("the stream ends");
    assert_eq!(refusal(end), "FailedPrecondition CURSOR_EPOCH_CHANGED");
}

async fn mark(person: &Person, room: &str, message_no: i64) {
    let request = MarkReadRequest { conversation_id: room.to_owned(), message_no };
    person.client.clone().mark_read(person.request(request)).await.unwrap();
}

/// Reads events until the message with this text.
async fn up_to(stream: &mut Streaming<SubscribeResponse>, last: &str) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        match next(stream).await {
            event @ Event::Entry(_) if text(event.clone()) == last => return events,
            event => events.push(event),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unchanged_read_mark_wakes_no_stream() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let room = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    ada.send_text(&bench.mesh.clock_rng, &room, "hello").await;
    bench.store().mark_read(ConversationId(room.parse().unwrap()), UserId(bob.id), 1).await.unwrap();
    let mut stream = ada.subscribe(SubscribeRequest::default()).await.unwrap();
    catch_up(&mut stream).await;
    for message_no in [1, 1, 1, 99, 1] {
        mark(&bob, &room, message_no).await;
    }
    ada.send_text(&bench.mesh.clock_rng, &room, "the end").await;
    assert_eq!(up_to(&mut stream, "the end").await, []);
    assert_eq!(bench.marks_read.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn read_marks_of_one_interval_are_published_together() {
    const STREAMS: usize = 3;
    let bench = Bench::new(|config| config.read_marks_interval = Span(Duration::from_secs(1))).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let room = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    for n in 0..50 {
        ada.send_text(&bench.mesh.clock_rng, &room, &n.to_string()).await;
    }
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut stream = ada.subscribe(SubscribeRequest::default()).await.unwrap();
        catch_up(&mut stream).await;
        streams.push(stream);
    }
    let begun = Instant::now();
    for message_no in 1..=50 {
        mark(&bob, &room, message_no).await;
    }
    for stream in &mut streams {
        // The last mark arrives; earlier ones of the interval may not.
        loop {
            let Event::ReadMarks(event) = next(stream).await else { continue };
            if event.marks.iter().any(|mark| mark.user_id == bob.id.to_string() && mark.message_no == 50) {
                break;
            }
        }
    }
    let most = STREAMS * (2 + usize::try_from(begun.elapsed().as_secs()).unwrap());
    let reads = bench.marks_read.load(Ordering::SeqCst);
    assert!(reads <= most, "{reads} reads for 50 changes, more than {most}");
}
