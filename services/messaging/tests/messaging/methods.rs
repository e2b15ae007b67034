//! Changes through the API, and their events on open streams.

use proto::messaging::v1::{
    AddMemberRequest, DeleteMemberRequest, DeleteMessageRequest, EditMessageRequest, LeaveConversationRequest,
    ListConversationsRequest, MarkReadRequest, Position, RemoveMemberRequest, SubscribeRequest,
    UpdateConversationRequest, entry::Body, subscribe_response::Event,
};

use crate::{
    bench::{Bench, catch_up, next},
    mesh::{refusal, request},
};

fn body(event: Event) -> Body {
    match event {
        Event::Entry(new) => new.entry.unwrap().body.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_reach_open_streams() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob, eve) = (bench.person().await, bench.person().await, bench.person().await);
    let room = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    let mut stream = bob.subscribe(SubscribeRequest::default()).await.unwrap();
    catch_up(&mut stream).await;

    let sent = ada.send_text(&bench.mesh.clock_rng, &room, "helo").await;
    let Body::Message(message) = body(next(&mut stream).await) else { panic!("a message") };
    let edit = EditMessageRequest {
        conversation_id: room.clone(),
        message_id: message.message_id.clone(),
        text: "hello".to_owned(),
        etag: message.etag.clone(),
    };
    let edited = ada.client.clone().edit_message(ada.request(edit.clone())).await.unwrap().into_inner().entry.unwrap();
    assert_eq!(edited.seq, sent.seq);
    assert!(matches!(body(next(&mut stream).await), Body::MessageEdited(edited) if edited.text == "hello"));
    let stale = EditMessageRequest { text: "hi".to_owned(), ..edit };
    assert_eq!(refusal(ada.client.clone().edit_message(ada.request(stale)).await), "Aborted ETAG_MISMATCH");

    let delete = DeleteMessageRequest { conversation_id: room.clone(), message_id: message.message_id };
    ada.client.clone().delete_message(ada.request(delete)).await.unwrap();
    assert!(matches!(body(next(&mut stream).await), Body::MessageDeleted(deleted) if deleted.message_no == 1));

    let rename =
        UpdateConversationRequest { conversation_id: room.clone(), title: "Coffee".to_owned(), ..Default::default() };
    bob.client.clone().update_conversation(bob.request(rename)).await.unwrap();
    assert!(matches!(body(next(&mut stream).await), Body::ConversationUpdated(now) if now.title == "Coffee"));

    let mut of_eve = eve.subscribe(SubscribeRequest::default()).await.unwrap();
    catch_up(&mut of_eve).await;
    let add = AddMemberRequest { conversation_id: room.clone(), user_id: eve.id.to_string() };
    ada.client.clone().add_member(ada.request(add)).await.unwrap();
    assert!(matches!(body(next(&mut stream).await), Body::MemberAdded(added) if added.user_id == eve.id.to_string()));
    assert!(matches!(next(&mut of_eve).await, Event::Conversation(found) if found.member_count == 3));

    let read = MarkReadRequest { conversation_id: room.clone(), message_no: 1 };
    let marked = bob.client.clone().mark_read(bob.request(read)).await.unwrap().into_inner();
    assert_eq!((marked.unread_count, marked.last_read_message_no), (0, 1));
    assert!(matches!(next(&mut stream).await, Event::ReadMarks(marks) if marks.marks.len() == 3));

    let remove = RemoveMemberRequest { conversation_id: room.clone(), user_id: bob.id.to_string() };
    let refused = eve.client.clone().remove_member(eve.request(remove.clone())).await;
    assert_eq!(refusal(refused), "PermissionDenied NOT_OWNER");
    ada.client.clone().remove_member(ada.request(remove)).await.unwrap();
    assert!(matches!(next(&mut stream).await, Event::ConversationLeft(left) if left.conversation_id == room));
}

#[tokio::test(flavor = "multi_thread")]
async fn position_in_a_left_conversation_is_reported_as_left() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let opened = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap();
    let leave = LeaveConversationRequest { conversation_id: opened.conversation_id.clone() };
    for _ in 0..2 {
        bob.client.clone().leave_conversation(bob.request(leave.clone())).await.unwrap();
    }
    let positions = vec![Position { conversation_id: opened.conversation_id.clone(), cursor: opened.cursor }];
    let mut stream = bob.subscribe(SubscribeRequest { positions, ..Default::default() }).await.unwrap();
    assert!(
        matches!(next(&mut stream).await, Event::ConversationLeft(left) if left.conversation_id == opened.conversation_id)
    );
    assert!(matches!(next(&mut stream).await, Event::CaughtUp(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_account_leaves_its_conversations_in_batches() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    for _ in 0..150 {
        ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap();
    }
    let listed = async || {
        let mut list = ListConversationsRequest { page_size: 100, ..Default::default() };
        let mut count = 0;
        loop {
            let request = bob.request(list.clone());
            let page = bob.client.clone().list_conversations(request).await.unwrap().into_inner();
            count += page.conversations.len();
            if page.next_page_token.is_empty() {
                return count;
            }
            list.page_token = page.next_page_token;
        }
    };
    let token = bench.mesh.service_token("auth", "messaging", &bench.mesh.clock_rng);
    let delete = async || {
        let message = DeleteMemberRequest { user_id: bob.id.to_string() };
        let request = request(message, std::slice::from_ref(&token));
        bench.client().delete_member(request).await.unwrap().into_inner().done
    };
    assert_eq!(listed().await, 150);
    // Each call continues where the last one stopped.
    assert!(!delete().await);
    assert_eq!(listed().await, 50);
    assert!(delete().await);
    assert!(delete().await);
    assert_eq!(listed().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_account_is_not_added_though_users_still_shows_it() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob, eve) = (bench.person().await, bench.person().await, bench.person().await);
    let room = ada.create(ada.opening(&bench.mesh.clock_rng, &[bob.id])).await.unwrap().conversation_id;
    let token = bench.mesh.service_token("auth", "messaging", &bench.mesh.clock_rng);
    let delete = DeleteMemberRequest { user_id: eve.id.to_string() };
    bench.client().delete_member(request(delete, std::slice::from_ref(&token))).await.unwrap();
    let add = AddMemberRequest { conversation_id: room, user_id: eve.id.to_string() };
    assert_eq!(refusal(ada.client.clone().add_member(ada.request(add)).await), "FailedPrecondition MEMBER_UNKNOWN");
    let refused = ada.create(ada.opening(&bench.mesh.clock_rng, &[eve.id])).await;
    assert_eq!(refusal(refused), "FailedPrecondition MEMBER_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_request_of_a_left_conversation_is_refused() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let opening = ada.opening(&bench.mesh.clock_rng, &[bob.id]);
    let room = ada.create(opening.clone()).await.unwrap().conversation_id;
    let leave = LeaveConversationRequest { conversation_id: room };
    ada.client.clone().leave_conversation(ada.request(leave)).await.unwrap();
    assert_eq!(refusal(ada.create(opening).await), "NotFound CONVERSATION_NOT_FOUND");
}
