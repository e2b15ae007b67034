//! The contract of `MessagingStore`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use kit::ClockAndRng;
use kit_data::store::Location;
use messaging::{
    MessagingStore,
    domain::{
        Body, Conversation, ConversationId, Entry, Membership, MembershipKind, NewConversation, NewMessage, UserId,
    },
    store::{AdmitError, AppendError, InsertError},
};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    changes::{bounds, new_id, new_message as message, open, people},
    databases::on_both,
};

on_both! {
    stored_conversation_is_found_only_by_its_members,
    repeated_insert_returns_the_first_conversation,
    concurrent_repeats_open_one_conversation,
    another_conversation_under_the_same_request_is_refused,
    the_limit_of_conversations_is_exact_under_concurrency,
    creators_with_the_same_members_never_deadlock,
    eight_concurrent_authors_leave_no_gap,
    append_is_idempotent_forever,
    concurrent_repeats_of_a_message_are_stored_once,
    another_text_under_the_same_client_id_is_refused,
    non_members_append_nothing,
    history_is_listed_newest_first,
    entries_are_listed_in_order,
    heads_are_the_newest_entries,
    sixty_four_writers_at_once_all_succeed,
    cancelled_appends_leave_no_gap,
}

const MANY: u32 = 10_000;

fn conversation(creator: UserId, others: &[UserId]) -> NewConversation {
    NewConversation {
        id: ConversationId(new_id()),
        creator,
        request_id: new_id(),
        members: NewConversation::all_members(creator, others.iter().copied()),
        title: "plans".to_owned(),
        create_time: ClockAndRng::system().now(),
    }
}

async fn opened(store: &Arc<dyn MessagingStore>, creator: UserId, others: &[UserId]) -> Conversation {
    store.insert(&conversation(creator, others), &bounds(MANY)).await.unwrap()
}

fn number(entry: &Entry) -> Option<i64> {
    match &entry.body {
        Body::Message(message) => Some(message.number),
        _ => None,
    }
}

fn text(entry: &Entry) -> &str {
    match &entry.body {
        Body::Message(message) => &message.text,
        Body::Created { title, .. } => title,
        other => panic!("{other:?}"),
    }
}

/// The whole log, after a check that neither of its numbers has a gap.
async fn log(store: &Arc<dyn MessagingStore>, member: UserId, id: ConversationId) -> Vec<Entry> {
    let entries = store.list_entries(id, member, 0, 100_000).await.unwrap();
    let count = i64::try_from(entries.len()).unwrap();
    assert!(entries.iter().map(|entry| entry.seq).eq(1..=count), "seq has no gap");
    assert!(entries.iter().filter_map(number).eq(1..count), "message_no has no gap");
    entries
}

async fn stored_conversation_is_found_only_by_its_members(location: &Location) {
    let store = open(location).await;
    let [ada, bob, eve] = people();
    let new = conversation(ada, &[bob]);
    let stored = store.insert(&new, &bounds(MANY)).await.unwrap();
    assert_eq!((stored.id, stored.last_seq, stored.message_count), (new.id, 1, 0));
    for member in [ada, bob] {
        let found = store.find(new.id, member).await.unwrap().unwrap();
        assert_eq!(found, Conversation { own: found.own, ..stored.clone() });
        let added = Membership {
            is_owner: false,
            membership_kind: MembershipKind::Added,
            added_by: Some(ada),
            ..Membership::OPENER
        };
        assert_eq!(found.own, if member == ada { Membership::OPENER } else { added });
    }
    assert_eq!(store.find(new.id, eve).await.unwrap(), None);
    assert_eq!(store.find(ConversationId(new_id()), ada).await.unwrap(), None);
    assert_eq!(store.find_by_request(ada, new.request_id).await.unwrap(), Some(new.id));
    assert_eq!(store.find_by_request(bob, new.request_id).await.unwrap(), None, "a request id belongs to its creator");
    let entries = log(&store, ada, new.id).await;
    assert_eq!(
        entries[0].body,
        Body::Created {
            members: stored.members.iter().map(|member| member.user).collect(),
            member_count: 2,
            title: "plans".to_owned()
        }
    );
    assert!(store.is_reachable().await);
}

