//! The store's contract for changes: each is an entry of the log or has no effect.

use std::{sync::Arc, time::Duration};

use kit::ClockAndRng;
use kit_data::store::Location;
use messaging::{
    MessagingStore,
    domain::{
        AddRule, Admission, Body, Change, ConversationId, Details, Entry, Message, NewConversation, NewMessage, Quotas,
        ReadPosition, Recent, UserId,
    },
    store::{AdmitError, ChangeError, Changed, InsertError, Marked},
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    databases::{on_both, patient},
    statements::statements_of,
};

on_both! {
    edit_changes_the_message_and_appends_an_entry,
    erased_message_leaves_no_text,
    repeated_send_returns_the_current_message,
    first_member_becomes_owner_when_the_owner_leaves,
    last_place_is_taken_once,
    concurrent_edits_and_erasure_leave_no_gap,
    read_mark_never_goes_back,
    newest_conversation_is_listed_first,
    repeated_title_change_has_no_effect,
    contacts_are_users_who_share_a_conversation,
    erased_messages_are_not_unread,
    edits_of_a_message_are_bounded,
    erasure_of_many_edits_takes_no_more_statements,
    request_whose_conversation_was_left_is_refused,
    deleted_user_is_never_added_again,
}

pub(crate) async fn open(location: &Location) -> Arc<dyn MessagingStore> {
    with_quotas(location, Quotas::default()).await
}

pub(crate) async fn with_quotas(location: &Location, quotas: Quotas) -> Arc<dyn MessagingStore> {
    messaging::store::open(location, patient(8), quotas).await.unwrap()
}

/// Every user may add every other, and each bound is `limit`.
pub(crate) fn bounds(limit: u32) -> Admission {
    Admission {
        rule: AddRule::Anyone,
        own: limit,
        added: limit,
        requests: limit,
        invitations: limit,
        sent: limit,
        lifetime: Duration::from_secs(60 * 60),
    }
}

pub(crate) fn new_id() -> Uuid {
    ClockAndRng::system().new_id()
}

pub(crate) fn people<const N: usize>() -> [UserId; N] {
    std::array::from_fn(|_| UserId(new_id()))
}

pub(crate) async fn room(store: &Arc<dyn MessagingStore>, creator: UserId, others: &[UserId]) -> ConversationId {
    let new = NewConversation {
        id: ConversationId(new_id()),
        creator,
        request_id: new_id(),
        members: NewConversation::all_members(creator, others.iter().copied()),
        title: "Tea".to_owned(),
        create_time: ClockAndRng::system().now(),
    };
    store.insert(&new, &bounds(100)).await.unwrap().id
}

pub(crate) fn by(actor: UserId, conversation: ConversationId) -> Change {
    Change { conversation, actor, revision: None, now: ClockAndRng::system().now() }
}

pub(crate) fn new_message(conversation: ConversationId, author: UserId, text: &str) -> NewMessage {
    let create_time = ClockAndRng::system().now();
    NewMessage { conversation, author, id: new_id(), client_id: new_id(), text: text.to_owned(), create_time }
}

pub(crate) async fn send_text(
    store: &Arc<dyn MessagingStore>,
    id: ConversationId,
    author: UserId,
    text: &str,
) -> Message {
    message(&store.append(&new_message(id, author, text)).await.unwrap().entry)
}

fn message(entry: &Entry) -> Message {
    match &entry.body {
        Body::Message(message) => message.clone(),
        other => panic!("{other:?}"),
    }
}

async fn log(store: &Arc<dyn MessagingStore>, id: ConversationId, member: UserId) -> Vec<Entry> {
    let entries = store.list_entries(id, member, 0, 10_000).await.unwrap();
    let count = i64::try_from(entries.len()).unwrap();
    assert!(entries.iter().map(|entry| entry.seq).eq(1..=count), "seq has no gap");
    entries
}

async fn edit_changes_the_message_and_appends_an_entry(location: &Location) {
    let (store, [ada, bob, eve]) = (open(location).await, people());
    let id = room(&store, ada, &[bob]).await;
    let sent = send_text(&store, id, ada, "helo").await;
    assert_eq!(store.edit(by(ada, id), sent.id, "hello").await.unwrap(), Changed::Now(3));
    assert_eq!(store.edit(by(ada, id), sent.id, "hello").await.unwrap(), Changed::Already);
    let now = message(&store.find_message(id, bob, sent.id).await.unwrap().unwrap());
    assert_eq!((now.text.as_str(), now.number, now.revision), ("hello", 1, 2));
    assert!(now.edit_time.is_some() && now.delete_time.is_none());
    let entries = log(&store, id, bob).await;
    assert!(matches!(&entries[2].body, Body::Edited { message, text, .. } if *message == sent.id && text == "hello"));
    let stale = Change { revision: Some(1), ..by(ada, id) };
    assert!(matches!(store.edit(stale, sent.id, "hi").await, Err(ChangeError::OtherRevision)));
    assert!(matches!(store.edit(by(bob, id), sent.id, "hi").await, Err(ChangeError::NotAuthor)));
    assert!(matches!(store.edit(by(ada, id), new_id(), "hi").await, Err(ChangeError::NoMessage)));
    assert!(matches!(store.edit(by(eve, id), sent.id, "hi").await, Err(ChangeError::NotFound)));
    assert_eq!(log(&store, id, bob).await.len(), 3, "refused changes store nothing");
}

