//! The gRPC face: messages to domain types, one question to the store, domain types to messages.

pub(crate) mod wire;

use std::{collections::HashMap, pin::Pin, sync::Arc};

use futures_util::Stream;
use kit::{Context, error};
use proto::messaging::v1::{
    AddMemberRequest, AddMemberResponse, DeleteMemberRequest, DeleteMemberResponse, DeleteMessageRequest,
    DeleteMessageResponse, EditMessageRequest, EditMessageResponse, GetConversationRequest, GetConversationResponse,
    GetMessageRequest, GetMessageResponse, LeaveConversationRequest, LeaveConversationResponse, ListContactsRequest,
    ListContactsResponse, ListConversationsRequest, ListConversationsResponse, MarkReadRequest, MarkReadResponse,
    RemoveMemberRequest, RemoveMemberResponse, UpdateConversationRequest, UpdateConversationResponse,
};
use proto::{
    messaging::v1::{
        CreateConversationRequest, CreateConversationResponse, ListMessagesRequest, ListMessagesResponse, Position,
        SendMessageRequest, SendMessageResponse, SubscribeRequest, SubscribeResponse,
        messaging_service_server::MessagingService,
    },
    users::v1::{BatchGetUsersRequest, users_service_client::UsersServiceClient},
};
use tonic::{Code, Request, Response, Status, async_trait};
use uuid::Uuid;

use crate::{
    Messaging,
    delivery::{Hub, Subscription},
    domain::{Body, Conversation, ConversationId, Cursor, Entry, NewConversation, NewMessage, Page, UserId},
};

/// How many messages are read from the store at once for one page: with texts of 16 KiB that is 2 MiB.
const CHUNK: usize = 128;

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
    async fn require_active(&self, context: &Context, people: &[UserId]) -> Result<(), Status> {
        let user_ids: Vec<String> = people.iter().map(UserId::to_string).collect();
        let asked = user_ids.len();
        let request = context.request(BatchGetUsersRequest { user_ids }, self.service.config.users_timeout.0);
        let answer = UsersServiceClient::new(self.service.users.clone()).batch_get_users(request).await;
        let found = answer.map_err(|status| users_failed(&status))?.into_inner().users.len();
        if found == asked {
            return Ok(());
        }
        let message = "somebody named in member_ids does not exist or is not active";
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
            self.require_active(&context, &new.members).await?;
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
        let page = Page::parse(message.page_size, &message.page_token, id).map_err(|_| {
            error::invalid_field("page_token", "PAGE_TOKEN_INVALID", "must be the next_page_token of the same list")
        })?;
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
        _request: Request<GetConversationRequest>,
    ) -> Result<Response<GetConversationResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn list_conversations(
        &self,
        _request: Request<ListConversationsRequest>,
    ) -> Result<Response<ListConversationsResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn update_conversation(
        &self,
        _request: Request<UpdateConversationRequest>,
    ) -> Result<Response<UpdateConversationResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn add_member(&self, _request: Request<AddMemberRequest>) -> Result<Response<AddMemberResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn remove_member(
        &self,
        _request: Request<RemoveMemberRequest>,
    ) -> Result<Response<RemoveMemberResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn leave_conversation(
        &self,
        _request: Request<LeaveConversationRequest>,
    ) -> Result<Response<LeaveConversationResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn get_message(&self, _request: Request<GetMessageRequest>) -> Result<Response<GetMessageResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn edit_message(
        &self,
        _request: Request<EditMessageRequest>,
    ) -> Result<Response<EditMessageResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn delete_message(
        &self,
        _request: Request<DeleteMessageRequest>,
    ) -> Result<Response<DeleteMessageResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn mark_read(&self, _request: Request<MarkReadRequest>) -> Result<Response<MarkReadResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn list_contacts(
        &self,
        _request: Request<ListContactsRequest>,
    ) -> Result<Response<ListContactsResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn delete_member(
        &self,
        _request: Request<DeleteMemberRequest>,
    ) -> Result<Response<DeleteMemberResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }
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
