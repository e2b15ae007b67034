//! Conversations and messages, as clients see them.

use std::time::{Duration, Instant};

use kit::config::Span;
use messaging::domain::{self, ConversationId, UserId};
use proto::messaging::v1::{
    ListMessagesRequest, NewEntry, Position, RemoveMemberRequest, SendMessageRequest, SubscribeRequest, entry::Body,
    subscribe_response::Event,
};
use tonic::Code;
use users::domain::State;

use crate::{
    bench::{Bench, Person, catch_up, next},
    changes::{by, new_message},
    mesh::refusal,
};

#[tokio::test(flavor = "multi_thread")]
async fn unknown_or_inactive_users_are_not_added() {
    let bench = Bench::new(|_| {}).await;
    let ada = bench.person().await;
    let bob = bench.person().await;
    let absent = [bench.mesh.clock_rng.new_id(), bench.user(State::Suspended).await, bench.user(State::Deleted).await];
    for user in absent {
        let refused = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id, user])).await;
        assert_eq!(refusal(refused), "FailedPrecondition MEMBER_UNKNOWN");
    }
    let mut stream = bob.subscribe(SubscribeRequest::default()).await.unwrap();
    assert!(catch_up(&mut stream).await.is_empty(), "nothing was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_repeats_succeed_while_users_is_down() {
    let mut bench = Bench::new(|_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let opening = ada.opening(&bench.mesh.clock_rng, &[bob.id]);
    bench.stop_users().await;
    let refused = ada.create(opening.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    bench.restart_users().await;
    let opened = ada.create(opening.clone()).await.unwrap();
    // A repeat does not call the users service.
    bench.stop_users().await;
    assert_eq!(ada.create(opening).await.unwrap().conversation_id, opened.conversation_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn call_to_a_silent_users_service_times_out() {
    let mut bench = Bench::new(|config| config.users_timeout = Span(Duration::from_millis(500))).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let opening = ada.opening(&bench.mesh.clock_rng, &[bob.id]);
    let _silent = bench.silence_users().await;
    let started = Instant::now();
    assert_eq!(refusal(ada.create(opening).await), "Unavailable UNAVAILABLE");
    assert!(started.elapsed() < Duration::from_secs(5), "ten times the timeout");
    let mut stream = bob.subscribe(SubscribeRequest::default()).await.unwrap();
    assert!(catch_up(&mut stream).await.is_empty(), "nothing was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn call_without_a_valid_token_is_unauthenticated() {
    let bench = Bench::new(|_| {}).await;
    let ada = bench.person().await;
    let expired = bench.signed_in(ada.id, Duration::ZERO);
    assert_eq!(refusal(expired.subscribe(SubscribeRequest::default()).await), "Unauthenticated TOKEN_EXPIRED");
    assert_eq!(
        refusal(bench.client().subscribe(SubscribeRequest::default()).await),
        "Unauthenticated SIGN_IN_REQUIRED"
    );
    let opening = expired.opening(&bench.mesh.clock_rng, &[ada.id]);
    assert_eq!(refusal(expired.create(opening).await), "Unauthenticated TOKEN_EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn request_id_is_not_reused_for_another_request() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let opening = ada.opening(&bench.mesh.clock_rng, &[bob.id]);
    let opened = ada.create(opening.clone()).await.unwrap();
    let mut other = opening;
    other.title = "Coffee".to_owned();
    assert_eq!(refusal(ada.create(other).await), "AlreadyExists REQUEST_ID_REUSED");
    let mut message = SendMessageRequest {
        conversation_id: opened.conversation_id,
        client_message_id: bench.mesh.clock_rng.new_id().to_string(),
        text: "hello".to_owned(),
    };
    let first = ada.send(message.clone()).await.unwrap();
    assert_eq!(ada.send(message.clone()).await.unwrap(), first);
    message.text = "goodbye".to_owned();
    assert_eq!(refusal(ada.send(message).await), "AlreadyExists REQUEST_ID_REUSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn non_members_get_not_found() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob, eve) = (bench.person().await, bench.person().await, bench.person().await);
    let room = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    ada.send_text(&bench.mesh.clock_rng, &room, "secret").await;
    let nowhere = bench.mesh.clock_rng.new_id().to_string();
    for conversation_id in [room, nowhere] {
        let list = ListMessagesRequest { conversation_id: conversation_id.clone(), ..Default::default() };
        let refused = eve.client.clone().list_messages(eve.request(list)).await;
        assert_eq!(refusal(refused), "NotFound CONVERSATION_NOT_FOUND");
        let client_message_id = bench.mesh.clock_rng.new_id().to_string();
        let message = SendMessageRequest { conversation_id, client_message_id, text: "hi".to_owned() };
        assert_eq!(refusal(eve.send(message).await), "NotFound CONVERSATION_NOT_FOUND");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_cover_the_whole_history() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let room = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    for n in 0..7 {
        ada.send_text(&bench.mesh.clock_rng, &room, &n.to_string()).await;
    }
    let mut list = ListMessagesRequest { conversation_id: room, page_size: 3, ..Default::default() };
    let mut texts = Vec::new();
    loop {
        let page = bob.client.clone().list_messages(bob.request(list.clone())).await.unwrap().into_inner();
        for entry in page.entries {
            texts.push(match entry.body.unwrap() {
                Body::Message(message) => message.text,
                Body::ConversationCreated(_) => "created".to_owned(),
                other => panic!("{other:?}"),
            });
        }
        if page.next_page_token.is_empty() {
            break;
        }
        list.page_token = page.next_page_token;
    }
    assert_eq!(texts, ["6", "5", "4", "3", "2", "1", "0", "created"]);
    list.page_token = "made-up".to_owned();
    let refused = bob.client.clone().list_messages(bob.request(list)).await;
    assert_eq!(refusal(refused), "InvalidArgument PAGE_TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn cursor_is_valid_only_for_its_conversation_and_epoch() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let [one, two] = [&ada, &ada].map(|_| ada.opening(&bench.mesh.clock_rng, &[bob.id]));
    let (one, two) = (ada.create(one).await.unwrap(), ada.create(two).await.unwrap());
    let position = |cursor: &str| SubscribeRequest {
        positions: vec![Position { conversation_id: one.conversation_id.clone(), cursor: cursor.to_owned() }],
        ..Default::default()
    };
    let resume = |cursor: &str| SubscribeRequest { resume_cursor: cursor.to_owned(), ..Default::default() };
    for cursor in [two.cursor.as_str(), "made-up", &one.cursor[1..]] {
        assert_eq!(refusal(ada.subscribe(position(cursor)).await), "InvalidArgument CURSOR_INVALID");
    }
    for cursor in ["made-up", &one.cursor[1..]] {
        assert_eq!(refusal(ada.subscribe(resume(cursor)).await), "InvalidArgument CURSOR_INVALID");
    }
    // The first four bytes are the epoch.
    let other_epoch = format!("AAAAZ{}", &one.cursor[5..]);
    assert_eq!(refusal(ada.subscribe(position(&other_epoch)).await), "FailedPrecondition CURSOR_EPOCH_CHANGED");
    assert_eq!(refusal(ada.subscribe(resume(&other_epoch)).await), "FailedPrecondition CURSOR_EPOCH_CHANGED");
}

/// A page is one statement: it reads all of its rows before the removal or none.
#[tokio::test(flavor = "multi_thread")]
async fn page_is_refused_after_its_reader_is_removed() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let room = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    for n in 0..200 {
        ada.send_text(&bench.mesh.clock_rng, &room, &n.to_string()).await;
    }
    let list = |page_size| ListMessagesRequest { conversation_id: room.clone(), page_size, ..Default::default() };
    let read = async |page_size| bob.client.clone().list_messages(bob.request(list(page_size))).await;
    assert_eq!(read(100).await.unwrap().into_inner().entries.len(), 100);
    let (id, owner, reader) = (ConversationId(room.parse().unwrap()), UserId(ada.id), UserId(bob.id));
    bench.after_page(move |store| async move {
        store.remove(by(owner, id), reader).await.unwrap();
        store.append(&new_message(id, owner, "he is gone")).await.unwrap();
    });
    let before = read(100).await.unwrap().into_inner().entries;
    assert!(before.iter().all(|entry| entry.seq <= 201), "no entry after the removal");
    assert_eq!(refusal(read(100).await), "NotFound CONVERSATION_NOT_FOUND");
    assert_eq!(refusal(read(1).await), "NotFound CONVERSATION_NOT_FOUND");
}

/// Sends until the conversation refuses the sender.
async fn talk(sender: Person, clock_rng: kit::ClockAndRng, room: String) {
    for n in 0.. {
        let client_message_id = clock_rng.new_id().to_string();
        let message = SendMessageRequest { conversation_id: room.clone(), client_message_id, text: n.to_string() };
        if sender.send(message).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_carries_no_entry_after_the_removal() {
    let bench = Bench::new(|config| config.streams_per_user = 100).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    for _ in 0..10 {
        let room = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
        let listener = bench.signed_in(bob.id, Duration::from_secs(600));
        let mut stream = listener.subscribe(SubscribeRequest::default()).await.unwrap();
        let talking = bench.signed_in(ada.id, Duration::from_secs(600));
        let talking = tokio::spawn(talk(talking, bench.mesh.clock_rng.clone(), room.clone()));
        let mut entries_before = 0;
        while entries_before < 5 {
            entries_before += usize::from(matches!(next(&mut stream).await, Event::Entry(_)));
        }
        let removal = RemoveMemberRequest { conversation_id: room.clone(), user_id: bob.id.to_string() };
        ada.client.clone().remove_member(ada.request(removal)).await.unwrap();
        let (store, id, owner) = (bench.store(), ConversationId(room.parse().unwrap()), UserId(ada.id));
        let log = store.list_entries(id, owner, 0, 100_000).await.unwrap();
        let removal = log.iter().find(|entry| matches!(entry.body, domain::Body::Removed { .. }));
        let removal_seq = removal.unwrap().seq;
        loop {
            match next(&mut stream).await {
                Event::Entry(NewEntry { entry, .. }) => assert!(entry.unwrap().seq < removal_seq),
                Event::ConversationLeft(left) => break assert_eq!(left.conversation_id, room),
                _ => {}
            }
        }
        store.remove(by(owner, id), owner).await.unwrap();
        talking.await.unwrap();
    }
}