async fn erased_message_leaves_no_text(location: &Location) {
    let (store, [ada, bob, kim]) = (open(location).await, people());
    let id = room(&store, ada, &[bob, kim]).await;
    let sent = send_text(&store, id, bob, "a secret").await;
    store.edit(by(bob, id), sent.id, "a better secret").await.unwrap();
    assert!(matches!(store.erase(by(kim, id), sent.id).await, Err(ChangeError::NotAuthor)));
    // Besides the author, the owner may erase.
    assert!(matches!(store.erase(by(ada, id), sent.id).await.unwrap(), Changed::Now(_)));
    assert_eq!(store.erase(by(bob, id), sent.id).await.unwrap(), Changed::Already);
    assert!(matches!(store.edit(by(bob, id), sent.id, "back").await, Err(ChangeError::Erased)));
    let printed = format!("{:?}", log(&store, id, ada).await);
    assert!(!printed.contains("secret"), "{printed}");
    let now = message(&store.find_message(id, ada, sent.id).await.unwrap().unwrap());
    assert!(now.text.is_empty() && now.delete_time.is_some() && now.number == 1);
}

async fn repeated_send_returns_the_current_message(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let id = room(&store, ada, &[bob]).await;
    let new = new_message(id, ada, "first");
    let sent = message(&store.append(&new).await.unwrap().entry);
    store.edit(by(ada, id), sent.id, "second").await.unwrap();
    let again = store.append(&new).await.unwrap();
    assert_eq!((again.is_new, message(&again.entry).text.as_str()), (false, "second"));
    store.erase(by(ada, id), sent.id).await.unwrap();
    assert_eq!(message(&store.append(&new).await.unwrap().entry).text, "");
    let other = NewMessage { text: "second".to_owned(), ..new };
    assert!(store.append(&other).await.is_err(), "the id belongs to the first text");
}

async fn first_member_becomes_owner_when_the_owner_leaves(location: &Location) {
    let (store, [ada, bob, eve]) = (open(location).await, people());
    let id = room(&store, ada, &[]).await;
    assert_eq!(store.add(by(ada, id), eve, &bounds(100)).await.unwrap(), Changed::Now(2));
    assert_eq!(store.add(by(eve, id), bob, &bounds(100)).await.unwrap(), Changed::Now(3));
    assert_eq!(store.add(by(eve, id), bob, &bounds(100)).await.unwrap(), Changed::Already);
    assert!(matches!(store.remove(by(bob, id), eve).await, Err(ChangeError::NotOwner)));
    // Ada leaves: Eve joined before Bob.
    assert!(matches!(store.remove(by(ada, id), ada).await.unwrap(), Changed::Now(4)));
    let found = store.find(id, bob).await.unwrap().unwrap();
    assert_eq!((found.owner, found.member_count), (eve, 2));
    assert_eq!(store.find(id, ada).await.unwrap(), None);
    assert_eq!(store.head(id, ada).await.unwrap(), None);
    assert_eq!(store.list_entries(id, ada, 0, 10).await.unwrap(), []);
    assert!(matches!(store.remove(by(ada, id), ada).await, Err(ChangeError::NotFound)));
    store.remove(by(eve, id), bob).await.unwrap();
    assert_eq!(store.remove(by(eve, id), bob).await.unwrap(), Changed::Already);
    assert!(
        matches!(&log(&store, id, eve).await[3].body, Body::Removed { person, owner } if (*person, *owner) == (ada, eve))
    );
    store.remove(by(eve, id), eve).await.unwrap();
    assert_eq!(store.heads(eve).await.unwrap(), []);
}

async fn last_place_is_taken_once(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let rooms = [room(&store, ada, &[]).await, room(&store, ada, &[]).await, room(&store, ada, &[]).await];
    let mut adding = JoinSet::new();
    for id in rooms {
        let store = Arc::clone(&store);
        adding.spawn(async move { store.add(by(ada, id), bob, &bounds(2)).await });
    }
    let outcomes = adding.join_all().await;
    let refused =
        outcomes.iter().filter(|o| matches!(o, Err(ChangeError::Admit(AdmitError::TooManyConversations)))).count();
    assert_eq!((outcomes.iter().filter(|o| o.is_ok()).count(), refused), (2, 1), "{outcomes:?}");
    // Leaving makes room.
    let (left, _) = store.heads(bob).await.unwrap()[0];
    store.remove(by(bob, left), bob).await.unwrap();
    let other = room(&store, ada, &[]).await;
    store.add(by(ada, other), bob, &bounds(2)).await.unwrap();
}

