//! The gRPC methods: convert requests to domain types, call the store, convert domain types to responses. The steps of
//! each method are in the module of its subject.

mod conversations;
mod invitations;
mod lists;
mod members;
mod messages;
mod people;

use std::{collections::HashMap, pin::Pin, sync::Arc};

use futures_util::Stream;
use kit::{Context, context::FromContext, error, extract, page, principal::UserSession};
use kit_data::audit::EventPage;
use proto::messaging::v1::{
    AcceptInvitationRequest, AcceptInvitationResponse, AddMemberRequest, AddMemberResponse, BlockUserRequest,
    BlockUserResponse, CreateConversationRequest, CreateConversationResponse, DeclineInvitationRequest,
    DeclineInvitationResponse, DeleteMemberRequest, DeleteMemberResponse, DeleteMessageRequest, DeleteMessageResponse,
    EditMessageRequest, EditMessageResponse, GetConversationRequest, GetConversationResponse, GetMessageRequest,
    GetMessageResponse, GetSettingsRequest, GetSettingsResponse, LeaveConversationRequest, LeaveConversationResponse,
    ListAuditEventsRequest, ListAuditEventsResponse, ListBlockedUsersRequest, ListBlockedUsersResponse,
    ListContactsRequest, ListContactsResponse, ListConversationsRequest, ListConversationsResponse,
    ListInvitationsRequest, ListInvitationsResponse, ListMembersRequest, ListMembersResponse, ListMessagesRequest,
    ListMessagesResponse, MarkReadRequest, MarkReadResponse, Position, RemoveMemberRequest, RemoveMemberResponse,
    SendMessageRequest, SendMessageResponse, SubscribeRequest, SubscribeResponse, UnblockUserRequest,
    UnblockUserResponse, UpdateConversationRequest, UpdateConversationResponse, UpdateSettingsRequest,
    UpdateSettingsResponse, messaging_service_server::MessagingService,
};
use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use crate::{
    Messaging,
    delivery::{Hub, Subscription},
    domain::{Change, ConversationId, Cursor, UserId},
    store::Changed,
    wire,
};
use lists::Lists;

pub(crate) struct Api {
    service: Messaging,
    hub: Arc<Hub>,
    lists: Lists,
    /// The maximum bytes of one page's items, so that the page fits into one message.
    page_bytes: usize,
}

impl Api {
    pub(crate) fn new(service: Messaging, hub: Arc<Hub>, message_bytes: usize) -> Self {
        let lists = Lists::new(service.config.listed_rows_per_user, service.store.readers());
        Self { service, hub, lists, page_bytes: page::budget(message_bytes) }
    }

    fn change(&self, conversation: &str, actor: UserId, revision: Option<i64>) -> Result<Change, Status> {
        let conversation = conversation_id(conversation)?;
        Ok(Change { conversation, actor, revision, now: self.service.clock_rng.now() })
    }

    /// Wakes the streams of a conversation that has changed.
    fn notify(&self, change: Change, changed: Changed) {
        if let Changed::Now(seq) = changed {
            self.hub.reached(change.conversation, seq);
        }
    }

    fn positions(&self, request: &SubscribeRequest) -> Result<HashMap<ConversationId, i64>, Status> {
        let epoch = self.service.store.epoch();
        let read = |(i, position): (usize, &Position)| {
            let id = conversation_id(&position.conversation_id)?;
            let cursor = Cursor::decode(&position.cursor, id, epoch);
            let cursor = cursor.map_err(|bad| wire::bad_cursor(&format!("positions[{i}].cursor"), &bad))?;
            Ok((id, cursor.seq))
        };
        let mut positions: HashMap<_, _> =
            request.positions.iter().enumerate().map(read).collect::<Result<_, Status>>()?;
        if !request.resume_cursor.is_empty() {
            let cursor = Cursor::decode_any(&request.resume_cursor, epoch);
            let cursor = cursor.map_err(|bad| wire::bad_cursor("resume_cursor", &bad))?;
            positions.insert(cursor.conversation, cursor.seq);
        }
        Ok(positions)
    }
}

#[async_trait]
impl MessagingService for Api {
    async fn create_conversation(
        &self,
        request: Request<CreateConversationRequest>,
    ) -> Result<Response<CreateConversationResponse>, Status> {
        let ((context, creator), request) = extract::<(Context, UserId), _>(request)?;
        Ok(Response::new(self.open(&context, creator, request).await?))
    }