async fn repeated_insert_returns_the_first_conversation(location: &Location) {
    let store = open(location).await;
    let [ada, bob] = people();
    let new = conversation(ada, &[bob]);
    let first = store.insert(&new, &bounds(1)).await.unwrap();
    let again = NewConversation { id: ConversationId(new_id()), ..new };
    // A repeat opens nothing, so that it succeeds at the limit.
    assert_eq!(store.insert(&again, &bounds(1)).await.unwrap(), first);
    assert_eq!(store.heads(bob).await.unwrap(), [(first.id, 1)]);
}

async fn concurrent_repeats_open_one_conversation(location: &Location) {
    let store = open(location).await;
    let [ada, bob] = people();
    let new = conversation(ada, &[bob]);
    let mut repeats = JoinSet::new();
    for _ in 0..16 {
        let (store, again) = (Arc::clone(&store), NewConversation { id: ConversationId(new_id()), ..new.clone() });
        repeats.spawn(async move { store.insert(&again, &bounds(MANY)).await.unwrap().id });
    }
    let ids = repeats.join_all().await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(store.heads(bob).await.unwrap().len(), 1);
}

async fn another_conversation_under_the_same_request_is_refused(location: &Location) {
    let store = open(location).await;
    let [ada, bob, eve] = people();
    let new = conversation(ada, &[bob]);
    store.insert(&new, &bounds(MANY)).await.unwrap();
    let others = [
        NewConversation { title: "other plans".to_owned(), ..new.clone() },
        NewConversation { members: NewConversation::all_members(ada, [bob, eve]), ..new.clone() },
    ];
    for other in others {
        let other = NewConversation { id: ConversationId(new_id()), ..other };
        assert!(matches!(store.insert(&other, &bounds(MANY)).await, Err(InsertError::RequestIdReused)));
        assert_eq!(store.find(other.id, ada).await.unwrap(), None);
    }
    // Another user may choose the same id.
    let theirs = NewConversation { id: ConversationId(new_id()), creator: bob, ..new };
    store.insert(&theirs, &bounds(MANY)).await.unwrap();
}

async fn the_limit_of_conversations_is_exact_under_concurrency(location: &Location) {
    const LIMIT: u32 = 5;
    let store = open(location).await;
    let [popular] = people();
    let mut creators = JoinSet::new();
    for _ in 0..16 {
        let (store, [creator]) = (Arc::clone(&store), people());
        creators
            .spawn(async move { (creator, store.insert(&conversation(creator, &[popular]), &bounds(LIMIT)).await) });
    }
    let outcomes = creators.join_all().await;
    let refused: Vec<UserId> = outcomes
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Err(InsertError::Admit(AdmitError::TooManyConversations))))
        .map(|(creator, _)| *creator)
        .collect();
    assert_eq!(outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count(), 5, "{outcomes:?}");
    assert_eq!(refused.len(), 11, "{outcomes:?}");
    assert_eq!(store.heads(popular).await.unwrap().len(), 5);
    // A refused conversation does not count: its creator may still open as many as any user.
    let [other] = people();
    for n in 0..=LIMIT {
        let outcome = store.insert(&conversation(refused[0], &[other]), &bounds(LIMIT)).await;
        assert_eq!(outcome.is_ok(), n < LIMIT, "{n}: {outcome:?}");
    }
}

async fn creators_with_the_same_members_never_deadlock(location: &Location) {
    let store = open(location).await;
    let users: [UserId; 12] = people();
    let mut creators = JoinSet::new();
    for creator in users {
        let store = Arc::clone(&store);
        creators.spawn(async move {
            for _ in 0..5 {
                store.insert(&conversation(creator, &users), &bounds(MANY)).await.unwrap();
            }
        });
    }
    creators.join_all().await;
    for person in users {
        assert_eq!(store.heads(person).await.unwrap().len(), 60);
    }
}

