//! The history that ListMessages returns: messages and changes of members and details, in the order of the log.

use kit_data::store::Location;
use messaging::{
    domain::{AddPolicy, Body, ConversationId, Details, UserId},
    store::Changed,
};
use proto::messaging::v1::{ListMessagesRequest, entry};

use crate::{
    bench::Bench,
    changes::{bounds, by, open, people, room, send_text},
    databases::on_both,
    plan::{plan, statement},
};

on_both! {
    history_has_events_between_messages,
    history_is_read_by_its_index,
}

fn name(body: &Body) -> String {
    match body {
        Body::Message(message) => format!("message {:?}", message.text),
        Body::Created { .. } => "created".to_owned(),
        Body::Added { .. } => "added".to_owned(),
        Body::Removed { .. } => "removed".to_owned(),
        Body::Updated { title, title_changed, .. } => format!("updated {title:?} {title_changed}"),
        Body::Edited { .. } | Body::Deleted { .. } => panic!("{body:?}"),
    }
}

async fn history_has_events_between_messages(location: &Location) {
    let (store, [ada, bob, eve]) = (open(location).await, people());
    let id = room(&store, ada, &[bob]).await;
    let first = send_text(&store, id, ada, "one").await;
    store.add(by(ada, id), eve, &bounds(100)).await.unwrap();
    store.update(by(ada, id), &Details::titled("Coffee")).await.unwrap();
    store.edit(by(ada, id), first.id, "better").await.unwrap();
    let second = send_text(&store, id, bob, "two").await;
    let owners = Details { title: None, add_policy: Some(AddPolicy::OwnerOnly) };
    store.update(by(ada, id), &owners).await.unwrap();
    store.erase(by(bob, id), second.id).await.unwrap();
    assert!(matches!(store.remove(by(eve, id), eve).await.unwrap(), Changed::Now(_)));
    let (mut seen, mut before) = (Vec::new(), i64::MAX);
    while let Some(entry) = store.list_history(id, bob, before, 1).await.unwrap().pop() {
        assert!(entry.seq < before);
        before = entry.seq;
        seen.push(name(&entry.body));
    }
    seen.reverse();
    let wanted = [
        "created",
        "message \"better\"",
        "added",
        "updated \"Coffee\" true",
        "message \"\"",
        "updated \"Coffee\" false",
        "removed",
    ];
    assert_eq!(seen, wanted);
}

/// One conversation with a message that has 20 000 edits.
const POSTGRES: &str = "INSERT INTO conversations SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'f', \
     't', gen_random_uuid(), 'all_members', 1, now(), now(), 20001, 1, 1, 0; \
     INSERT INTO entries SELECT conversation_id, n, CASE n WHEN 1 THEN 1 END, CASE n WHEN 1 THEN gen_random_uuid() END, \
     CASE WHEN n > 1 THEN 1 END, NULL, gen_random_uuid(), now(), 'b' \
     FROM conversations, generate_series(1, 20001) AS n; ANALYZE";
const SQLITE: &str = "INSERT INTO conversations SELECT randomblob(16), randomblob(16), randomblob(16), x'66', 't', \
     randomblob(16), 'all_members', 1, 0, 0, 20001, 1, 1, 0; \
     WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20001) \
     INSERT INTO entries SELECT conversation_id, n, CASE n WHEN 1 THEN 1 END, CASE n WHEN 1 THEN randomblob(16) END, \
     CASE WHEN n > 1 THEN 1 END, NULL, randomblob(16), 0, x'62' FROM conversations, n; ANALYZE";

/// Otherwise a page behind many edits would read all of them.
async fn history_is_read_by_its_index(location: &Location) {
    drop(open(location).await);
    let statement = statement(include_str!("../../src/store/sql.rs"), "async fn list_history(");
    let plan = plan(location, "messaging", POSTGRES, SQLITE, &statement).await;
    assert!(plan.contains("entries_by_history"), "{plan}");
    assert!(!plan.contains("Sort") && !plan.contains("TEMP B-TREE"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn list_messages_returns_events_with_their_types() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob, eve) = (bench.person().await, bench.person().await, bench.person().await);
    let room = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    let (id, owner) = (ConversationId(room.parse().unwrap()), UserId(ada.id));
    bench.store().add(by(owner, id), UserId(eve.id), &bounds(100)).await.unwrap();
    bench.store().update(by(owner, id), &Details::titled("Coffee")).await.unwrap();
    ada.send_text(&bench.mesh.clock_rng, &room, "hello").await;
    let list = ListMessagesRequest { conversation_id: room, page_size: 3, ..Default::default() };
    let page = bob.client.clone().list_messages(bob.request(list.clone())).await.unwrap().into_inner();
    let [message, title, added] = &page.entries[..] else { panic!("{page:?}") };
    assert!(matches!(&message.body, Some(entry::Body::Message(sent)) if sent.text == "hello"));
    assert!(matches!(&title.body, Some(entry::Body::ConversationUpdated(now)) if now.title_changed));
    assert!(matches!(&added.body, Some(entry::Body::MemberAdded(new)) if new.user_id == eve.id.to_string()));
    let older = ListMessagesRequest { page_token: page.next_page_token, ..list };
    let page = bob.client.clone().list_messages(bob.request(older)).await.unwrap().into_inner();
    assert!(
        matches!(&page.entries[..], [created] if matches!(created.body, Some(entry::Body::ConversationCreated(_))))
    );
    assert_eq!(page.next_page_token, "");
}
