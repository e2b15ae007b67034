//! Effects of a block, and of a request that is not accepted, in a conversation of two.

use kit::ClockAndRng;
use kit_data::store::Location;
use messaging::{
    domain::{AddRule, Details},
    store::{AppendError, ChangeError, Changed},
};
use proto::messaging::v1::{
    AddMemberRequest, GetConversationRequest, ListMembersRequest, MarkReadRequest, SubscribeRequest,
    subscribe_response::Event,
};

use crate::{
    admission::{accept, add, create},
    bench::{Bench, Person, catch_up, next},
    changes::{bounds, by, new_message, open, people, room, send_text},
    databases::on_both,
    mesh::refusal,
};

on_both! {
    blocked_user_cannot_change_a_conversation_of_two,
    blocked_owner_cannot_remove_the_other_of_two,
    blocked_owner_erases_nothing_of_the_other_of_two,
    blocked_owner_moderates_a_group,
    block_hides_nothing_in_a_group,
    block_in_a_conversation_of_two_ends_invitations,
    read_marks_are_hidden_until_the_request_is_accepted,
}

async fn blocked_user_cannot_change_a_conversation_of_two(location: &Location) {
    let (store, [ada, bob, eve]) = (open(location).await, people());
    let id = room(&store, ada, &[bob]).await;
    let first = new_message(id, bob, "hello");
    store.append(&first).await.unwrap();
    store.block(ada, bob, ClockAndRng::system().now(), 10).await.unwrap();
    let refused = store.append(&new_message(id, bob, "hello?")).await;
    assert!(matches!(refused, Err(AppendError::NotAccepted)), "{refused:?}");
    for refused in [
        store.edit(by(bob, id), first.id, "hello?").await,
        store.update(by(bob, id), &Details::titled("hello?")).await,
        store.add(by(bob, id), eve, &bounds(100)).await,
        store.erase(by(bob, id), first.id).await,
    ] {
        assert!(matches!(refused, Err(ChangeError::NotAccepted)), "{refused:?}");
    }
    assert_eq!(store.head(id, ada).await.unwrap(), Some(2), "nothing was written");
    // A repeat returns the stored message, the user who blocks may still write, and the blocked user may leave.
    assert!(!store.append(&first).await.unwrap().is_new);
    send_text(&store, id, ada, "do not write to me").await;
    store.unblock(ada, bob).await.unwrap();
    send_text(&store, id, bob, "thanks").await;
    store.block(ada, bob, ClockAndRng::system().now(), 10).await.unwrap();
    store.remove(by(bob, id), bob).await.unwrap();
}

async fn blocked_owner_cannot_remove_the_other_of_two(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let id = room(&store, ada, &[bob]).await;
    store.block(bob, ada, ClockAndRng::system().now(), 10).await.unwrap();
    let refused = store.remove(by(ada, id), bob).await;
    assert!(matches!(refused, Err(ChangeError::NotAccepted)), "{refused:?}");
    assert_eq!(store.head(id, bob).await.unwrap(), Some(1), "nothing was written");
    store.remove(by(ada, id), ada).await.expect("a blocked member may leave");
}

async fn blocked_owner_erases_nothing_of_the_other_of_two(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let id = room(&store, ada, &[bob]).await;
    let sent = send_text(&store, id, bob, "hello").await;
    store.block(bob, ada, ClockAndRng::system().now(), 10).await.unwrap();
    let refused = store.erase(by(ada, id), sent.id).await;
    assert!(matches!(refused, Err(ChangeError::NotAccepted)), "{refused:?}");
    assert_eq!(store.head(id, bob).await.unwrap(), Some(2), "nothing was written");
    assert!(matches!(store.erase(by(bob, id), sent.id).await.unwrap(), Changed::Now(3)));
}

/// A member must not be able to escape moderation by blocking the owner.
async fn blocked_owner_moderates_a_group(location: &Location) {
    let (store, [ada, bob, eve]) = (open(location).await, people());
    let id = room(&store, ada, &[bob, eve]).await;
    let sent = send_text(&store, id, bob, "buy now").await;
    store.block(bob, ada, ClockAndRng::system().now(), 10).await.unwrap();
    assert!(matches!(store.erase(by(ada, id), sent.id).await.unwrap(), Changed::Now(_)));
}

async fn block_hides_nothing_in_a_group(location: &Location) {
    let (store, [ada, bob, eve]) = (open(location).await, people());
    let id = room(&store, ada, &[bob, eve]).await;
    store.block(ada, bob, ClockAndRng::system().now(), 10).await.unwrap();
    send_text(&store, id, bob, "hello, both").await;
    assert_eq!(store.list_history(id, ada, i64::MAX, 10).await.unwrap().len(), 2);
    // Once Eve has left, it is a conversation of two.
    store.remove(by(eve, id), eve).await.unwrap();
    let refused = store.append(&new_message(id, bob, "only us")).await;
    assert!(matches!(refused, Err(AppendError::NotAccepted)), "{refused:?}");
}

/// Otherwise an accomplice could turn the conversation into a group, in which the block has no effect.
async fn block_in_a_conversation_of_two_ends_invitations(location: &Location) {
    let (store, [ada, bob, eve]) = (open(location).await, people());
    let id = room(&store, ada, &[bob]).await;
    assert!(matches!(add(&store, id, bob, eve).await.unwrap(), Changed::Invited));
    store.block(ada, bob, ClockAndRng::system().now(), 10).await.unwrap();
    let refused = accept(&store, id, eve).await;
    assert!(matches!(refused, Err(ChangeError::NoInvitation)), "{refused:?}");
    assert_eq!(store.find(id, ada).await.unwrap().unwrap().member_count, 2);
    store.unblock(ada, bob).await.unwrap();
    let refused = accept(&store, id, eve).await;
    assert!(matches!(refused, Err(ChangeError::NoInvitation)), "the invitation is gone: {refused:?}");
}

