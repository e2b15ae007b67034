//! The contract of `MessagingStore`.

use std::{sync::Arc, time::Duration};

use kit::{Ambient, Timestamp, store::Location};
use messaging::{
    MessagingStore,
    domain::{Body, Conversation, ConversationId, Entry, Message, NewConversation, NewMessage, UserId},
    store::{AppendError, InsertError},
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::databases::on_both;

on_both! {
    a_conversation_is_found_by_its_members_only,
    a_repeated_request_opens_one_conversation,
    eight_authors_at_once_leave_no_gap,
    a_repeated_send_is_one_message,
    a_stranger_appends_nothing,
    pages_go_back_from_the_newest,
    entries_go_on_from_a_position,
    nobody_gets_into_one_conversation_too_many,
    a_cancelled_append_leaves_no_gap,
    sixty_four_writers_at_once_all_succeed,
}

const LIMIT: u32 = 1_000;

async fn open(location: &Location) -> Arc<dyn MessagingStore> {
    messaging::store::open(location, 8).await.unwrap()
}

fn id() -> Uuid {
    Ambient::system().new_id()
}

fn person() -> UserId {
    UserId(id())
}

fn now() -> Timestamp {
    Timestamp::from_micros(1_700_000_000_123_456)
}

fn new_conversation(creator: UserId, others: &[UserId]) -> NewConversation {
    NewConversation {
        id: ConversationId(id()),
        creator,
        request_id: id(),
        members: NewConversation::everybody(creator, others.iter().copied()),
        title: "Tea".to_owned(),
        create_time: now(),
    }
}

async fn conversation(store: &dyn MessagingStore, creator: UserId, others: &[UserId]) -> Conversation {
    store.insert(&new_conversation(creator, others), LIMIT).await.unwrap()
}

fn new_message(conversation: ConversationId, author: UserId, text: &str) -> NewMessage {
    NewMessage { conversation, author, id: id(), client_id: id(), text: text.to_owned(), create_time: now() }
}

fn message(entry: &Entry) -> &Message {
    match &entry.body {
        Body::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

/// The log is 1, 2, 3 and so on, and so are the numbers of its messages.
fn assert_gap_free(entries: &[Entry]) {
    let mut number = 0;
    for (seq, entry) in (1..).zip(entries) {
        assert_eq!(entry.seq, seq);
        if let Body::Message(message) = &entry.body {
            number += 1;
            assert_eq!(message.number, number);
        }
    }
}

async fn a_conversation_is_found_by_its_members_only(location: &Location) {
    let store = open(location).await;
    let (ada, bob, eve) = (person(), person(), person());
    let opened = conversation(&*store, ada, &[bob]).await;
    assert_eq!((opened.last_seq, opened.message_count, opened.members.len()), (1, 0, 2));
    for member in [ada, bob] {
        assert_eq!(store.find(opened.id, member).await.unwrap(), Some(opened.clone()));
        assert_eq!(store.heads(member).await.unwrap(), [(opened.id, 1)]);
    }
    assert_eq!(store.find(opened.id, eve).await.unwrap(), None);
    assert_eq!(store.heads(eve).await.unwrap(), []);
    let first = store.list_entries(opened.id, 0, 10).await.unwrap();
    assert!(matches!(&first[..], [Entry { body: Body::Created { members, .. }, .. }] if *members == opened.members));
}

async fn a_repeated_request_opens_one_conversation(location: &Location) {
    let store = open(location).await;
    let (ada, bob) = (person(), person());
    let new = new_conversation(ada, &[bob]);
    let mut repeats = JoinSet::new();
    for _ in 0..8 {
        // Each try mints an id of its own.
        let (store, new) = (Arc::clone(&store), NewConversation { id: ConversationId(id()), ..new.clone() });
        repeats.spawn(async move { store.insert(&new, LIMIT).await.unwrap().id });
    }
    let ids = repeats.join_all().await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(store.heads(bob).await.unwrap().len(), 1);
    assert_eq!(store.find_by_request(ada, new.request_id).await.unwrap(), Some(ids[0]));
    assert_eq!(store.find_by_request(bob, new.request_id).await.unwrap(), None);
    let other = NewConversation { title: "Coffee".to_owned(), ..new };
    assert!(matches!(store.insert(&other, LIMIT).await, Err(InsertError::RequestIdReused)));
}

async fn eight_authors_at_once_leave_no_gap(location: &Location) {
    let store = open(location).await;
    let people: Vec<UserId> = (0..8).map(|_| person()).collect();
    let room = conversation(&*store, people[0], &people[1..]).await.id;
    let mut authors = JoinSet::new();
    for author in people {
        let store = Arc::clone(&store);
        authors.spawn(async move {
            let mut last = 0;
            for n in 0..16 {
                let new = new_message(room, author, &format!("message {n}"));
                let appended = store.append(&new).await.unwrap();
                assert!(appended.is_new && appended.entry.seq > last);
                last = appended.entry.seq;
            }
        });
    }
    authors.join_all().await;
    let log = store.list_entries(room, 0, 1_000).await.unwrap();
    assert_eq!(log.len(), 1 + 8 * 16);
    assert_gap_free(&log);
}

async fn a_repeated_send_is_one_message(location: &Location) {
    let store = open(location).await;
    let (ada, bob) = (person(), person());
    let room = conversation(&*store, ada, &[bob]).await.id;
    let new = new_message(room, ada, "hello");
    let first = store.append(&new).await.unwrap();
    let repeat = NewMessage { id: id(), ..new.clone() };
    let again = store.append(&repeat).await.unwrap();
    assert!(first.is_new && !again.is_new);
    assert_eq!(again.entry, first.entry);
    let other = NewMessage { text: "goodbye".to_owned(), ..new.clone() };
    assert!(matches!(store.append(&other).await, Err(AppendError::RequestIdReused)));
    // The id is the author's own: somebody else may use the same.
    assert!(store.append(&NewMessage { author: bob, ..new }).await.unwrap().is_new);
    assert_gap_free(&store.list_entries(room, 0, 10).await.unwrap());
}

async fn a_stranger_appends_nothing(location: &Location) {
    let store = open(location).await;
    let (ada, bob, eve) = (person(), person(), person());
    let room = conversation(&*store, ada, &[bob]).await.id;
    for new in [new_message(room, eve, "hi"), new_message(ConversationId(id()), ada, "hi")] {
        assert!(matches!(store.append(&new).await, Err(AppendError::NotFound)));
    }
    assert_eq!(store.list_entries(room, 0, 10).await.unwrap().len(), 1);
}

async fn pages_go_back_from_the_newest(location: &Location) {
    let store = open(location).await;
    let (ada, bob) = (person(), person());
    let room = conversation(&*store, ada, &[bob]).await.id;
    for n in 1..=5 {
        store.append(&new_message(room, ada, &n.to_string())).await.unwrap();
    }
    let texts = async |before, limit| -> Vec<String> {
        let page = store.list_messages(room, before, limit).await.unwrap();
        page.iter().map(|entry| message(entry).text.clone()).collect()
    };
    assert_eq!(texts(i64::MAX, 2).await, ["5", "4"]);
    assert_eq!(texts(4, 2).await, ["3", "2"]);
    assert_eq!(texts(2, 2).await, ["1"]);
    assert!(texts(1, 2).await.is_empty());
}

async fn entries_go_on_from_a_position(location: &Location) {
    let store = open(location).await;
    let (ada, bob) = (person(), person());
    let room = conversation(&*store, ada, &[bob]).await.id;
    for n in 0..5 {
        store.append(&new_message(room, ada, &n.to_string())).await.unwrap();
    }
    let seqs = async |after, limit| -> Vec<i64> {
        store.list_entries(room, after, limit).await.unwrap().iter().map(|entry| entry.seq).collect()
    };
    assert_eq!(seqs(0, 3).await, [1, 2, 3]);
    assert_eq!(seqs(3, 10).await, [4, 5, 6]);
    assert!(seqs(6, 10).await.is_empty());
}

async fn nobody_gets_into_one_conversation_too_many(location: &Location) {
    const MOST: u32 = 5;
    let store = open(location).await;
    let bob = person();
    let mut creators = JoinSet::new();
    for _ in 0..MOST + 1 {
        let store = Arc::clone(&store);
        creators.spawn(async move { store.insert(&new_conversation(person(), &[bob]), MOST).await });
    }
    let outcomes = creators.join_all().await;
    let refused = outcomes.iter().filter(|o| matches!(o, Err(InsertError::TooManyConversations))).count();
    assert_eq!((outcomes.iter().filter(|o| o.is_ok()).count(), refused), (MOST as usize, 1));
    assert_eq!(store.heads(bob).await.unwrap().len(), MOST as usize);
}

async fn a_cancelled_append_leaves_no_gap(location: &Location) {
    let store = open(location).await;
    let (ada, bob) = (person(), person());
    let room = conversation(&*store, ada, &[bob]).await.id;
    for n in 0..200_u64 {
        let new = new_message(room, ada, &n.to_string());
        // Some are cut before they begin, some in the middle, some not at all.
        let patience = Duration::from_micros(n * 15);
        let cut = tokio::time::timeout(patience, store.append(&new)).await.is_err();
        if cut {
            store.append(&new).await.unwrap();
        }
    }
    let log = store.list_entries(room, 0, 1_000).await.unwrap();
    assert_eq!(log.len(), 201);
    assert_gap_free(&log);
}

async fn sixty_four_writers_at_once_all_succeed(location: &Location) {
    let store = open(location).await;
    let mut writers = JoinSet::new();
    for _ in 0..64 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let (ada, bob) = (person(), person());
            let room = conversation(&*store, ada, &[bob]).await.id;
            for n in 0..4 {
                store.append(&new_message(room, bob, &n.to_string())).await.unwrap();
            }
            assert_gap_free(&store.list_entries(room, 0, 10).await.unwrap());
        });
    }
    writers.join_all().await;
}