async fn concurrent_edits_and_erasure_leave_no_gap(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let id = room(&store, ada, &[bob]).await;
    let sent = send_text(&store, id, ada, "0").await;
    let mut changing = JoinSet::new();
    for n in 1..=16 {
        let store = Arc::clone(&store);
        changing.spawn(async move {
            let erased = match n {
                8 => store.erase(by(ada, id), sent.id).await,
                _ => store.edit(by(ada, id), sent.id, &format!("text {n}")).await,
            };
            assert!(matches!(erased, Ok(_) | Err(ChangeError::Erased)), "{erased:?}");
            send_text(&store, id, bob, &n.to_string()).await;
        });
    }
    changing.join_all().await;
    let printed = format!("{:?}", log(&store, id, ada).await);
    assert!(!printed.contains("text "), "{printed}");
}

async fn read_mark_never_goes_back(location: &Location) {
    let (store, [ada, bob, eve]) = (open(location).await, people());
    let id = room(&store, ada, &[bob]).await;
    for n in 0..5 {
        send_text(&store, id, ada, &n.to_string()).await;
    }
    let unread = async |member| store.find(id, member).await.unwrap().unwrap().own.unread;
    assert_eq!((unread(ada).await, unread(bob).await), (0, 5), "the author's own messages count as read");
    let read = |number, unread| ReadPosition { number, unread };
    assert_eq!(store.mark_read(id, bob, 3).await.unwrap(), Some((read(3, 2), Marked::Publicly)));
    assert_eq!(store.mark_read(id, bob, 3).await.unwrap(), Some((read(3, 2), Marked::Unchanged)));
    assert_eq!(store.mark_read(id, bob, 2).await.unwrap(), Some((read(3, 2), Marked::Unchanged)));
    assert_eq!(store.mark_read(id, bob, 99).await.unwrap(), Some((read(5, 0), Marked::Publicly)));
    assert_eq!(store.mark_read(id, eve, 1).await.unwrap(), None);
    send_text(&store, id, bob, "5").await;
    assert_eq!((unread(ada).await, unread(bob).await), (1, 0), "sending reads up to the own message");
    let mut marks = store.read_marks(id, ada).await.unwrap();
    marks.sort_by_key(|(_, number)| *number);
    assert_eq!(marks, [(ada, 5), (bob, 6)]);
    assert_eq!(store.read_marks(id, eve).await.unwrap(), []);
}

async fn newest_conversation_is_listed_first(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let mut rooms = Vec::new();
    for _ in 0..5 {
        rooms.push(room(&store, ada, &[bob]).await);
    }
    send_text(&store, rooms[1], bob, "news").await;
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = Recent::parse(2, &token).unwrap();
        let mut found = store.list(ada, page).await.unwrap();
        let more = found.len() > 2;
        found.truncate(2);
        seen.extend(found.iter().map(|found| found.id));
        if !more {
            break;
        }
        token = Recent::token_after(found.last().unwrap());
    }
    assert_eq!(seen, [rooms[1], rooms[4], rooms[3], rooms[2], rooms[0]]);
    let newest = store.list(ada, Recent::parse(1, "").unwrap()).await.unwrap().swap_remove(0);
    assert_eq!((message(&newest.last_message.clone().unwrap()).text.as_str(), newest.own.unread), ("news", 1));
}

async fn repeated_title_change_has_no_effect(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let id = room(&store, ada, &[bob]).await;
    let change = Change { revision: Some(1), ..by(bob, id) };
    assert_eq!(store.update(change, &Details::titled("Coffee")).await.unwrap(), Changed::Now(2));
    assert_eq!(
        store.update(change, &Details::titled("Coffee")).await.unwrap(),
        Changed::Already,
        "a repeat has no effect"
    );
    assert!(matches!(store.update(change, &Details::titled("Milk")).await, Err(ChangeError::OtherRevision)));
    let found = store.find(id, ada).await.unwrap().unwrap();
    assert_eq!((found.title.as_str(), found.revision, found.last_seq), ("Coffee", 2, 2));
}