async fn read_marks_are_hidden_until_the_request_is_accepted(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let id = create(&store, ada, &[bob]).await.unwrap();
    send_text(&store, id, ada, "hello").await;
    store.mark_read(id, bob, 1).await.unwrap();
    let shown = async |reader| {
        let found = store.find(id, reader).await.unwrap().unwrap();
        let page = messaging::domain::MembersPage::parse(100, "", id).unwrap();
        let listed = store.list_members(id, reader, page).await.unwrap();
        assert_eq!(found.members, listed);
        listed.into_iter().find(|member| member.user == bob).unwrap().read_no
    };
    assert_eq!((shown(ada).await, shown(bob).await), (0, 1), "only the reader sees his mark");
    assert_eq!(store.read_marks(id, ada).await.unwrap(), []);
    assert!(store.read_marks(id, bob).await.unwrap().contains(&(bob, 1)));
    send_text(&store, id, bob, "hello").await;
    assert_eq!(shown(ada).await, 2);
    assert!(store.read_marks(id, ada).await.unwrap().contains(&(bob, 2)));
}

async fn mark(reader: &Person, room: &str, message_no: i64) {
    let mark = MarkReadRequest { conversation_id: room.to_owned(), message_no };
    reader.client.clone().mark_read(reader.request(mark)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requester_gets_no_read_marks_before_acceptance() {
    let bench = Bench::new(|config| config.add_rule = messaging::Config::default().add_rule).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let clock_rng = &bench.mesh.clock_rng;
    let id = ada.create(ada.opening(clock_rng, &[bob.id])).await.unwrap().conversation_id;
    ada.send_text(clock_rng, &id, "hello").await;
    let (mut hers, mut his) = (
        ada.subscribe(SubscribeRequest::default()).await.unwrap(),
        bob.subscribe(SubscribeRequest::default()).await.unwrap(),
    );
    catch_up(&mut hers).await;
    catch_up(&mut his).await;
    mark(&bob, &id, 1).await;
    // His other devices get the read mark.
    assert!(matches!(next(&mut his).await, Event::ReadMarks(_)));
    let get = GetConversationRequest { conversation_id: id.clone() };
    let seen = ada.client.clone().get_conversation(ada.request(get)).await.unwrap().into_inner().conversation.unwrap();
    let list = ListMembersRequest { conversation_id: id.clone(), ..Default::default() };
    let listed = ada.client.clone().list_members(ada.request(list)).await.unwrap().into_inner().members;
    assert!(
        seen.members
            .iter()
            .chain(&listed)
            .filter(|m| m.user_id == bob.id.to_string())
            .all(|m| m.last_read_message_no == 0)
    );
    // Her next event is another message.
    ada.send_text(clock_rng, &id, "are you there?").await;
    loop {
        match next(&mut hers).await {
            Event::ReadMarks(marks) => panic!("{marks:?}"),
            Event::Entry(_) => break,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn read_before_acceptance_wakes_only_the_reader_in_a_group() {
    let bench = Bench::new(|config| config.add_rule = messaging::Config::default().add_rule).await;
    let [ada, bob, eve] = [bench.person().await, bench.person().await, bench.person().await];
    let clock_rng = &bench.mesh.clock_rng;
    // Eve lets all users add her, so that the request to Bob becomes a group.
    bench.store().set_rule(user(&eve), Some(AddRule::Anyone)).await.unwrap();
    let id = ada.create(ada.opening(clock_rng, &[bob.id])).await.unwrap().conversation_id;
    let added = AddMemberRequest { conversation_id: id.clone(), user_id: eve.id.to_string() };
    assert!(!ada.client.clone().add_member(ada.request(added)).await.unwrap().into_inner().invited);
    ada.send_text(clock_rng, &id, "hello").await;
    let (mut hers, mut his) = (
        ada.subscribe(SubscribeRequest::default()).await.unwrap(),
        bob.subscribe(SubscribeRequest::default()).await.unwrap(),
    );
    catch_up(&mut hers).await;
    catch_up(&mut his).await;
    mark(&bob, &id, 1).await;
    let Event::ReadMarks(marks) = next(&mut his).await else { panic!("his other devices get the mark") };
    assert!(marks.marks.iter().any(|mark| mark.user_id == bob.id.to_string() && mark.message_no == 1), "{marks:?}");
    ada.send_text(clock_rng, &id, "are you there?").await;
    loop {
        match next(&mut hers).await {
            Event::ReadMarks(marks) => panic!("{marks:?}"),
            Event::Entry(_) => break,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn message_of_a_blocked_user_is_permission_denied() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let id = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    bench.store().block(user(&ada), user(&bob), bench.mesh.clock_rng.now(), 10).await.unwrap();
    let send = proto::messaging::v1::SendMessageRequest {
        conversation_id: id,
        client_message_id: bench.mesh.clock_rng.new_id().to_string(),
        text: "hello?".to_owned(),
    };
    assert_eq!(refusal(bob.send(send).await), "PermissionDenied NOT_ACCEPTED");
}

fn user(of: &Person) -> messaging::domain::UserId {
    messaging::domain::UserId(of.id)
}
