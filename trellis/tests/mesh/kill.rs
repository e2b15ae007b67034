//! Killed processes lose no acknowledged message: four senders, three conversations, twenty kills at random moments, on
//! each database. A failure prints the seed.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use proto::messaging::v1::{
    CreateConversationRequest, Entry, ListMessagesRequest, Position, SendMessageRequest, SubscribeRequest, entry::Body,
    subscribe_response::Event,
};
use tonic::Code;

use super::{
    dice::Dice,
    harness::{Mesh, Person, Store, new_id},
};

const KILLS: u32 = 20;
/// How long all messages may take to arrive after the last kill: ten times what they take.
const SETTLED: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_nothing_on_sqlite() {
    survive(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_nothing_on_postgres() {
    survive(Store::Postgres).await;
}

/// A message that the mesh has acknowledged.
#[derive(Debug, Clone)]
struct Acknowledged {
    conversation: String,
    seq: i64,
    client_id: String,
    text: String,
}

async fn survive(store: Store) {
    let mut dice = Dice::new();
    let mut mesh = Mesh::start(store, &[("MESSAGING__ADD_RULE", "anyone")]).await;
    let people =
        [mesh.sign_up("ada").await, mesh.sign_up("bob").await, mesh.sign_up("eve").await, mesh.sign_up("kim").await];
    let conversations = open_conversations(&people).await;

    let (sending, listening) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    let mut subscribers = Vec::new();
    for person in [&people[0], &people[3]] {
        let cursors = first_cursors(person, &conversations).await;
        subscribers.push(tokio::spawn(subscribe(person.clone(), cursors, Arc::clone(&listening))));
    }
    let senders: Vec<_> = (0_u32..)
        .zip(people.clone())
        .map(|(at, person)| tokio::spawn(send(at, person, conversations.clone(), Arc::clone(&sending))))
        .collect();

    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(dice.between(150, 1_200))).await;
        mesh.kill();
        mesh.launch();
        mesh.ready(mesh.ports.gateway).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    sending.store(false, Ordering::SeqCst);
    let mut acknowledged = Vec::new();
    for sender in senders {
        acknowledged.push(tokio::time::timeout(SETTLED, sender).await.expect("senders finish").unwrap());
    }

    let stored = read_all(&people[1], &conversations).await;
    check(&acknowledged, &stored);
    listening.store(false, Ordering::SeqCst);
    for subscriber in subscribers {
        let received = tokio::time::timeout(SETTLED, subscriber).await.expect("subscribers catch up").unwrap();
        assert_eq!(received, stored, "a subscriber receives the log once and in order");
    }
    let total: usize = acknowledged.iter().map(Vec::len).sum();
    println!("{store:?}: {total} messages were acknowledged across {KILLS} kills");
    assert!(total > 100, "the senders sent too few messages: {total}");
    assert_eq!(mesh.terminate().code(), Some(0));
}

async fn open_conversations(people: &[Person; 4]) -> Vec<String> {
    let [ada, others @ ..] = people;
    let mut conversations = Vec::new();
    for title in ["one", "two", "three"] {
        let new = CreateConversationRequest {
            request_id: new_id(),
            member_ids: others.iter().map(|person| person.id().to_owned()).collect(),
            title: title.to_owned(),
        };
        let response = ada.messaging().create_conversation(ada.request(new)).await.unwrap();
        conversations.push(response.into_inner().conversation.unwrap().conversation_id);
    }
    conversations
}

/// Sends messages in sequence, and repeats each until it is acknowledged.
async fn send(at: u32, person: Person, conversations: Vec<String>, on: Arc<AtomicBool>) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::new();
    let mut messaging = person.messaging();
    for (number, conversation) in conversations.iter().cycle().enumerate() {
        if !on.load(Ordering::SeqCst) {
            break;
        }
        let (client_id, text) = (new_id(), format!("{at}: {number}"));
        let message = SendMessageRequest {
            conversation_id: conversation.clone(),
            client_message_id: client_id.clone(),
            text: text.clone(),
        };
        let entry = loop {
            let mut request = person.request(message.clone());
            request.set_timeout(Duration::from_secs(5));
            match messaging.send_message(request).await {
                Ok(response) => break response.into_inner().entry.unwrap(),
                Err(status) => {
                    assert!(may_be_repeated(status.code()), "{status:?}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        acknowledged.push(Acknowledged { conversation: conversation.clone(), seq: entry.seq, client_id, text });
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    acknowledged
}

/// The codes that a client may see while the server restarts. Any other code is a defect.
fn may_be_repeated(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::ResourceExhausted
    )
}

type Logs = HashMap<String, Vec<Entry>>;

/// Follows the conversations from their beginning, resuming by cursor, until no more entries arrive.
async fn subscribe(person: Person, mut cursors: HashMap<String, String>, on: Arc<AtomicBool>) -> Logs {
    let mut logs: Logs = cursors.keys().map(|id| (id.clone(), Vec::new())).collect();
    loop {
        let positions =
            cursors.iter().map(|(id, cursor)| Position { conversation_id: id.clone(), cursor: cursor.clone() });
        let request = SubscribeRequest { positions: positions.collect(), ..Default::default() };
        let Ok(opened) = person.messaging().subscribe(person.request(request)).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let mut stream = opened.into_inner();
        while let Ok(Some(response)) = stream.message().await {
            match response.event {
                Some(Event::Entry(new)) => {
                    let entry = new.entry.unwrap();
                    let log = logs.get_mut(&entry.conversation_id).unwrap();
                    let expected = log.last().map_or(2, |last| last.seq + 1);
                    assert_eq!(entry.seq, expected, "a gap or a duplicate in {}", entry.conversation_id);
                    cursors.insert(entry.conversation_id.clone(), new.cursor);
                    log.push(entry);
                }
                Some(Event::CaughtUp(_)) if !on.load(Ordering::SeqCst) => return logs,
                _ => {}
            }
            if !on.load(Ordering::SeqCst) {
                // All entries are stored by now: a new stream marks when it has sent them.
                break;
            }
        }
    }
}

/// The cursors after each conversation's first entry, from the start of a new stream.
async fn first_cursors(person: &Person, conversations: &[String]) -> HashMap<String, String> {
    let opened = person.messaging().subscribe(person.request(SubscribeRequest::default())).await.unwrap();
    let mut stream = opened.into_inner();
    let mut cursors = HashMap::new();
    while cursors.len() < conversations.len() {
        if let Some(Event::Conversation(found)) = stream.message().await.unwrap().unwrap().event {
            assert_eq!(found.message_count, 0, "no message is sent before the cursors are read");
            cursors.insert(found.conversation_id, found.cursor);
        }
    }
    cursors
}

async fn read_all(person: &Person, conversations: &[String]) -> Logs {
    let mut logs = Logs::new();
    for id in conversations {
        let mut entries = Vec::new();
        let mut page_token = String::new();
        loop {
            let page = ListMessagesRequest { conversation_id: id.clone(), page_size: 100, page_token };
            let response = person.messaging().list_messages(person.request(page)).await.unwrap().into_inner();
            entries.extend(response.entries);
            page_token = response.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        // The history has other entries too: the creation.
        entries.retain(|entry: &Entry| matches!(entry.body, Some(Body::Message(_))));
        entries.reverse();
        logs.insert(id.clone(), entries);
    }
    logs
}

/// The log has every acknowledged message once, at its sequence number, and each sender's in the order sent.
fn check(acknowledged: &[Vec<Acknowledged>], stored: &Logs) {
    for (id, log) in stored {
        for (at, entry) in (2..).zip(log) {
            assert_eq!(entry.seq, at, "the log of {id} has a gap");
        }
    }
    let mut by_client_id: HashMap<&str, Vec<&Entry>> = HashMap::new();
    for entry in stored.values().flatten() {
        let Some(Body::Message(message)) = &entry.body else { panic!("{entry:?}") };
        by_client_id.entry(&message.client_message_id).or_default().push(entry);
    }
    for sender in acknowledged {
        let mut last: HashMap<&str, i64> = HashMap::new();
        for sent in sender {
            let found = by_client_id.get(sent.client_id.as_str()).map_or(&[][..], Vec::as_slice);
            let [entry] = found else { panic!("{sent:?} is stored {} times", found.len()) };
            let Some(Body::Message(message)) = &entry.body else { panic!("{entry:?}") };
            assert_eq!((&entry.conversation_id, entry.seq, &message.text), (&sent.conversation, sent.seq, &sent.text));
            let before = last.insert(&sent.conversation, sent.seq);
            assert!(before.is_none_or(|before| before < sent.seq), "{sent:?} is not after {before:?}");
        }
    }
}