async fn contacts_are_users_who_share_a_conversation(location: &Location) {
    let (store, [ada, bob, eve, kim]) = (open(location).await, people());
    room(&store, ada, &[bob, eve]).await;
    room(&store, ada, &[bob]).await;
    room(&store, eve, &[kim]).await;
    let mut contacts = store.contacts(ada, 10).await.unwrap();
    contacts.sort();
    let mut expected = [bob, eve];
    expected.sort();
    assert_eq!(contacts, expected);
    assert_eq!(store.contacts(ada, 1).await.unwrap().len(), 1);
    assert_eq!(store.contacts(UserId(new_id()), 10).await.unwrap(), []);
}

async fn erased_messages_are_not_unread(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let id = room(&store, ada, &[bob]).await;
    let mut sent = Vec::new();
    for n in 0..5 {
        sent.push(send_text(&store, id, ada, &n.to_string()).await);
    }
    let unread = async || store.find(id, bob).await.unwrap().unwrap().own.unread;
    store.erase(by(ada, id), sent[3].id).await.unwrap();
    assert_eq!(unread().await, 4);
    store.edit(by(ada, id), sent[4].id, "better").await.unwrap();
    assert_eq!(unread().await, 4, "an edited message counts");
    let read = |number, unread| ReadPosition { number, unread };
    assert_eq!(store.mark_read(id, bob, 3).await.unwrap(), Some((read(3, 1), Marked::Publicly)));
    assert_eq!(store.mark_read(id, bob, 4).await.unwrap(), Some((read(4, 1), Marked::Publicly)));
    store.erase(by(ada, id), sent[0].id).await.unwrap();
    assert_eq!(unread().await, 1, "a message that was read before does not count twice");
    store.erase(by(ada, id), sent[4].id).await.unwrap();
    assert_eq!(unread().await, 0);
}

async fn edits_of_a_message_are_bounded(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let id = room(&store, ada, &[bob]).await;
    let sent = send_text(&store, id, ada, "secret").await;
    for n in 0..Quotas::default().edits_per_message {
        store.edit(by(ada, id), sent.id, &format!("secret {n}")).await.unwrap();
    }
    assert!(matches!(store.edit(by(ada, id), sent.id, "more").await, Err(ChangeError::TooManyEdits)));
    store.erase(by(ada, id), sent.id).await.unwrap();
    let printed = format!("{:?}", log(&store, id, bob).await);
    assert!(!printed.contains("secret"), "{printed}");
}

async fn erasure_of_many_edits_takes_no_more_statements(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let id = room(&store, ada, &[bob]).await;
    let mut statements = Vec::new();
    for edits in [0, 20] {
        let sent = send_text(&store, id, ada, "first").await;
        for n in 0..edits {
            store.edit(by(ada, id), sent.id, &n.to_string()).await.unwrap();
        }
        let (erased, taken) = statements_of(store.erase(by(ada, id), sent.id)).await;
        assert!(matches!(erased.unwrap(), Changed::Now(_)));
        statements.push(taken);
    }
    assert_eq!(statements[0], statements[1]);
}

async fn request_whose_conversation_was_left_is_refused(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let new = NewConversation {
        id: ConversationId(new_id()),
        creator: ada,
        request_id: new_id(),
        members: NewConversation::all_members(ada, [bob]),
        title: "Tea".to_owned(),
        create_time: ClockAndRng::system().now(),
    };
    store.insert(&new, &bounds(100)).await.unwrap();
    store.remove(by(ada, new.id), ada).await.unwrap();
    let again = NewConversation { id: ConversationId(new_id()), ..new };
    assert!(matches!(store.insert(&again, &bounds(100)).await, Err(InsertError::Left)));
    assert_eq!(store.heads(ada).await.unwrap(), []);
}

async fn deleted_user_is_never_added_again(location: &Location) {
    let (store, [ada, bob, eve]) = (open(location).await, people());
    let (id, shared) = (room(&store, ada, &[]).await, room(&store, ada, &[bob]).await);
    // Also a user who was in no conversation before.
    for person in [bob, eve] {
        for _ in 0..2 {
            store.bar(person, kit::Timestamp::from_micros(0)).await.unwrap();
        }
        assert!(matches!(
            store.add(by(ada, id), person, &bounds(100)).await,
            Err(ChangeError::Admit(AdmitError::MemberUnknown))
        ));
        let new = NewConversation {
            id: ConversationId(new_id()),
            creator: ada,
            request_id: new_id(),
            members: NewConversation::all_members(ada, [person]),
            title: String::new(),
            create_time: ClockAndRng::system().now(),
        };
        assert!(matches!(store.insert(&new, &bounds(100)).await, Err(InsertError::Admit(AdmitError::MemberUnknown))));
    }
    store.remove(by(bob, shared), bob).await.unwrap();
    assert!(matches!(
        store.add(by(ada, shared), bob, &bounds(100)).await,
        Err(ChangeError::Admit(AdmitError::MemberUnknown))
    ));
    assert_eq!(log(&store, id, ada).await.len(), 1);
}
