//! Each limit, at n and at n + 1.

use std::time::Duration;

use proto::messaging::v1::{ListMessagesRequest, Position, SendMessageRequest, SubscribeRequest};
use tonic::Code;
use tonic_types::StatusExt as _;
use users::domain::State;

use crate::{
    bench::{Bench, Person},
    mesh::refusal,
};

#[tokio::test(flavor = "multi_thread")]
async fn text_is_one_byte_to_sixteen_kibibytes() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let room = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    let send = async |text: String| {
        let client_message_id = bench.mesh.clock_rng.new_id().to_string();
        ada.send(SendMessageRequest { conversation_id: room.clone(), client_message_id, text }).await
    };
    send("x".to_owned()).await.unwrap();
    send("x".repeat(16_384)).await.unwrap();
    // Bytes are counted, not characters.
    for text in [String::new(), "x".repeat(16_385), "é".repeat(8_193)] {
        let refused = send(text).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(refused.get_error_details().bad_request().unwrap().field_violations[0].field, "text");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conversation_takes_a_thousand_members() {
    let bench = Bench::new(|_| {}).await;
    let ada = bench.person().await;
    let mut others = Vec::new();
    for _ in 0..1_000 {
        others.push(bench.user(State::Active).await);
    }
    let opened = ada.create(ada.opening(&bench.mesh.clock_rng, &others[..999])).await.unwrap();
    assert_eq!((opened.member_count, opened.members.len()), (1_000, 8));
    let refused = ada.create(ada.opening(&bench.mesh.clock_rng, &others)).await.unwrap_err();
    assert_eq!(refused.get_error_details().bad_request().unwrap().field_violations[0].field, "member_ids");
}

#[tokio::test(flavor = "multi_thread")]
async fn added_conversations_do_not_use_up_the_own_bound() {
    let bench = Bench::new(|config| {
        config.conversations_per_user = 3;
        config.added_conversations_per_user = 4;
    })
    .await;
    let (ada, bob, eve) = (bench.person().await, bench.person().await, bench.person().await);
    let create = async |creator: &Person, other: &Person| {
        creator.create(creator.opening(&bench.mesh.clock_rng, &[other.id])).await
    };
    for _ in 0..3 {
        create(&ada, &bob).await.unwrap();
    }
    assert_eq!(refusal(create(&ada, &bob).await), "ResourceExhausted TOO_MANY_CONVERSATIONS", "own conversations");
    create(&eve, &bob).await.unwrap();
    assert_eq!(
        refusal(create(&eve, &bob).await),
        "ResourceExhausted TOO_MANY_CONVERSATIONS",
        "conversations of others"
    );
    for _ in 0..3 {
        create(&bob, &eve).await.unwrap();
    }
    assert_eq!(refusal(create(&bob, &ada).await), "ResourceExhausted TOO_MANY_CONVERSATIONS");
}

#[tokio::test(flavor = "multi_thread")]
async fn page_holds_a_hundred_rows_at_most() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let room = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    let list = async |page_size| {
        let message = ListMessagesRequest { conversation_id: room.clone(), page_size, ..Default::default() };
        ada.client.clone().list_messages(ada.request(message)).await
    };
    list(100).await.unwrap();
    for page_size in [-1, 101] {
        let refused = list(page_size).await.unwrap_err();
        assert_eq!(refused.get_error_details().bad_request().unwrap().field_violations[0].field, "page_size");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn session_holds_eight_streams_and_a_user_thirty_two() {
    let bench = Bench::new(|_| {}).await;
    let id = bench.person().await.id;
    let mut held = Vec::new();
    for _ in 0..4 {
        let session = bench.signed_in(id, Duration::from_secs(600));
        for _ in 0..8 {
            held.push(session.subscribe(SubscribeRequest::default()).await.unwrap());
        }
        let refused = session.subscribe(SubscribeRequest::default()).await;
        assert_eq!(refusal(refused), "ResourceExhausted TOO_MANY_STREAMS");
    }
    let fifth = bench.signed_in(id, Duration::from_secs(600));
    let refused = fifth.subscribe(SubscribeRequest::default()).await;
    assert_eq!(refusal(refused), "ResourceExhausted TOO_MANY_STREAMS");
    // A closed stream makes room. A new stream that arrives before the server notices waits for it.
    held.pop();
    fifth.subscribe(SubscribeRequest::default()).await.expect("there is room for a stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn page_of_long_texts_is_cut_to_fit_a_message() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let room = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    // 100 texts take 1.6 MiB.
    let long = "x".repeat(16 * 1024);
    for _ in 0..300 {
        ada.send_text(&bench.mesh.clock_rng, &room, &long).await;
    }
    let mut list = ListMessagesRequest { conversation_id: room, page_size: 100, ..Default::default() };
    let (mut seqs, mut pages) = (Vec::new(), 0);
    loop {
        let page = bob.client.clone().list_messages(bob.request(list.clone())).await.unwrap().into_inner();
        seqs.extend(page.entries.iter().map(|entry| entry.seq));
        pages += 1;
        if page.next_page_token.is_empty() {
            break;
        }
        list.page_token = page.next_page_token;
    }
    assert!(seqs.iter().copied().eq((1..=301).rev()), "each entry once, newest first");
    assert_eq!(pages, 4, "100 rows each");
}

#[tokio::test(flavor = "multi_thread")]
async fn subscription_takes_at_most_ten_thousand_positions() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let opened = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap();
    let position = Position { conversation_id: opened.conversation_id, cursor: opened.cursor };
    let subscribe = |n| ada.subscribe(SubscribeRequest { positions: vec![position.clone(); n], ..Default::default() });
    subscribe(10_000).await.unwrap();
    let refused = subscribe(10_001).await.unwrap_err();
    assert_eq!(refused.get_error_details().bad_request().unwrap().field_violations[0].field, "positions");
}
