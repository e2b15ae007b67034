//! Random sequences of operations by several users: the store has the same state and outcomes as the model, and its log
//! has no gap.

use std::sync::Arc;

use kit::Timestamp;
use kit_data::store::Location;
use messaging::{
    MessagingStore,
    domain::{Body, Change, ConversationId, Details, NewConversation, NewMessage, UserId},
    store::{AppendError, ChangeError, Changed},
};
use uuid::Uuid;

use crate::{
    changes::{bounds, open},
    databases::on_both,
    dice::Dice,
    model::Model,
    quotas::sizes,
    tokens::id,
};

on_both! {
    store_agrees_with_the_model,
}

/// Operations in each conversation.
const STEPS: u64 = 150;
const CONVERSATIONS: usize = 8;
/// Operations between two comparisons of the whole state.
const LOOK: u64 = 25;
const TEXTS: [&str; 4] = ["tea", "coffee", "milk", "water, or some other drink"];

struct Room {
    id: ConversationId,
    users: [UserId; 5],
    model: Model,
    /// Sent messages, for repeats.
    sent: Vec<NewMessage>,
    /// Microseconds; differs for each operation.
    now: i64,
}

async fn store_agrees_with_the_model(location: &Location) {
    let (store, mut dice) = (open(location).await, Dice::new());
    for _ in 0..CONVERSATIONS {
        let mut room = opened(&store, &mut dice).await;
        for step in 0..STEPS {
            room.step(&store, &mut dice).await;
            if step % LOOK == 0 {
                room.look(&store).await;
                let (stored, taken) = sizes(location, room.id).await;
                assert_eq!(stored, taken, "bytes are counted exactly");
            }
        }
        room.look(&store).await;
    }
}

async fn opened(store: &Arc<dyn MessagingStore>, dice: &mut Dice) -> Room {
    let users: [UserId; 5] = std::array::from_fn(|_| UserId(id(dice)));
    let [ada, bob, eve, ..] = users;
    let now = 1_700_000_000_000_000;
    let new = NewConversation {
        id: ConversationId(id(dice)),
        creator: ada,
        request_id: id(dice),
        members: NewConversation::all_members(ada, [bob, eve]),
        title: TEXTS[0].to_owned(),
        create_time: Timestamp::from_micros(now),
    };
    let stored = store.insert(&new, &bounds(100)).await.unwrap();
    Room { id: new.id, users, model: Model::new(&new, stored), sent: Vec::new(), now }
}

impl Room {
    /// Applies a random operation of a random user to the store and to the model.
    async fn step(&mut self, store: &Arc<dyn MessagingStore>, dice: &mut Dice) {
        self.now += 1;
        let (actor, person) = (*dice.pick(&self.users), *dice.pick(&self.users));
        let text = *dice.pick(&TEXTS);
        let revision = *dice.pick(&[None, None, Some(1), Some(2)]);
        let change = Change { conversation: self.id, actor, revision, now: Timestamp::from_micros(self.now) };
        let (message, author) = self.message(dice);
        // At least half of the changes of a message are its author's: otherwise the store would refuse most.
        let own = Change { actor: *dice.pick(&[actor, author]), ..change };
        let (stored, expected) = match dice.between(0, 12) {
            0..=3 => return self.send(store, &change, text, dice).await,
            4..=5 => (store.edit(own, message, text).await, self.model.edit(&own, message, text)),
            6 => (store.erase(own, message).await, self.model.erase(&own, message)),
            7 => (store.update(change, &Details::titled(text)).await, self.model.rename(&change, text)),
            8 => (store.add(change, person, &bounds(100)).await, self.model.add(&change, person)),
            // The last member does not leave: without members no user can read the conversation.
            9 if self.model.members.len() > 1 => {
                (store.remove(change, person).await, self.model.remove(&change, person))
            }
            10 if self.model.members.len() > 1 => {
                (store.remove(change, actor).await, self.model.remove(&change, actor))
            }
            _ => return self.mark_read(store, actor, dice).await,
        };
        assert_eq!(by_name(stored), expected.map_err(str::to_owned), "{change:?} {own:?}");
    }

    /// A sent message, sometimes an unknown id, and the author.
    fn message(&self, dice: &mut Dice) -> (Uuid, UserId) {
        let messages = self.model.messages();
        if messages.is_empty() || dice.between(0, 20) == 0 {
            return (id(dice), *dice.pick(&self.users));
        }
        *dice.pick(&messages)
    }

    /// Sends a new message, a repeat, or a different message with a used id.
    async fn send(&mut self, store: &Arc<dyn MessagingStore>, change: &Change, text: &str, dice: &mut Dice) {
        let (message_id, create_time) = (id(dice), change.now);
        let mut new = NewMessage {
            conversation: self.id,
            author: change.actor,
            id: message_id,
            client_id: id(dice),
            text: text.to_owned(),
            create_time,
        };
        match dice.between(0, 4) {
            0 if !self.sent.is_empty() => {
                new = NewMessage { id: message_id, create_time, ..dice.pick(&self.sent).clone() }
            }
            1 if !self.sent.is_empty() => new.client_id = dice.pick(&self.sent).client_id,
            _ => {}
        }
        let stored = match store.append(&new).await {
            Ok(appended) => Ok((appended.entry, appended.is_new)),
            Err(AppendError::NotFound) => Err("NotFound"),
            Err(AppendError::RequestIdReused) => Err("RequestIdReused"),
            Err(error) => panic!("{error:?}"),
        };
        assert_eq!(stored, self.model.send(&new), "{new:?}");
        self.sent.push(new);
    }

    async fn mark_read(&mut self, store: &Arc<dyn MessagingStore>, reader: UserId, dice: &mut Dice) {
        let most = self.model.messages().len() as u64 + 3;
        let number = i64::try_from(dice.between(0, most)).unwrap();
        let stored = store.mark_read(self.id, reader, number).await.unwrap();
        assert_eq!(stored, self.model.mark_read(reader, number), "{number} by {reader}");
    }

    /// Compares what each user sees with the model, and checks that the log has no gap.
    async fn look(&self, store: &Arc<dyn MessagingStore>) {
        for reader in self.users {
            let (found, expected) = (store.find(self.id, reader).await.unwrap(), self.model.seen_by(reader));
            assert_eq!(found, expected);
            assert_eq!(
                store.find_all(&[self.id], reader).await.unwrap(),
                expected.clone().into_iter().collect::<Vec<_>>()
            );
            let log = store.list_entries(self.id, reader, 0, 10_000).await.unwrap();
            let Some(expected) = expected else {
                assert_eq!(log, [], "a user who is not a member sees nothing");
                continue;
            };
            assert_eq!(log, self.model.log);
            assert!(log.iter().map(|entry| entry.seq).eq(1..=expected.last_seq), "seq has no gap");
            let numbers = log.iter().filter_map(|entry| match &entry.body {
                Body::Message(message) => Some(message.number),
                _ => None,
            });
            assert!(numbers.eq(1..=expected.message_count), "message_no has no gap");
            assert_eq!(found.map(|found| found.own.unread), Some(expected.own.unread));
        }
    }
}

fn by_name(outcome: Result<Changed, ChangeError>) -> Result<Changed, String> {
    outcome.map_err(|error| format!("{error:?}"))
}
