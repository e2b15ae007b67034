//! Lists, accepts and declines invitations and requests.

use kit::page;
use proto::messaging::v1::{
    AcceptInvitationRequest, Conversation as WireConversation, DeclineInvitationRequest, ListInvitationsRequest,
    ListInvitationsResponse,
};
use tonic::Status;

use super::{Api, bad_page_token, conversation_id};
use crate::{
    domain::{Recent, UserId},
    wire,
};

impl Api {
    pub(super) async fn page_of_invitations(
        &self,
        reader: UserId,
        request: ListInvitationsRequest,
    ) -> Result<ListInvitationsResponse, Status> {
        let page = Recent::parse(request.page_size, &request.page_token).map_err(|_| bad_page_token())?;
        let _turn = self.lists.turn(reader, page.size).await;
        let found = self.service.store.list_invitations(reader, page, self.service.clock_rng.now()).await?;
        let mut invitations: Vec<_> = found.iter().map(wire::invitation).collect();
        invitations.truncate(page::fitting(&invitations, self.page_bytes).min(page.size));
        let more = found.len() > invitations.len();
        let last = invitations.len().checked_sub(1).filter(|_| more).and_then(|last| found.get(last));
        let next_page_token =
            last.map_or(String::new(), |last| Recent::token_past(last.create_time, last.conversation));
        Ok(ListInvitationsResponse { invitations, next_page_token })
    }

    pub(super) async fn accept(
        &self,
        actor: UserId,
        request: AcceptInvitationRequest,
    ) -> Result<WireConversation, Status> {
        let change = self.change(&request.conversation_id, actor, None)?;
        let changed = self.service.store.accept(change, &self.service.config.admission()).await?;
        self.notify_moved(change, actor, changed);
        self.read_conversation(change.conversation, actor).await
    }

    pub(super) async fn decline(&self, actor: UserId, request: DeclineInvitationRequest) -> Result<(), Status> {
        let id = conversation_id(&request.conversation_id)?;
        self.refuse(actor, id).await
    }

    /// Declines an invitation to the conversation, or leaves it if it is a request.
    pub(super) async fn refuse(&self, actor: UserId, id: crate::domain::ConversationId) -> Result<(), Status> {
        let change = self.change(&id.to_string(), actor, None)?;
        self.service.store.decline(change).await?;
        if self.service.store.is_request(id, actor).await? {
            self.leave(change).await?;
        }
        Ok(())
    }
}
