//! The gRPC face: messages to domain types, one question to the store, domain types to messages.

pub(crate) mod wire;

use std::{collections::HashMap, pin::Pin, sync::Arc};

use futures_util::Stream;
use kit::{Context, error};
use proto::{
    messaging::v1::{
        AddMemberRequest, AddMemberResponse, Conversation as WireConversation, CreateConversationRequest,
        CreateConversationResponse, DeleteMemberRequest, DeleteMemberResponse, DeleteMessageRequest,
        DeleteMessageResponse, EditMessageRequest, EditMessageResponse, Entry as WireEntry, GetConversationRequest,
        GetConversationResponse, GetMessageRequest, GetMessageResponse, LeaveConversationRequest,
        LeaveConversationResponse, ListContactsRequest, ListContactsResponse, ListConversationsRequest,
        ListConversationsResponse, ListMessagesRequest, ListMessagesResponse, MarkReadRequest, MarkReadResponse,
        Position, RemoveMemberRequest, RemoveMemberResponse, SendMessageRequest, SendMessageResponse, SubscribeRequest,
        SubscribeResponse, UpdateConversationRequest, UpdateConversationResponse,
        messaging_service_server::MessagingService,
    },
    users::v1::{BatchGetUsersRequest, users_service_client::UsersServiceClient},
};
use tonic::{Code, Request, Response, Status, async_trait};
use uuid::Uuid;

use crate::{
    Messaging,
    delivery::{Hub, Subscription},
    domain::{
        Body, Change, Conversation, ConversationId, Cursor, Entry, MOST_CONTACTS, NewConversation, NewMessage, Page,
        Recent, UserId,
    },
    store::{ChangeError, Changed},
};

/// How many messages are read from the store at once for one page: with texts of 16 KiB that is 2 MiB.
const CHUNK: usize = 128;
/// How many conversations a deleted account leaves in one call: each is a transaction, and a call has its time.
const LEFT_AT_ONCE: usize = 100;

pub(crate) struct Api {
    service: Messaging,
    hub: Arc<Hub>,
    /// Bytes of texts that one page may hold, so that it fits into one message.
    page_bytes: usize,
}

impl Api {
    pub(crate) fn new(service: Messaging, hub: Arc<Hub>, message_bytes: usize) -> Self {
        // The other half is for what surrounds the texts.
        Self { service, hub, page_bytes: message_bytes / 2 }
    }

    /// Refuses people who do not exist or are not active.
    async fn require_active(&self, context: &Context, field: &str, people: &[UserId]) -> Result<(), Status> {
        let user_ids: Vec<String> = people.iter().map(UserId::to_string).collect();
        let asked = user_ids.len();
        let request = context.request(BatchGetUsersRequest { user_ids }, self.service.config.users_timeout.0);
        let answer = UsersServiceClient::new(self.service.users.clone()).batch_get_users(request).await;
        let found = answer.map_err(|status| users_failed(&status))?.into_inner().users.len();
        if found == asked {
            return Ok(());
        }
        let message = format!("somebody named in {field} does not exist or is not active");
        Err(error::status(Code::FailedPrecondition, "MEMBER_UNKNOWN", message))
    }

    /// A page, cut where its texts fill a message.
    async fn read_page(&self, id: ConversationId, page: Page) -> Result<(Vec<Entry>, bool), Status> {
        let mut entries: Vec<Entry> = Vec::new();
        let (mut before, mut bytes) = (page.before, 0);
        loop {
            let wanted = (page.size + 1 - entries.len()).min(CHUNK);
            let chunk = self.service.store.list_messages(id, before, wanted).await?;
            let last = chunk.len() < wanted;
            for entry in chunk {
                let Body::Message(message) = &entry.body else { continue };
                bytes += message.text.len();
                if entries.len() == page.size || (bytes > self.page_bytes && !entries.is_empty()) {
                    return Ok((entries, true));
                }
                before = message.number;
                entries.push(entry);
            }
            if last {
                return Ok((entries, false));
            }
        }
    }

    fn cursor(&self, conversation: &Conversation) -> String {
        Cursor { epoch: self.service.store.epoch(), conversation: conversation.id, seq: conversation.last_seq }.encode()
    }

    fn show(&self, conversation: Conversation) -> WireConversation {
        let cursor = self.cursor(&conversation);
        wire::conversation(conversation, cursor)
    }

    async fn read_conversation(&self, id: ConversationId, reader: UserId) -> Result<WireConversation, Status> {
        let found = self.service.store.find(id, reader).await?.ok_or_else(wire::no_conversation)?;
        Ok(self.show(found))
    }