    async fn get_conversation(
        &self,
        request: Request<GetConversationRequest>,
    ) -> Result<Response<GetConversationResponse>, Status> {
        let (reader, request) = extract(request)?;
        let id = conversation_id(&request.conversation_id)?;
        let conversation = Some(self.read_conversation(id, reader).await?);
        Ok(Response::new(GetConversationResponse { conversation }))
    }

    async fn list_conversations(
        &self,
        request: Request<ListConversationsRequest>,
    ) -> Result<Response<ListConversationsResponse>, Status> {
        let (reader, request) = extract(request)?;
        Ok(Response::new(self.page_of_conversations(reader, request).await?))
    }

    async fn update_conversation(
        &self,
        request: Request<UpdateConversationRequest>,
    ) -> Result<Response<UpdateConversationResponse>, Status> {
        let (actor, request) = extract(request)?;
        let conversation = Some(self.update(actor, request).await?);
        Ok(Response::new(UpdateConversationResponse { conversation }))
    }

    async fn list_members(
        &self,
        request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersResponse>, Status> {
        let (reader, request) = extract(request)?;
        Ok(Response::new(self.page_of_members(reader, request).await?))
    }

    async fn add_member(&self, request: Request<AddMemberRequest>) -> Result<Response<AddMemberResponse>, Status> {
        let ((context, actor), request) = extract::<(Context, UserId), _>(request)?;
        Ok(Response::new(self.admit(&context, actor, request).await?))
    }

    async fn remove_member(
        &self,
        request: Request<RemoveMemberRequest>,
    ) -> Result<Response<RemoveMemberResponse>, Status> {
        let (actor, request) = extract(request)?;
        Ok(Response::new(RemoveMemberResponse { conversation: self.dismiss(actor, request).await? }))
    }

    async fn leave_conversation(
        &self,
        request: Request<LeaveConversationRequest>,
    ) -> Result<Response<LeaveConversationResponse>, Status> {
        let (actor, request) = extract(request)?;
        self.leave(self.change(&request.conversation_id, actor, None)?).await?;
        Ok(Response::new(LeaveConversationResponse {}))
    }

    async fn list_invitations(
        &self,
        request: Request<ListInvitationsRequest>,
    ) -> Result<Response<ListInvitationsResponse>, Status> {
        let (reader, request) = extract(request)?;
        Ok(Response::new(self.page_of_invitations(reader, request).await?))
    }

    async fn accept_invitation(
        &self,
        request: Request<AcceptInvitationRequest>,
    ) -> Result<Response<AcceptInvitationResponse>, Status> {
        let (actor, request) = extract(request)?;
        Ok(Response::new(AcceptInvitationResponse { conversation: Some(self.accept(actor, request).await?) }))
    }

    async fn decline_invitation(
        &self,
        request: Request<DeclineInvitationRequest>,
    ) -> Result<Response<DeclineInvitationResponse>, Status> {
        let (actor, request) = extract(request)?;
        self.decline(actor, request).await?;
        Ok(Response::new(DeclineInvitationResponse {}))
    }

    async fn block_user(&self, request: Request<BlockUserRequest>) -> Result<Response<BlockUserResponse>, Status> {
        let (user, request) = extract(request)?;
        self.block(user, request).await?;
        Ok(Response::new(BlockUserResponse {}))
    }

    async fn unblock_user(
        &self,
        request: Request<UnblockUserRequest>,
    ) -> Result<Response<UnblockUserResponse>, Status> {
        let (user, request) = extract(request)?;
        self.unblock(user, request).await?;
        Ok(Response::new(UnblockUserResponse {}))
    }

    async fn list_blocked_users(
        &self,
        request: Request<ListBlockedUsersRequest>,
    ) -> Result<Response<ListBlockedUsersResponse>, Status> {
        let (reader, request) = extract(request)?;
        Ok(Response::new(self.page_of_blocked(reader, request).await?))
    }

    async fn get_settings(
        &self,
        request: Request<GetSettingsRequest>,
    ) -> Result<Response<GetSettingsResponse>, Status> {
        let (user, _) = extract(request)?;
        Ok(Response::new(GetSettingsResponse { settings: Some(self.settings(user).await?) }))
    }

    async fn update_settings(
        &self,
        request: Request<UpdateSettingsRequest>,
    ) -> Result<Response<UpdateSettingsResponse>, Status> {
        let (user, request) = extract(request)?;
        Ok(Response::new(UpdateSettingsResponse { settings: Some(self.change_settings(user, request).await?) }))
    }

    async fn list_contacts(
        &self,
        request: Request<ListContactsRequest>,
    ) -> Result<Response<ListContactsResponse>, Status> {
        let person = UserId(uuid("user_id", &request.get_ref().user_id)?);
        Ok(Response::new(ListContactsResponse { user_ids: self.contacts(person).await? }))
    }

    async fn delete_member(
        &self,
        request: Request<DeleteMemberRequest>,
    ) -> Result<Response<DeleteMemberResponse>, Status> {
        let person = UserId(uuid("user_id", &request.get_ref().user_id)?);
        Ok(Response::new(DeleteMemberResponse { done: self.leave_some(person).await? }))
    }

    async fn list_audit_events(
        &self,
        request: Request<ListAuditEventsRequest>,
    ) -> Result<Response<ListAuditEventsResponse>, Status> {
        let ListAuditEventsRequest { page_size, page_token, filter, oldest_first, shows_personal } =
            request.into_inner();
        let page = EventPage::parse(&filter, oldest_first, page_size, &page_token)?;
        let audit_events = self.service.store.audit().events(&page, shows_personal).await?;
        Ok(Response::new(ListAuditEventsResponse { audit_events }))
    }

    async fn send_message(
        &self,
        request: Request<SendMessageRequest>,
    ) -> Result<Response<SendMessageResponse>, Status> {
        let (author, request) = extract(request)?;
        let entry = Some(self.send(author, request).await?);
        Ok(Response::new(SendMessageResponse { entry }))
    }

    async fn list_messages(
        &self,
        request: Request<ListMessagesRequest>,
    ) -> Result<Response<ListMessagesResponse>, Status> {
        let (reader, request) = extract(request)?;
        Ok(Response::new(self.page_of_messages(reader, request).await?))
    }

    async fn get_message(&self, request: Request<GetMessageRequest>) -> Result<Response<GetMessageResponse>, Status> {
        let (reader, request) = extract(request)?;
        let id = conversation_id(&request.conversation_id)?;
        let entry = Some(self.read_message(id, reader, uuid("message_id", &request.message_id)?).await?);
        Ok(Response::new(GetMessageResponse { entry }))
    }

    async fn edit_message(
        &self,
        request: Request<EditMessageRequest>,
    ) -> Result<Response<EditMessageResponse>, Status> {
        let (actor, request) = extract(request)?;
        let entry = Some(self.edit(actor, request).await?);
        Ok(Response::new(EditMessageResponse { entry }))
    }

    async fn delete_message(
        &self,
        request: Request<DeleteMessageRequest>,
    ) -> Result<Response<DeleteMessageResponse>, Status> {
        let (actor, request) = extract(request)?;
        let entry = Some(self.erase(actor, request).await?);
        Ok(Response::new(DeleteMessageResponse { entry }))
    }

    async fn mark_read(&self, request: Request<MarkReadRequest>) -> Result<Response<MarkReadResponse>, Status> {
        let (reader, request) = extract(request)?;
        Ok(Response::new(self.mark(reader, request).await?))
    }

    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<SubscribeResponse, Status>> + Send>>;

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let ((context, session), request) = extract::<(Context, Arc<UserSession>), _>(request)?;
        let positions = self.positions(&request)?;
        let mailbox = self.hub.admit(&session).await?;
        let subscription = Subscription::new(&self.service, mailbox, &session, context.deadline, positions);
        Ok(Response::new(Box::pin(subscription.into_stream())))
    }
}

/// The user for whom the call is made.
impl FromContext for UserId {
    fn from_context(context: &Context) -> Result<Self, Status> {
        context.user().map(Self)
    }
}

fn bad_page_token() -> Status {
    error::invalid_field("page_token", "PAGE_TOKEN_INVALID", "must be the next_page_token of the same list")
}

/// Parses a UUID whose form the contract has checked.
fn uuid(field: &str, text: &str) -> Result<Uuid, Status> {
    Uuid::try_parse(text).map_err(|_| error::invalid_field(field, "UUID_INVALID", "must be a UUID"))
}

fn conversation_id(text: &str) -> Result<ConversationId, Status> {
    uuid("conversation_id", text).map(ConversationId)
}
