//! What every store promises of conversations that are read many at a time.

use std::sync::Arc;

use kit::store::Location;
use messaging::{
    MessagingStore,
    domain::{ConversationId, MARKED_MEMBERS, Recent, UserId},
};

use crate::{
    changes::{by, new_id, open, people, room, say},
    databases::on_both,
    statements::heard,
};

on_both! {
    many_are_read_as_each_is_alone,
    a_page_is_in_order_and_leaves_out_what_was_left,
    a_page_takes_three_statements_however_long,
}

/// Conversations that differ in all that is read of one: as many messages as their place, some edited, erased, read
/// by others, renamed, left, and one with more members than marks are shown for.
async fn rooms(store: &Arc<dyn MessagingStore>, ada: UserId, others: &[UserId]) -> Vec<ConversationId> {
    let mut rooms = Vec::new();
    for n in 0..6 {
        let id = room(store, ada, others).await;
        for m in 0..n {
            let author = others[m % others.len()];
            let said = say(store, id, author, &m.to_string()).await;
            match m {
                2 => drop(store.edit(by(author, id), said.id, "better").await.unwrap()),
                4 => drop(store.erase(by(author, id), said.id).await.unwrap()),
                _ => drop(store.mark_read(id, ada, said.number).await.unwrap()),
            }
        }
        if n == 3 {
            store.rename(by(ada, id), "Coffee").await.unwrap();
            store.remove(by(others[0], id), others[0]).await.unwrap();
        }
        rooms.push(id);
    }
    let crowd: Vec<UserId> = (0..MARKED_MEMBERS).map(|_| UserId(new_id())).collect();
    rooms.push(room(store, ada, &crowd).await);
    rooms
}

async fn many_are_read_as_each_is_alone(location: &Location) {
    let (store, [ada, bob, eve]) = (open(location).await, people());
    let mine = rooms(&store, ada, &[bob, eve]).await;
    let (theirs, nowhere) = (room(&store, bob, &[eve]).await, ConversationId(new_id()));
    // In an order of the caller's own, with strangers' conversations between.
    let asked = [mine[5], theirs, mine[0], mine[6], nowhere, mine[3], mine[1], mine[4], mine[2]];
    for reader in [ada, bob, eve] {
        let mut alone = Vec::new();
        for id in asked {
            alone.extend(store.find(id, reader).await.unwrap());
        }
        assert_eq!(store.find_all(&asked, reader).await.unwrap(), alone);
    }
    let found = store.find_all(&asked, ada).await.unwrap();
    assert!(found.iter().map(|found| found.id).eq([5, 0, 6, 3, 1, 4, 2].map(|n| mine[n])));
    for conversation in &found {
        let last = store.list_messages(conversation.id, ada, i64::MAX, 1).await.unwrap().pop();
        assert_eq!(conversation.last_message, last);
        assert_eq!(last.is_some(), conversation.message_count > 0);
        assert!(conversation.members.is_sorted() && conversation.members.contains(&ada));
        assert_eq!(conversation.read_marks, store.read_marks(conversation.id, ada).await.unwrap());
    }
    assert_eq!((found[2].members.len(), found[2].read_marks.len()), (MARKED_MEMBERS + 1, 0));
    assert_eq!((found[3].title.as_str(), found[3].members.len()), ("Coffee", 2));
    assert_eq!(store.find_all(&[], ada).await.unwrap(), []);
}

async fn a_page_is_in_order_and_leaves_out_what_was_left(location: &Location) {
    let (store, [ada, bob, eve]) = (open(location).await, people());
    let mine = rooms(&store, ada, &[bob, eve]).await;
    let whole = Recent::parse(100, "").unwrap();
    let listed = store.list(ada, whole).await.unwrap();
    assert!(listed.iter().map(|found| found.id).eq(mine.iter().rev().copied()), "the newest first");
    assert_eq!(listed, store.find_all(&listed.iter().map(|found| found.id).collect::<Vec<_>>(), ada).await.unwrap());
    store.remove(by(ada, mine[2]), ada).await.unwrap();
    let ids: Vec<_> = store.list(ada, whole).await.unwrap().into_iter().map(|found| found.id).collect();
    assert!(ids.iter().eq(mine.iter().rev().filter(|id| **id != mine[2])));
    // As between the statements of a page: the ids were read, then it was left.
    assert!(store.find_all(&mine, ada).await.unwrap().iter().all(|found| found.id != mine[2]));
}

async fn a_page_takes_three_statements_however_long(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(room(&store, ada, &[bob]).await);
    }
    for size in [1, 10, 49] {
        let page = Recent::parse(size, "").unwrap();
        let (listed, statements) = heard(store.list(ada, page)).await;
        // One more than was asked for tells that there is another page.
        assert_eq!((listed.unwrap().len(), statements.len()), (page.size + 1, 3), "{statements:?}");
        let (found, statements) = heard(store.find_all(&ids[..page.size], ada)).await;
        assert_eq!((found.unwrap().len(), statements.len()), (page.size, 2), "{statements:?}");
    }
}