    async fn read_message(&self, id: ConversationId, reader: UserId, message: Uuid) -> Result<WireEntry, Status> {
        if let Some(found) = self.service.store.find_message(id, reader, message).await? {
            return Ok(found.into());
        }
        // Which of the two is missing is told to members only.
        self.service.store.head(id, reader).await?.ok_or_else(wire::no_conversation)?;
        Err(wire::no_message())
    }

    fn change(&self, conversation: &str, actor: UserId, revision: Option<i64>) -> Result<Change, Status> {
        let conversation = conversation_id(conversation)?;
        Ok(Change { conversation, actor, revision, now: self.service.ambient.now() })
    }

    /// Wakes the streams of a conversation that has changed.
    fn tell(&self, change: Change, changed: Changed) {
        if let Changed::Now(seq) = changed {
            self.hub.reached(change.conversation, seq);
        }
    }

    async fn remove(&self, change: Change, person: UserId) -> Result<(), ChangeError> {
        let changed = self.service.store.remove(change, person).await?;
        self.tell(change, changed);
        if let Changed::Now(seq) = changed {
            self.hub.moved(person, seq);
        }
        Ok(())
    }

    fn positions(&self, positions: &[Position]) -> Result<HashMap<ConversationId, i64>, Status> {
        let epoch = self.service.store.epoch();
        let read = |(i, position): (usize, &Position)| {
            let id = conversation_id(&position.conversation_id)?;
            let cursor = Cursor::decode(&position.cursor, id, epoch).map_err(|bad| wire::bad_cursor(i, &bad))?;
            Ok((id, cursor.seq))
        };
        positions.iter().enumerate().map(read).collect()
    }
}

#[async_trait]
impl MessagingService for Api {
    async fn create_conversation(
        &self,
        request: Request<CreateConversationRequest>,
    ) -> Result<Response<CreateConversationResponse>, Status> {
        let context = Context::of(&request);
        let creator = UserId(context.user()?.id);
        let message = request.into_inner();
        let others = message.member_ids.iter().map(|id| uuid("member_ids", id).map(UserId));
        let others = others.collect::<Result<Vec<_>, _>>()?;
        let new = NewConversation {
            id: ConversationId(self.service.ambient.new_id()),
            creator,
            request_id: uuid("request_id", &message.request_id)?,
            members: NewConversation::everybody(creator, others),
            title: message.title,
            create_time: self.service.ambient.now(),
        };
        // A repeat is answered without asking users: they may be down, or somebody gone since.
        let store = &self.service.store;
        if store.find_by_request(creator, new.request_id).await?.is_none() {
            self.require_active(&context, "member_ids", &new.members).await?;
        }
        let conversation = store.insert(&new, self.service.config.conversations_per_user).await?;
        self.hub.announce(&conversation);
        let cursor = self.cursor(&conversation);
        Ok(Response::new(CreateConversationResponse { conversation: Some(wire::conversation(conversation, cursor)) }))
    }

    async fn send_message(
        &self,
        request: Request<SendMessageRequest>,
    ) -> Result<Response<SendMessageResponse>, Status> {
        let author = UserId(Context::of(&request).user()?.id);
        let message = request.into_inner();
        let new = NewMessage {
            conversation: conversation_id(&message.conversation_id)?,
            author,
            id: self.service.ambient.new_id(),
            client_id: uuid("client_message_id", &message.client_message_id)?,
            text: message.text,
            create_time: self.service.ambient.now(),
        };
        let appended = self.service.store.append(&new).await?;
        if appended.is_new {
            self.hub.reached(new.conversation, appended.entry.seq);
        }
        Ok(Response::new(SendMessageResponse { entry: Some(appended.entry.into()) }))
    }