async fn eight_concurrent_authors_leave_no_gap(location: &Location) {
    let store = open(location).await;
    let authors: [UserId; 8] = people();
    let id = opened(&store, authors[0], &authors).await.id;
    let mut writing = JoinSet::new();
    for author in authors {
        let store = Arc::clone(&store);
        writing.spawn(async move {
            for n in 0..20 {
                let appended = store.append(&message(id, author, &n.to_string())).await.unwrap();
                assert!(appended.is_new);
            }
        });
    }
    writing.join_all().await;
    let entries = log(&store, authors[0], id).await;
    assert_eq!(entries.len(), 161);
    for author in authors {
        let own: Vec<&str> = entries[1..].iter().filter(|entry| entry.author == author).map(text).collect();
        assert!(
            own.iter().map(|n| n.parse::<i32>().unwrap()).eq(0..20),
            "messages of one author are in order: {own:?}"
        );
    }
    let found = store.find(id, authors[0]).await.unwrap().unwrap();
    assert_eq!((found.last_seq, found.message_count), (161, 160));
}

async fn append_is_idempotent_forever(location: &Location) {
    let store = open(location).await;
    let [ada, bob] = people();
    let id = opened(&store, ada, &[bob]).await.id;
    let new = message(id, ada, "hello");
    let first = store.append(&new).await.unwrap();
    assert!(first.is_new);
    for n in 0..20 {
        store.append(&message(id, bob, &n.to_string())).await.unwrap();
    }
    // The same after a restart.
    let store = open(location).await;
    let later = kit::Timestamp::from_micros(new.create_time.as_micros() + 1);
    let again = store.append(&NewMessage { id: new_id(), create_time: later, ..new }).await.unwrap();
    assert_eq!((again.entry, again.is_new), (first.entry, false));
    assert_eq!(log(&store, ada, id).await.len(), 22);
}

async fn concurrent_repeats_of_a_message_are_stored_once(location: &Location) {
    let store = open(location).await;
    let [ada, bob] = people();
    let id = opened(&store, ada, &[bob]).await.id;
    let new = message(id, ada, "hello");
    let mut repeats = JoinSet::new();
    for _ in 0..16 {
        let (store, again) = (Arc::clone(&store), NewMessage { id: new_id(), ..new.clone() });
        repeats.spawn(async move { store.append(&again).await.unwrap() });
    }
    let appended = repeats.join_all().await;
    assert_eq!(appended.iter().filter(|repeat| repeat.is_new).count(), 1);
    assert!(appended.iter().all(|repeat| repeat.entry == appended[0].entry), "{appended:?}");
    assert_eq!(log(&store, ada, id).await.len(), 2);
}

async fn another_text_under_the_same_client_id_is_refused(location: &Location) {
    let store = open(location).await;
    let [ada, bob] = people();
    let id = opened(&store, ada, &[bob]).await.id;
    let new = message(id, ada, "hello");
    store.append(&new).await.unwrap();
    let other = NewMessage { text: "goodbye".to_owned(), ..new.clone() };
    assert!(matches!(store.append(&other).await, Err(AppendError::RequestIdReused)));
    assert_eq!(log(&store, ada, id).await.len(), 2);
    // A client id is separate for each author and conversation.
    assert!(store.append(&NewMessage { author: bob, id: new_id(), ..other.clone() }).await.unwrap().is_new);
    let elsewhere = opened(&store, ada, &[bob]).await.id;
    assert!(store.append(&NewMessage { conversation: elsewhere, id: new_id(), ..other }).await.unwrap().is_new);
}

async fn non_members_append_nothing(location: &Location) {
    let store = open(location).await;
    let [ada, bob, eve] = people();
    let id = opened(&store, ada, &[bob]).await.id;
    for new in [message(id, eve, "let me in"), message(ConversationId(new_id()), ada, "where?")] {
        assert!(matches!(store.append(&new).await, Err(AppendError::NotFound)));
    }
    assert_eq!(log(&store, ada, id).await.len(), 1);
}

