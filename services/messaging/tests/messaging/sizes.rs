//! With maximal contents no response exceeds `limits.message_bytes`, and lists can be read to their end.

use std::collections::BTreeMap;

use kit::{limits::Limits, policy::Table};
use prost::Message;
use proto::messaging::v1::{
    AcceptInvitationRequest, AddMemberRequest, BlockUserRequest, DeclineInvitationRequest, DeleteMemberRequest,
    DeleteMessageRequest, EditMessageRequest, Entry, GetConversationRequest, GetMessageRequest, GetSettingsRequest,
    LeaveConversationRequest, ListBlockedUsersRequest, ListContactsRequest, ListConversationsRequest,
    ListInvitationsRequest, ListMembersRequest, ListMessagesRequest, MarkReadRequest, RemoveMemberRequest, Settings,
    SubscribeRequest, SubscribeResponse, UnblockUserRequest, UpdateConversationRequest, UpdateSettingsRequest,
    entry::Body,
};
use users::domain::State;

use crate::{
    bench::{Bench, Person, catch_up},
    databases::Database,
    mesh::request,
};

/// The smallest value that the configuration accepts.
const MESSAGE_BYTES: usize = 512 * 1024;
/// More than one page of any size.
const CONVERSATIONS: usize = 120;

/// The largest response of each method.
#[derive(Default)]
struct Sizes(BTreeMap<&'static str, usize>);

impl Sizes {
    fn of<T: Message>(&mut self, method: &'static str, response: &T) {
        let size = response.encoded_len();
        assert!(size <= MESSAGE_BYTES, "{method}: {size}");
        let largest = self.0.entry(method).or_default();
        *largest = size.max(*largest);
    }
}

struct Scene {
    bench: Bench,
    ada: Person,
    bob: Person,
    /// 1 000 members, and more messages than one page.
    crowded: String,
    sizes: Sizes,
}

/// A text of this many characters of four bytes.
fn wide(characters: usize) -> String {
    "𝄞".repeat(characters)
}

impl Scene {
    async fn new() -> Self {
        let limits = Limits { message_bytes: MESSAGE_BYTES, ..Limits::default() };
        let bench = Bench::limited(Database::sqlite(), limits, |_| {}).await;
        let (ada, bob) = (bench.person().await, bench.person().await);
        let mut scene = Self { bench, ada, bob, crowded: String::new(), sizes: Sizes::default() };
        for _ in 0..CONVERSATIONS {
            let id = scene.create(1).await;
            scene.send_text(&id).await;
        }
        scene.crowded = scene.create(998).await;
        for _ in 0..CONVERSATIONS {
            let id = scene.crowded.clone();
            scene.send_text(&id).await;
        }
        scene
    }

    /// A conversation of Ada, Bob and others.
    async fn create(&mut self, others: usize) -> String {
        let mut members = vec![self.bob.id];
        for _ in 1..others {
            members.push(self.bench.user(State::Active).await);
        }
        let mut message = self.ada.opening(&self.bench.mesh.clock_rng, &members);
        message.title = wide(128);
        let response =
            self.ada.client.clone().create_conversation(self.ada.request(message)).await.unwrap().into_inner();
        self.sizes.of("CreateConversation", &response);
        response.conversation.unwrap().conversation_id
    }

    async fn send_text(&mut self, room: &str) -> String {
        let entry = self.ada.send_text(&self.bench.mesh.clock_rng, room, &wide(4_096)).await;
        self.sizes.of("SendMessage", &entry);
        let Some(Body::Message(message)) = entry.body else { panic!("a message") };
        message.message_id
    }

    async fn lists(&mut self) {
        let (mut client, id) = (self.bob.client.clone(), self.crowded.clone());
        let (mut rows, mut page_token) = (0, String::new());
        loop {
            let list = ListConversationsRequest { page_size: 100, page_token };
            let page = client.list_conversations(self.bob.request(list)).await.unwrap().into_inner();
            self.sizes.of("ListConversations", &page);
            rows += page.conversations.len();
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(rows, CONVERSATIONS + 1);
        let (mut rows, mut page_token) = (0, String::new());
        loop {
            let list = ListMessagesRequest { conversation_id: id.clone(), page_size: 100, page_token };
            let page = client.list_messages(self.bob.request(list)).await.unwrap().into_inner();
            self.sizes.of("ListMessages", &page);
            let is_message = |entry: &&Entry| matches!(entry.body, Some(Body::Message(_)));
            rows += page.entries.iter().filter(is_message).count();
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(rows, CONVERSATIONS);
        let (mut rows, mut page_token) = (0, String::new());
        loop {
            let list = ListMembersRequest { conversation_id: id.clone(), page_size: 100, page_token };
            let page = client.list_members(self.bob.request(list)).await.unwrap().into_inner();
            self.sizes.of("ListMembers", &page);
            rows += page.members.len();
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(rows, 999);
    }

    async fn single(&mut self) {
        let (mut client, id, message_id) = (self.ada.client.clone(), self.crowded.clone(), self.send_text_once().await);
        let ada = &self.ada;
        let got = client.get_conversation(ada.request(GetConversationRequest { conversation_id: id.clone() })).await;
        self.sizes.of("GetConversation", &got.unwrap().into_inner());
        let title = wide(127);
        let rename = UpdateConversationRequest { conversation_id: id.clone(), title, ..Default::default() };
        self.sizes
            .of("UpdateConversation", &client.update_conversation(ada.request(rename)).await.unwrap().into_inner());
        let user_id = self.bench.user(State::Active).await.to_string();
        let add = AddMemberRequest { conversation_id: id.clone(), user_id: user_id.clone() };
        self.sizes.of("AddMember", &client.add_member(ada.request(add)).await.unwrap().into_inner());
        let remove = RemoveMemberRequest { conversation_id: id.clone(), user_id };
        self.sizes.of("RemoveMember", &client.remove_member(ada.request(remove)).await.unwrap().into_inner());
        let get = GetMessageRequest { conversation_id: id.clone(), message_id: message_id.clone() };
        self.sizes.of("GetMessage", &client.get_message(ada.request(get)).await.unwrap().into_inner());
        let text = wide(4_095);
        let (conversation_id, etag) = (id.clone(), String::new());
        let edit = EditMessageRequest { conversation_id, message_id: message_id.clone(), text, etag };
        self.sizes.of("EditMessage", &client.edit_message(ada.request(edit)).await.unwrap().into_inner());
        let delete = DeleteMessageRequest { conversation_id: id.clone(), message_id };
        self.sizes.of("DeleteMessage", &client.delete_message(ada.request(delete)).await.unwrap().into_inner());
        let read = MarkReadRequest { conversation_id: id.clone(), message_no: i64::MAX };
        self.sizes.of("MarkRead", &client.mark_read(ada.request(read)).await.unwrap().into_inner());
    }

    async fn send_text_once(&mut self) -> String {
        let id = self.crowded.clone();
        self.send_text(&id).await
    }

    async fn stream(&mut self) {
        let mut stream = self.bob.subscribe(SubscribeRequest::default()).await.unwrap();
        let events = catch_up(&mut stream).await;
        assert!(events.len() > CONVERSATIONS, "each conversation is announced");
        for event in events {
            self.sizes.of("Subscribe", &SubscribeResponse { event: Some(event) });
        }
    }

    /// The maximum of undecided invitations, the maximum of users in one call, and a page of blocked users.
    async fn waiting(&mut self) {
        let (cleo, mut client) = (self.bench.person().await, self.ada.client.clone());
        let add_rule = proto::messaging::v1::AddRule::Contacts.into();
        let settings = UpdateSettingsRequest { settings: Some(Settings { add_rule }), update_mask: None };
        let settings = client.update_settings(cleo.request(settings)).await.unwrap().into_inner();
        self.sizes.of("UpdateSettings", &settings);
        let settings = client.get_settings(cleo.request(GetSettingsRequest {})).await.unwrap().into_inner();
        self.sizes.of("GetSettings", &settings);
        let mut invited = Vec::new();
        for _ in 0..100 {
            let mut opening = self.ada.opening(&self.bench.mesh.clock_rng, &[self.bob.id, cleo.id]);
            opening.title = wide(128);
            let created = client.create_conversation(self.ada.request(opening)).await.unwrap().into_inner();
            assert_eq!(created.invited_ids, [cleo.id.to_string()]);
            self.sizes.of("CreateConversation", &created);
            invited.push(created.conversation.unwrap().conversation_id);
        }
        let most = vec![cleo.id.to_string(); 999];
        let most = proto::messaging::v1::CreateConversationResponse { conversation: None, invited_ids: most };
        self.sizes.of("CreateConversation", &most);
        let list = ListInvitationsRequest { page_size: 100, ..Default::default() };
        let listed = client.list_invitations(cleo.request(list)).await.unwrap().into_inner();
        assert_eq!(listed.invitations.len(), 100);
        self.sizes.of("ListInvitations", &listed);
        let accept = AcceptInvitationRequest { conversation_id: invited.pop().unwrap() };
        self.sizes.of("AcceptInvitation", &client.accept_invitation(cleo.request(accept)).await.unwrap().into_inner());
        let decline = DeclineInvitationRequest { conversation_id: invited.pop().unwrap() };
        let declined = client.decline_invitation(cleo.request(decline)).await.unwrap().into_inner();
        self.sizes.of("DeclineInvitation", &declined);
        for _ in 0..100 {
            let block = BlockUserRequest { user_id: self.bench.mesh.clock_rng.new_id().to_string() };
            self.sizes.of("BlockUser", &client.block_user(cleo.request(block)).await.unwrap().into_inner());
        }
        let list = ListBlockedUsersRequest { page_size: 100, ..Default::default() };
        let blocked = client.list_blocked_users(cleo.request(list)).await.unwrap().into_inner();
        assert_eq!(blocked.user_ids.len(), 100);
        self.sizes.of("ListBlockedUsers", &blocked);
        let unblock = UnblockUserRequest { user_id: blocked.user_ids[0].clone() };
        self.sizes.of("UnblockUser", &client.unblock_user(cleo.request(unblock)).await.unwrap().into_inner());
    }

    async fn internal(&mut self) {
        let user_id = self.ada.id.to_string();
        let token = [self.bench.mesh.service_token("users", "messaging", &self.bench.mesh.clock_rng)];
        let contacts = request(ListContactsRequest { user_id: user_id.clone() }, &token);
        let contacts = self.bench.client().list_contacts(contacts).await.unwrap().into_inner();
        // The 998 others of the crowded conversation, and Cleo: she has accepted an invitation.
        assert_eq!(contacts.user_ids.len(), 999);
        self.sizes.of("ListContacts", &contacts);
        // The maximum number of contacts.
        let most = proto::messaging::v1::ListContactsResponse { user_ids: vec![user_id.clone(); 10_000] };
        self.sizes.of("ListContacts", &most);
        let token = [self.bench.mesh.service_token("auth", "messaging", &self.bench.mesh.clock_rng)];
        let delete = request(DeleteMemberRequest { user_id }, &token);
        self.sizes.of("DeleteMember", &self.bench.client().delete_member(delete).await.unwrap().into_inner());
        let leave = LeaveConversationRequest { conversation_id: self.crowded.clone() };
        let left = self.bob.client.clone().leave_conversation(self.bob.request(leave)).await;
        self.sizes.of("LeaveConversation", &left.unwrap().into_inner());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_response_exceeds_the_limit_of_a_message() {
    let mut scene = Scene::new().await;
    scene.lists().await;
    scene.single().await;
    scene.stream().await;
    scene.waiting().await;
    scene.internal().await;
    let table = Table::from_descriptors(proto::DESCRIPTORS).unwrap();
    let methods = table.iter().filter_map(|(path, _)| path.strip_prefix("/trellis.messaging.v1.MessagingService/"));
    let untried: Vec<_> = methods.filter(|method| !scene.sizes.0.contains_key(method)).collect();
    assert!(untried.is_empty(), "not tried with maximal contents: {untried:?}");
    assert!(scene.sizes.0["ListConversations"] > MESSAGE_BYTES / 3, "{:?}", scene.sizes.0);
}