    async fn list_messages(
        &self,
        request: Request<ListMessagesRequest>,
    ) -> Result<Response<ListMessagesResponse>, Status> {
        let reader = UserId(Context::of(&request).user()?.id);
        let message = request.into_inner();
        let id = conversation_id(&message.conversation_id)?;
        let page = Page::parse(message.page_size, &message.page_token, id).map_err(|_| bad_page_token())?;
        // The position is read before the messages: what comes in between is told twice rather than never.
        let conversation = self.service.store.find(id, reader).await?.ok_or_else(wire::no_conversation)?;
        let (entries, more) = self.read_page(id, page).await?;
        let next_page_token = entries.last().filter(|_| more).map_or(String::new(), Page::token_after);
        let cursor = self.cursor(&conversation);
        Ok(Response::new(ListMessagesResponse {
            entries: entries.into_iter().map(Into::into).collect(),
            next_page_token,
            cursor,
        }))
    }

    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<SubscribeResponse, Status>> + Send>>;

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let context = Context::of(&request);
        let positions = self.positions(&request.get_ref().positions)?;
        let mailbox = self.hub.register(context.user()?)?;
        let subscription = Subscription::new(&self.service, mailbox, &context, positions)?;
        Ok(Response::new(Box::pin(subscription.into_stream())))
    }

    async fn get_conversation(
        &self,
        request: Request<GetConversationRequest>,
    ) -> Result<Response<GetConversationResponse>, Status> {
        let reader = UserId(Context::of(&request).user()?.id);
        let id = conversation_id(&request.get_ref().conversation_id)?;
        let conversation = Some(self.read_conversation(id, reader).await?);
        Ok(Response::new(GetConversationResponse { conversation }))
    }

    async fn list_conversations(
        &self,
        request: Request<ListConversationsRequest>,
    ) -> Result<Response<ListConversationsResponse>, Status> {
        let reader = UserId(Context::of(&request).user()?.id);
        let ListConversationsRequest { page_size, page_token } = request.into_inner();
        let page = Recent::parse(page_size, &page_token).map_err(|_| bad_page_token())?;
        let mut found = self.service.store.list(reader, page).await?;
        // The store was asked for one more than the page holds: it tells whether there is another page.
        let more = found.len() > page.size;
        found.truncate(page.size);
        let next_page_token = found.last().filter(|_| more).map_or(String::new(), Recent::token_after);
        let conversations = found.into_iter().map(|found| self.show(found)).collect();
        Ok(Response::new(ListConversationsResponse { conversations, next_page_token }))
    }

    async fn update_conversation(
        &self,
        request: Request<UpdateConversationRequest>,
    ) -> Result<Response<UpdateConversationResponse>, Status> {
        let actor = UserId(Context::of(&request).user()?.id);
        let message = request.into_inner();
        if let Some(path) = message.update_mask.iter().flat_map(|mask| &mask.paths).find(|path| *path != "title") {
            let message = format!("{path:?} cannot be changed; `title` can");
            return Err(error::invalid_field("update_mask", "FIELD_UNKNOWN", &message));
        }
        let change = self.change(&message.conversation_id, actor, wire::revision(&message.etag)?)?;
        self.tell(change, self.service.store.rename(change, &message.title).await?);
        let conversation = Some(self.read_conversation(change.conversation, actor).await?);
        Ok(Response::new(UpdateConversationResponse { conversation }))
    }

    async fn add_member(&self, request: Request<AddMemberRequest>) -> Result<Response<AddMemberResponse>, Status> {
        let context = Context::of(&request);
        let actor = UserId(context.user()?.id);
        let message = request.into_inner();
        let change = self.change(&message.conversation_id, actor, None)?;
        let person = UserId(uuid("user_id", &message.user_id)?);
        // Strangers learn nothing of people by way of a conversation that is not theirs.
        self.service.store.head(change.conversation, actor).await?.ok_or_else(wire::no_conversation)?;
        self.require_active(&context, "user_id", &[person]).await?;
        let limit = self.service.config.conversations_per_user;
        let changed = self.service.store.add(change, person, limit).await?;
        self.tell(change, changed);
        if let Changed::Now(seq) = changed {
            self.hub.moved(person, seq);
        }
        let conversation = Some(self.read_conversation(change.conversation, actor).await?);
        Ok(Response::new(AddMemberResponse { conversation }))
    }

    async fn remove_member(
        &self,
        request: Request<RemoveMemberRequest>,
    ) -> Result<Response<RemoveMemberResponse>, Status> {
        let actor = UserId(Context::of(&request).user()?.id);
        let message = request.into_inner();
        let change = self.change(&message.conversation_id, actor, None)?;
        let person = UserId(uuid("user_id", &message.user_id)?);
        self.remove(change, person).await?;
        // Who removed themselves sees it no more.
        let found = self.service.store.find(change.conversation, actor).await?;
        Ok(Response::new(RemoveMemberResponse { conversation: found.map(|found| self.show(found)) }))
    }

    async fn leave_conversation(
        &self,
        request: Request<LeaveConversationRequest>,
    ) -> Result<Response<LeaveConversationResponse>, Status> {
        let actor = UserId(Context::of(&request).user()?.id);
        let change = self.change(&request.get_ref().conversation_id, actor, None)?;
        match self.remove(change, actor).await {
            Ok(()) | Err(ChangeError::NotFound) => Ok(Response::new(LeaveConversationResponse {})),
            Err(error) => Err(error.into()),
        }
    }

    async fn get_message(&self, request: Request<GetMessageRequest>) -> Result<Response<GetMessageResponse>, Status> {
        let reader = UserId(Context::of(&request).user()?.id);
        let message = request.into_inner();
        let id = conversation_id(&message.conversation_id)?;
        let entry = Some(self.read_message(id, reader, uuid("message_id", &message.message_id)?).await?);
        Ok(Response::new(GetMessageResponse { entry }))
    }

    async fn edit_message(
        &self,
        request: Request<EditMessageRequest>,
    ) -> Result<Response<EditMessageResponse>, Status> {
        let actor = UserId(Context::of(&request).user()?.id);
        let message = request.into_inner();
        let change = self.change(&message.conversation_id, actor, wire::revision(&message.etag)?)?;
        let id = uuid("message_id", &message.message_id)?;
        self.tell(change, self.service.store.edit(change, id, &message.text).await?);
        let entry = Some(self.read_message(change.conversation, actor, id).await?);
        Ok(Response::new(EditMessageResponse { entry }))
    }

    async fn delete_message(
        &self,
        request: Request<DeleteMessageRequest>,
    ) -> Result<Response<DeleteMessageResponse>, Status> {
        let actor = UserId(Context::of(&request).user()?.id);
        let message = request.into_inner();
        let change = self.change(&message.conversation_id, actor, None)?;
        let id = uuid("message_id", &message.message_id)?;
        self.tell(change, self.service.store.erase(change, id).await?);
        let entry = Some(self.read_message(change.conversation, actor, id).await?);
        Ok(Response::new(DeleteMessageResponse { entry }))
    }

    async fn mark_read(&self, request: Request<MarkReadRequest>) -> Result<Response<MarkReadResponse>, Status> {
        let reader = UserId(Context::of(&request).user()?.id);
        let message = request.into_inner();
        let id = conversation_id(&message.conversation_id)?;
        let read = self.service.store.mark_read(id, reader, message.message_no).await?;
        let (messages, read_no) = read.ok_or_else(wire::no_conversation)?;
        self.hub.read(id, read_no);
        let unread_count = (messages - read_no).max(0);
        Ok(Response::new(MarkReadResponse { unread_count, last_read_message_no: read_no }))
    }

    async fn list_contacts(
        &self,
        request: Request<ListContactsRequest>,
    ) -> Result<Response<ListContactsResponse>, Status> {
        let person = UserId(uuid("user_id", &request.get_ref().user_id)?);
        let contacts = self.service.store.contacts(person, MOST_CONTACTS).await?;
        Ok(Response::new(ListContactsResponse { user_ids: contacts.iter().map(UserId::to_string).collect() }))
    }

    async fn delete_member(
        &self,
        request: Request<DeleteMemberRequest>,
    ) -> Result<Response<DeleteMemberResponse>, Status> {
        let person = UserId(uuid("user_id", &request.get_ref().user_id)?);
        let rooms = self.service.store.heads(person).await?;
        for (conversation, _) in rooms.iter().take(LEFT_AT_ONCE) {
            let change =
                Change { conversation: *conversation, actor: person, revision: None, now: self.service.ambient.now() };
            match self.remove(change, person).await {
                Ok(()) | Err(ChangeError::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Response::new(DeleteMemberResponse { done: rooms.len() <= LEFT_AT_ONCE }))
    }
}

fn bad_page_token() -> Status {
    error::invalid_field("page_token", "PAGE_TOKEN_INVALID", "must be the next_page_token of the same list")
}

/// The contract has checked the form; this makes the type.
fn uuid(field: &str, text: &str) -> Result<Uuid, Status> {
    Uuid::try_parse(text).map_err(|_| error::invalid_field(field, "UUID_INVALID", "must be a UUID"))
}

fn conversation_id(text: &str) -> Result<ConversationId, Status> {
    uuid("conversation_id", text).map(ConversationId)
}

/// Whatever ails users, the caller of messaging can only try again; a token that has just expired is said.
fn users_failed(status: &Status) -> Status {
    if status.code() == Code::Unauthenticated {
        return status.clone();
    }
    tracing::warn!(rpc.code = ?status.code(), error = status.message(), "users did not answer");
    error::unavailable("the users service")
}
