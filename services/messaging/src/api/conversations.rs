//! Opens, reads and updates conversations.

use kit::{Context, error, page};
use proto::messaging::v1::{
    AddPolicy as WirePolicy, Conversation as WireConversation, CreateConversationRequest, CreateConversationResponse,
    ListConversationsRequest, ListConversationsResponse, UpdateConversationRequest,
};
use tonic::Status;

use super::{Api, bad_page_token, uuid};
use crate::{
    domain::{AddPolicy, Conversation, ConversationId, Cursor, Details, NewConversation, Recent, UserId},
    wire,
};

impl Api {
    pub(super) async fn open(
        &self,
        context: &Context,
        creator: UserId,
        request: CreateConversationRequest,
    ) -> Result<CreateConversationResponse, Status> {
        let others = request.member_ids.iter().map(|id| uuid("member_ids", id).map(UserId));
        let others = others.collect::<Result<Vec<_>, _>>()?;
        let new = NewConversation {
            id: ConversationId(self.service.clock_rng.new_id()),
            creator,
            request_id: uuid("request_id", &request.request_id)?,
            members: NewConversation::all_members(creator, others),
            title: request.title,
            create_time: self.service.clock_rng.now(),
        };
        // A repeat does not call the users service: it may be down, or a member's account deleted since.
        let store = &self.service.store;
        if store.find_by_request(creator, new.request_id).await?.is_none() {
            self.require_active(context, "member_ids", &new.members).await?;
        }
        let conversation = store.insert(&new, &self.service.config.admission()).await?;
        // A repeat returns the conversation of the first request and changes nothing.
        if conversation.id == new.id {
            self.hub.announce(&new.members, conversation.last_seq);
        }
        let invited = self.invited(&new, &conversation).await?;
        Ok(CreateConversationResponse {
            conversation: Some(self.show(conversation)),
            invited_ids: invited.iter().map(UserId::to_string).collect(),
        })
    }

    /// The users who got an invitation instead of a membership and have not decided yet.
    async fn invited(&self, new: &NewConversation, conversation: &Conversation) -> Result<Vec<UserId>, Status> {
        if usize::try_from(conversation.member_count).is_ok_and(|count| count >= new.members.len()) {
            return Ok(Vec::new());
        }
        let invited = self.service.store.invited(conversation.id, new.creator, new.create_time).await?;
        // A repeat of the request sends no invitations.
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
        request: ListConversationsRequest,
    ) -> Result<ListConversationsResponse, Status> {
        let page = Recent::parse(request.page_size, &request.page_token).map_err(|_| bad_page_token())?;
        let _turn = self.lists.turn(reader, page.size).await;
        // The store returns one more item than the page size if there is another page.
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
        request: UpdateConversationRequest,
    ) -> Result<WireConversation, Status> {
        let change = self.change(&request.conversation_id, actor, wire::revision(&request.etag)?)?;
        self.notify(change, self.service.store.update(change, &details(&request)?).await?);
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

/// The details that a request changes, according to its mask.
fn details(request: &UpdateConversationRequest) -> Result<Details, Status> {
    let add_policy = match request.add_policy() {
        WirePolicy::Unspecified => None,
        WirePolicy::AllMembers => Some(AddPolicy::AllMembers),
        WirePolicy::OwnerOnly => Some(AddPolicy::OwnerOnly),
    };
    let paths = request.update_mask.as_ref().map_or(&[][..], |mask| &mask.paths);
    if paths.is_empty() {
        return Ok(Details { title: Some(request.title.clone()), add_policy });
    }
    let mut details = Details::default();
    for path in paths {
        match path.as_str() {
            "title" => details.title = Some(request.title.clone()),
            "add_policy" if add_policy.is_some() => details.add_policy = add_policy,
            "add_policy" => {
                let message = "must be set when update_mask contains it";
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
