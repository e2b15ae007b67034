//! The store's contract for reading several conversations at once.

use std::sync::Arc;

use kit_data::store::Location;
use messaging::{
    MessagingStore,
    domain::{Body, ConversationId, Details, FIRST_MEMBERS, MARKED_MEMBERS, MembersPage, Recent, UserId},
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    changes::{bounds, by, new_id, open, people, room, send_text},
    databases::on_both,
    statements::statements_of,
};

on_both! {
    batch_read_equals_single_reads,
    page_is_ordered_and_omits_left_conversations,
    page_of_any_size_takes_three_statements,
    members_are_listed_in_the_order_in_which_they_joined,
    member_count_is_exact_under_concurrency,
}

/// Conversations that differ in all fields: the nth has n messages; some are edited, erased, read, renamed or left; the
/// last one has more members than streams carry read marks for.
async fn rooms(store: &Arc<dyn MessagingStore>, ada: UserId, others: &[UserId]) -> Vec<ConversationId> {
    let mut rooms = Vec::new();
    for n in 0..6 {
        let id = room(store, ada, others).await;
        for m in 0..n {
            let author = others[m % others.len()];
            let sent = send_text(store, id, author, &m.to_string()).await;
            match m {
                2 => drop(store.edit(by(author, id), sent.id, "better").await.unwrap()),
                4 => drop(store.erase(by(author, id), sent.id).await.unwrap()),
                _ => drop(store.mark_read(id, ada, sent.number).await.unwrap()),
            }
        }
        if n == 3 {
            store.update(by(ada, id), &Details::titled("Coffee")).await.unwrap();
            store.remove(by(others[0], id), others[0]).await.unwrap();
        }
        rooms.push(id);
    }
    let crowd: Vec<UserId> = (0..MARKED_MEMBERS).map(|_| UserId(new_id())).collect();
    rooms.push(room(store, ada, &crowd).await);
    rooms
}

async fn batch_read_equals_single_reads(location: &Location) {
    let (store, [ada, bob, eve]) = (open(location).await, people());
    let mine = rooms(&store, ada, &[bob, eve]).await;
    let (theirs, nowhere) = (room(&store, bob, &[eve]).await, ConversationId(new_id()));
    // In random order, with conversations of others in between.
    let ids = [mine[5], theirs, mine[0], mine[6], nowhere, mine[3], mine[1], mine[4], mine[2]];
    for reader in [ada, bob, eve] {
        let mut alone = Vec::new();
        for id in ids {
            alone.extend(store.find(id, reader).await.unwrap());
        }
        assert_eq!(store.find_all(&ids, reader).await.unwrap(), alone);
    }
    let found = store.find_all(&ids, ada).await.unwrap();
    assert!(found.iter().map(|found| found.id).eq([5, 0, 6, 3, 1, 4, 2].map(|n| mine[n])));
    for conversation in &found {
        let history = store.list_history(conversation.id, ada, i64::MAX, 100).await.unwrap();
        let last = history.into_iter().find(|entry| matches!(entry.body, Body::Message(_)));
        assert_eq!(conversation.last_message, last);
        assert_eq!(last.is_some(), conversation.message_count > 0);
        let first = MembersPage { after: (0, UserId(Uuid::nil())), size: FIRST_MEMBERS - 1 };
        assert_eq!(conversation.members, store.list_members(conversation.id, ada, first).await.unwrap());
    }
    let crowd = i64::try_from(MARKED_MEMBERS).unwrap() + 1;
    assert_eq!((found[2].members.len(), found[2].member_count), (FIRST_MEMBERS, crowd));
    assert_eq!((found[3].title.as_str(), found[3].members.len(), found[3].member_count), ("Coffee", 2, 2));
    assert_eq!(store.find_all(&[], ada).await.unwrap(), []);
}

async fn page_is_ordered_and_omits_left_conversations(location: &Location) {
    let (store, [ada, bob, eve]) = (open(location).await, people());
    let mine = rooms(&store, ada, &[bob, eve]).await;
    let whole = Recent::parse(100, "").unwrap();
    let listed = store.list(ada, whole).await.unwrap();
    assert!(listed.iter().map(|found| found.id).eq(mine.iter().rev().copied()), "the newest first");
    assert_eq!(listed, store.find_all(&listed.iter().map(|found| found.id).collect::<Vec<_>>(), ada).await.unwrap());
    store.remove(by(ada, mine[2]), ada).await.unwrap();
    let ids: Vec<_> = store.list(ada, whole).await.unwrap().into_iter().map(|found| found.id).collect();
    assert!(ids.iter().eq(mine.iter().rev().filter(|id| **id != mine[2])));
    // As between the statements of a page: the member leaves after the ids were read.
    assert!(store.find_all(&mine, ada).await.unwrap().iter().all(|found| found.id != mine[2]));
}

async fn page_of_any_size_takes_three_statements(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(room(&store, ada, &[bob]).await);
    }
    for size in [1, 10, 49] {
        let page = Recent::parse(size, "").unwrap();
        let (listed, statements) = statements_of(store.list(ada, page)).await;
        // One more than the page size shows that there is another page.
        assert_eq!((listed.unwrap().len(), statements.len()), (page.size + 1, 3), "{statements:?}");
        let (found, statements) = statements_of(store.find_all(&ids[..page.size], ada)).await;
        assert_eq!((found.unwrap().len(), statements.len()), (page.size, 2), "{statements:?}");
    }
}

async fn members_are_listed_in_the_order_in_which_they_joined(location: &Location) {
    let (store, [ada, bob, eve]) = (open(location).await, people());
    let id = room(&store, ada, &[bob]).await;
    let mut joined = vec![ada, bob];
    joined.sort();
    let later: [UserId; 20] = people();
    for person in later {
        store.add(by(bob, id), person, &bounds(100)).await.unwrap();
        joined.push(person);
    }
    store.remove(by(ada, id), later[3]).await.unwrap();
    joined.retain(|person| *person != later[3]);
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = MembersPage::parse(6, &token, id).unwrap();
        let mut members = store.list_members(id, ada, page).await.unwrap();
        let more = members.len() > page.size;
        members.truncate(page.size);
        seen.extend(members.iter().map(|member| member.user));
        if !more {
            break;
        }
        token = MembersPage::token_after(id, members.last().unwrap());
    }
    assert_eq!(seen, joined);
    let shown = store.find(id, ada).await.unwrap().unwrap();
    assert!(shown.members.iter().map(|member| member.user).eq(joined[..FIRST_MEMBERS].iter().copied()));
    assert_eq!(shown.member_count, 21);
    let first = MembersPage::parse(6, "", id).unwrap();
    assert_eq!(store.list_members(id, eve, first).await.unwrap(), [], "a non-member sees none");
}

async fn member_count_is_exact_under_concurrency(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let id = room(&store, ada, &[bob]).await;
    let others: [UserId; 16] = people();
    let mut changing = JoinSet::new();
    for (n, person) in others.into_iter().enumerate() {
        let store = Arc::clone(&store);
        changing.spawn(async move {
            // Each is added twice and every other one is removed twice.
            for _ in 0..2 {
                store.add(by(ada, id), person, &bounds(100)).await.unwrap();
            }
            for _ in 0..2 * (n % 2) {
                store.remove(by(ada, id), person).await.unwrap();
            }
        });
    }
    changing.join_all().await;
    let page = MembersPage::parse(100, "", id).unwrap();
    let members = store.list_members(id, ada, page).await.unwrap();
    let found = store.find(id, ada).await.unwrap().unwrap();
    assert_eq!((found.member_count, members.len()), (10, 10));
}
