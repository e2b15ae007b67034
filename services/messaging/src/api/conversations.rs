//! Conversations: opened, read, renamed.

use kit::{Context, error, page};
use proto::messaging::v1::{
    AddPolicy as WirePolicy, Conversation as WireConversation, CreateConversationRequest, CreateConversationResponse,
    ListConversationsRequest, ListConversationsResponse, UpdateConversationRequest,
};
use tonic::Status;

use super::{Api, bad_page_token, uuid, wire};
use crate::domain::{AddPolicy, Conversation, ConversationId, Cursor, Details, NewConversation, Recent, UserId};

impl Api {
    pub(super) async fn open(
        &self,
        context: &Context,
        asked: CreateConversationRequest,
    ) -> Result<CreateConversationResponse, Status> {
        let creator = UserId(context.user()?.id);
        let others = asked.member_ids.iter().map(|id| uuid("member_ids", id).map(UserId));
        let others = others.collect::<Result<Vec<_>, _>>()?;
        let new = NewConversation {
            id: ConversationId(self.service.clock_rng.new_id()),
            creator,
            request_id: uuid("request_id", &asked.request_id)?,
            members: NewConversation::everybody(creator, others),
            title: asked.title,
            create_time: self.service.clock_rng.now(),
        };
        // A repeat is answered without asking users: they may be down, or somebody gone since.
        let store = &self.service.store;
        if store.find_by_request(creator, new.request_id).await?.is_none() {
            self.require_active(context, "member_ids", &new.members).await?;
        }
        let conversation = store.insert(&new, &self.service.config.admission()).await?;
        // A repeat returns the conversation of the first request, and changes nothing.
        if conversation.id == new.id {
            self.hub.announce(&new.members, conversation.last_seq);
        }
        let invited = self.invited(&new, &conversation).await?;
        Ok(CreateConversationResponse {
            conversation: Some(self.show(conversation)),
            invited_ids: invited.iter().map(UserId::to_string).collect(),
        })
    }

    /// The users who have an invitation instead of being a member, and have not decided yet.
    async fn invited(&self, new: &NewConversation, conversation: &Conversation) -> Result<Vec<UserId>, Status> {
        if usize::try_from(conversation.member_count).is_ok_and(|count| count >= new.members.len()) {
            return Ok(Vec::new());
        }
        let invited = self.service.store.invited(conversation.id, new.creator, new.create_time).await?;
        // A repeat of the request has invited nobody.
        if conversation.id == new.id {
            for user in &invited {
                self.hub.invited(*user);
            }
        }
        Ok(invited)
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

    pub(super) async fn update(
        &self,
        actor: UserId,
        asked: UpdateConversationRequest,
    ) -> Result<WireConversation, Status> {
        let change = self.change(&asked.conversation_id, actor, wire::revision(&asked.etag)?)?;
        self.tell(change, self.service.store.update(change, &details(&asked)?).await?);
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

/// What a request changes, by its mask.
fn details(asked: &UpdateConversationRequest) -> Result<Details, Status> {
    let add_policy = match asked.add_policy() {
        WirePolicy::Unspecified => None,
        WirePolicy::AllMembers => Some(AddPolicy::AllMembers),
        WirePolicy::OwnerOnly => Some(AddPolicy::OwnerOnly),
    };
    let paths = asked.update_mask.as_ref().map_or(&[][..], |mask| &mask.paths);
    if paths.is_empty() {
        return Ok(Details { title: Some(asked.title.clone()), add_policy });
    }
    let mut details = Details::default();
    for path in paths {
        match path.as_str() {
            "title" => details.title = Some(asked.title.clone()),
            "add_policy" if add_policy.is_some() => details.add_policy = add_policy,
            "add_policy" => {
                let message = "must say which members may add others";
                return Err(error::invalid_field("add_policy", "ADD_POLICY_REQUIRED", message));
            }
            _ => {
                let message = format!("{path:?} cannot be changed; `title` and `add_policy` can");
                return Err(error::invalid_field("update_mask", "FIELD_UNKNOWN", &message));
            }
        }
    }
    Ok(details)
}
