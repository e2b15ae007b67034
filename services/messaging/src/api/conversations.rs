//! Conversations: opened, read, renamed.

use kit::{Context, error, page};
use proto::messaging::v1::{
    Conversation as WireConversation, CreateConversationRequest, ListConversationsRequest, ListConversationsResponse,
    UpdateConversationRequest,
};
use tonic::Status;

use super::{Api, bad_page_token, uuid, wire};
use crate::domain::{Conversation, ConversationId, Cursor, NewConversation, Recent, UserId};

impl Api {
    pub(super) async fn open(
        &self,
        context: &Context,
        asked: CreateConversationRequest,
    ) -> Result<WireConversation, Status> {
        let creator = UserId(context.user()?.id);
        let others = asked.member_ids.iter().map(|id| uuid("member_ids", id).map(UserId));
        let others = others.collect::<Result<Vec<_>, _>>()?;
        let new = NewConversation {
            id: ConversationId(self.service.ambient.new_id()),
            creator,
            request_id: uuid("request_id", &asked.request_id)?,
            members: NewConversation::everybody(creator, others),
            title: asked.title,
            create_time: self.service.ambient.now(),
        };
        // A repeat is answered without asking users: they may be down, or somebody gone since.
        let store = &self.service.store;
        if store.find_by_request(creator, new.request_id).await?.is_none() {
            self.require_active(context, "member_ids", &new.members).await?;
        }
        let conversation = store.insert(&new, self.service.config.conversations_per_user).await?;
        self.hub.announce(&new.members, conversation.last_seq);
        Ok(self.show(conversation))
    }

    pub(super) async fn read_conversation(
        &self,
        id: ConversationId,
        reader: UserId,
    ) -> Result<WireConversation, Status> {
        let found = self.service.store.find(id, reader).await?.ok_or_else(wire::no_conversation)?;
        Ok(self.show(found))
    }

    pub(super) async fn page_of_conversations(
        &self,
        reader: UserId,
        asked: ListConversationsRequest,
    ) -> Result<ListConversationsResponse, Status> {
        let page = Recent::parse(asked.page_size, &asked.page_token).map_err(|_| bad_page_token())?;
        let _turn = self.lists.turn(reader, page.size).await;
        // The store is asked for one more than the page holds: it tells whether there is another page.
        let found = self.service.store.list(reader, page).await?;
        let mut conversations: Vec<_> = found.iter().map(|found| self.show(found.clone())).collect();
        conversations.truncate(page::fitting(&conversations, self.page_bytes).min(page.size));
        let more = found.len() > conversations.len();
        let last = conversations.len().checked_sub(1).filter(|_| more).and_then(|last| found.get(last));
        let next_page_token = last.map_or(String::new(), Recent::token_after);
        Ok(ListConversationsResponse { conversations, next_page_token })
    }

    pub(super) async fn rename(
        &self,
        actor: UserId,
        asked: UpdateConversationRequest,
    ) -> Result<WireConversation, Status> {
        if let Some(path) = asked.update_mask.iter().flat_map(|mask| &mask.paths).find(|path| *path != "title") {
            let message = format!("{path:?} cannot be changed; `title` can");
            return Err(error::invalid_field("update_mask", "FIELD_UNKNOWN", &message));
        }
        let change = self.change(&asked.conversation_id, actor, wire::revision(&asked.etag)?)?;
        self.tell(change, self.service.store.rename(change, &asked.title).await?);
        self.read_conversation(change.conversation, actor).await
    }

    /// The position after the entry `seq` of `conversation`.
    pub(super) fn cursor(&self, conversation: ConversationId, seq: i64) -> String {
        Cursor { epoch: self.service.store.epoch(), conversation, seq }.encode()
    }

    pub(super) fn show(&self, conversation: Conversation) -> WireConversation {
        let cursor = self.cursor(conversation.id, conversation.last_seq);
        wire::conversation(conversation, cursor)
    }
}