async fn history_is_listed_newest_first(location: &Location) {
    let store = open(location).await;
    let [ada, bob] = people();
    let id = opened(&store, ada, &[bob]).await.id;
    for n in 1..=25 {
        store.append(&message(id, ada, &n.to_string())).await.unwrap();
    }
    let (mut seen, mut before) = (Vec::new(), i64::MAX);
    loop {
        let page = store.list_history(id, bob, before, 10).await.unwrap();
        let Some(last) = page.last() else { break };
        before = last.seq;
        seen.extend(page.iter().map(|entry| entry.seq));
    }
    assert!(seen.iter().copied().eq((1..=26).rev()), "{seen:?}");
    assert_eq!(store.list_history(ConversationId(new_id()), ada, i64::MAX, 10).await.unwrap(), []);
    assert_eq!(store.list_history(id, UserId(new_id()), i64::MAX, 10).await.unwrap(), [], "non-members read nothing");
}

async fn entries_are_listed_in_order(location: &Location) {
    let store = open(location).await;
    let [ada, bob] = people();
    let id = opened(&store, ada, &[bob]).await.id;
    for n in 2..=25 {
        store.append(&message(id, ada, &n.to_string())).await.unwrap();
    }
    let (mut seen, mut after) = (Vec::new(), 0);
    loop {
        let page = store.list_entries(id, bob, after, 10).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.seq;
        seen.extend(page.iter().map(|entry| entry.seq));
    }
    assert!(seen.iter().copied().eq(1..=25), "{seen:?}");
    assert_eq!(store.list_entries(id, ada, 25, 10).await.unwrap(), []);
}

async fn heads_are_the_newest_entries(location: &Location) {
    let store = open(location).await;
    let [ada, bob, eve] = people();
    let quiet = opened(&store, ada, &[bob]).await.id;
    let lively = opened(&store, bob, &[ada]).await.id;
    for n in 0..3 {
        store.append(&message(lively, ada, &n.to_string())).await.unwrap();
    }
    for person in [ada, bob] {
        let heads: HashMap<ConversationId, i64> = store.heads(person).await.unwrap().into_iter().collect();
        assert_eq!(heads, HashMap::from([(quiet, 1), (lively, 4)]));
    }
    assert_eq!(store.heads(eve).await.unwrap(), []);
}

async fn sixty_four_writers_at_once_all_succeed(location: &Location) {
    let store = open(location).await;
    let mut writers = JoinSet::new();
    for _ in 0..64 {
        let (store, [author, other]) = (Arc::clone(&store), people());
        writers.spawn(async move {
            let id = opened(&store, author, &[other]).await.id;
            for n in 0..4 {
                store.append(&message(id, author, &n.to_string())).await.unwrap();
                store.list_entries(id, other, 0, 10).await.unwrap();
            }
            assert_eq!(log(&store, author, id).await.len(), 5);
        });
    }
    writers.join_all().await;
}

async fn cancelled_appends_leave_no_gap(location: &Location) {
    let store = open(location).await;
    let authors: [UserId; 4] = people();
    let id = opened(&store, authors[0], &authors).await.id;
    let mut writing = JoinSet::new();
    for author in authors {
        let store = Arc::clone(&store);
        writing.spawn(async move {
            let mut acknowledged = Vec::new();
            for n in 0..60 {
                let new = message(id, author, &n.to_string());
                let [dice] = ClockAndRng::system().random::<1>();
                // Up to 5 ms: cancels before, during and after the statements of an append.
                let limit = Duration::from_micros(u64::from(dice) * 20);
                if let Ok(appended) = timeout(limit, store.append(&new)).await {
                    acknowledged.push(appended.unwrap().entry);
                }
            }
            acknowledged
        });
    }
    let acknowledged = writing.join_all().await.concat();
    let last = store.append(&message(id, authors[0], "still there?")).await.unwrap();
    let entries = log(&store, authors[0], id).await;
    assert_eq!(entries.last(), Some(&last.entry));
    for entry in acknowledged {
        assert_eq!(entries[usize::try_from(entry.seq).unwrap() - 1], entry, "an acknowledged entry is stored");
    }
}
