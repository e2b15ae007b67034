//! Account deletion: the account is unusable at once, and all services drop it eventually. All services are real.

use std::time::Duration;

use proto::{
    auth::v1::{DeleteAccountRequest, ListSessionsRequest, RefreshTokenRequest, SignInRequest, SignUpRequest, Tokens},
    messaging::v1::{
        Conversation, CreateConversationRequest, Entry, GetConversationRequest, ListConversationsRequest,
        ListMessagesRequest, Position, SendMessageRequest, SubscribeRequest, SubscribeResponse, entry::Body,
        subscribe_response::Event,
    },
    users::v1::GetUserRequest,
};
use tonic::{Code, Status, Streaming};

use super::harness::{Mesh, PASSWORD, Person, Store, new_id, reason};

/// How long the other services may take: much longer than they do.
const IN_THE_END: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn account_deletion_reaches_all_services_on_sqlite() {
    a_deletion_reaches_all_services(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn account_deletion_reaches_all_services_on_postgres() {
    a_deletion_reaches_all_services(Store::Postgres).await;
}

async fn a_deletion_reaches_all_services(store: Store) {
    let mut mesh = Mesh::start(store, &[("MESSAGING__ADD_RULE", "anyone")]).await;
    let (ada, bob, eve) = (mesh.sign_up("ada").await, mesh.sign_up("bob").await, mesh.sign_up("eve").await);
    let elsewhere = sign_in(&ada).await.unwrap();
    let (hers, bobs) = (open(&ada, &[&bob, &eve]).await, open(&bob, &[&ada]).await);
    let message = send(&ada, &hers, "hello").await;
    let mut following = [(follow(&bob, &hers).await, &hers), (follow(&bob, &bobs).await, &bobs)];
    let mut own = ada.messaging().subscribe(ada.request(SubscribeRequest::default())).await.unwrap().into_inner();

    let delete = DeleteAccountRequest { password: PASSWORD.to_owned() };
    ada.auth().delete_account(ada.request(delete)).await.unwrap();
    assert_eq!(reason(&sign_in(&ada).await.unwrap_err()), "BAD_CREDENTIALS");
    for tokens in [&ada.tokens, &elsewhere] {
        assert_eq!(reason(&refresh(&ada, tokens).await.unwrap_err()), "REFRESH_TOKEN_INVALID");
        assert_is_refused(&ada.signed_in_as(tokens.clone())).await;
    }
    let end = tokio::time::timeout(IN_THE_END, async {
        while own.message().await?.is_some() {}
        Ok::<_, Status>(())
    });
    assert_eq!(reason(&end.await.unwrap().unwrap_err()), "SESSION_REVOKED", "the user's stream ends too");

    // Both joined with the entry that opened the conversation: the lower id decides.
    let heir = bob.id().min(eve.id());
    for ((stream, of), owner) in following.iter_mut().zip([heir, bob.id()]) {
        assert_eq!(removed_and_owner(stream, of).await, (ada.id().to_owned(), owner.to_owned()));
    }
    let left = find(&bob, &hers).await;
    assert!(left.member_count == 2 && !left.members.iter().any(|member| member.user_id == ada.id()), "{left:?}");
    assert_eq!((left.owner_id.as_str(), left.last_message.as_ref()), (heir, Some(&message)));
    assert_eq!(read(&eve, &hers).await, [message], "the message stays, under the author's id");
    send(&eve, &hers, "and we go on").await;
    assert_eq!(find(&bob, &bobs).await.member_count, 1);

    // Auth deletes the user in users before messaging.
    let gone = bob.users().get_user(bob.request(GetUserRequest { user_id: ada.id().to_owned() })).await.unwrap_err();
    assert_eq!((gone.code(), reason(&gone).as_str()), (Code::NotFound, "USER_NOT_FOUND"));
    assert_address_is_free_and_handle_is_not(&ada).await;
    assert_eq!(mesh.terminate().code(), Some(0));
}

async fn sign_in(person: &Person) -> Result<Tokens, Status> {
    let email = "ada@example.org".to_owned();
    let message = SignInRequest { email, password: PASSWORD.to_owned(), ..SignInRequest::default() };
    Ok(person.auth().sign_in(message).await?.into_inner().tokens.unwrap())
}

async fn refresh(person: &Person, tokens: &Tokens) -> Result<(), Status> {
    let message = RefreshTokenRequest { refresh_token: tokens.refresh_token.clone() };
    person.auth().refresh_token(message).await.map(drop)
}

/// Every service refuses the access token, through the gateway; they learn of the deletion over the bus.
async fn assert_is_refused(person: &Person) {
    let refused = tokio::time::timeout(IN_THE_END, async {
        loop {
            match person.auth().list_sessions(person.request(ListSessionsRequest::default())).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(status) => return status,
            }
        }
    });
    assert_eq!(reason(&refused.await.unwrap()), "SESSION_REVOKED");
    let list = person.request(ListConversationsRequest::default());
    assert_eq!(reason(&person.messaging().list_conversations(list).await.unwrap_err()), "SESSION_REVOKED");
}

async fn open(creator: &Person, others: &[&Person]) -> Conversation {
    let member_ids = others.iter().map(|person| person.id().to_owned()).collect();
    let new = CreateConversationRequest { request_id: new_id(), member_ids, title: "Tea".to_owned() };
    creator.messaging().create_conversation(creator.request(new)).await.unwrap().into_inner().conversation.unwrap()
}

async fn find(reader: &Person, of: &Conversation) -> Conversation {
    let message = GetConversationRequest { conversation_id: of.conversation_id.clone() };
    reader.messaging().get_conversation(reader.request(message)).await.unwrap().into_inner().conversation.unwrap()
}

async fn send(author: &Person, to: &Conversation, text: &str) -> Entry {
    let message = SendMessageRequest {
        conversation_id: to.conversation_id.clone(),
        client_message_id: new_id(),
        text: text.to_owned(),
    };
    author.messaging().send_message(author.request(message)).await.unwrap().into_inner().entry.unwrap()
}

/// The messages of a conversation.
async fn read(reader: &Person, of: &Conversation) -> Vec<Entry> {
    let message = ListMessagesRequest { conversation_id: of.conversation_id.clone(), ..Default::default() };
    let mut entries = reader.messaging().list_messages(reader.request(message)).await.unwrap().into_inner().entries;
    entries.retain(|entry| matches!(entry.body, Some(Body::Message(_))));
    entries
}

async fn follow(reader: &Person, of: &Conversation) -> Streaming<SubscribeResponse> {
    let positions = vec![Position { conversation_id: of.conversation_id.clone(), cursor: of.cursor.clone() }];
    reader
        .messaging()
        .subscribe(reader.request(SubscribeRequest { positions, ..Default::default() }))
        .await
        .unwrap()
        .into_inner()
}

/// Waits for the removal of a member. Returns the removed member and the new owner.
async fn removed_and_owner(stream: &mut Streaming<SubscribeResponse>, of: &Conversation) -> (String, String) {
    let removed = tokio::time::timeout(IN_THE_END, async {
        loop {
            let event = stream.message().await.unwrap().expect("an open stream").event;
            let Some(Event::Entry(new)) = event else { continue };
            let entry = new.entry.unwrap();
            if entry.conversation_id == of.conversation_id
                && let Some(Body::MemberRemoved(removed)) = entry.body
            {
                return (removed.user_id, removed.owner_id);
            }
        }
    });
    removed.await.expect("the membership ends in the end")
}

async fn assert_address_is_free_and_handle_is_not(ada: &Person) {
    let mut anew = SignUpRequest {
        email: "ada@example.org".to_owned(),
        password: PASSWORD.to_owned(),
        handle: "ada".to_owned(),
        display_name: "Ada".to_owned(),
        ..SignUpRequest::default()
    };
    assert_eq!(reason(&ada.auth().sign_up(anew.clone()).await.unwrap_err()), "HANDLE_TAKEN");
    anew.handle = "ada_again".to_owned();
    let tokens = ada.auth().sign_up(anew).await.unwrap().into_inner().tokens.unwrap();
    assert_ne!(tokens.user_id, ada.tokens.user_id);
}
