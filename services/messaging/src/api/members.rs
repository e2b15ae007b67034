//! Adds, lists and removes members.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use kit::{Context, audit, error, page};
use proto::{
    messaging::v1::{
        AddMemberRequest, AddMemberResponse, Conversation as WireConversation, ListMembersRequest, ListMembersResponse,
        RemoveMemberRequest,
    },
    users::v1::{BatchGetUsersRequest, users_service_client::UsersServiceClient},
};
use tonic::{Code, Status};

use super::{Api, bad_page_token, conversation_id, uuid};
use crate::{
    domain::{Change, MOST_CONTACTS, MembersPage, UserId},
    store::{ChangeError, Changed},
    wire,
};

/// How many conversations a deleted account leaves in one call. Each takes a transaction, and the call has a deadline.
const LEFT_AT_ONCE: usize = 100;
/// The maximum number of ids in one `BatchGetUsers` call, by the contract of users.
const BATCH: usize = 100;
/// How many such calls run concurrently.
const BATCHES_AT_ONCE: usize = 4;

impl Api {
    pub(super) async fn admit(
        &self,
        context: &Context,
        actor: UserId,
        request: AddMemberRequest,
    ) -> Result<AddMemberResponse, Status> {
        let change = self.change(&request.conversation_id, actor, None)?;
        let person = UserId(uuid("user_id", &request.user_id)?);
        // A caller who is not a member must not learn whether the user exists.
        self.service.store.head(change.conversation, actor).await?.ok_or_else(wire::no_conversation)?;
        self.require_active(context, "user_id", &[person]).await?;
        let changed = self.service.store.add(change, person, &self.service.config.admission()).await?;
        self.notify_moved(change, person, changed);
        let invited = changed == Changed::Invited;
        if invited {
            self.hub.invited(person);
        }
        let conversation = Some(self.read_conversation(change.conversation, actor).await?);
        Ok(AddMemberResponse { conversation, invited })
    }

    pub(super) async fn page_of_members(
        &self,
        reader: UserId,
        request: ListMembersRequest,
    ) -> Result<ListMembersResponse, Status> {
        let id = conversation_id(&request.conversation_id)?;
        let page = MembersPage::parse(request.page_size, &request.page_token, id).map_err(|_| bad_page_token())?;
        let _turn = self.lists.turn(reader, page.size).await;
        let found = self.service.store.list_members(id, reader, page).await?;
        if found.is_empty() {
            // The page is past the last member, or the reader is not a member.
            self.service.store.head(id, reader).await?.ok_or_else(wire::no_conversation)?;
        }
        let mut members: Vec<_> = found.iter().map(wire::member).collect();
        members.truncate(page::fitting(&members, self.page_bytes).min(page.size));
        let more = found.len() > members.len();
        let last = members.len().checked_sub(1).filter(|_| more).and_then(|last| found.get(last));
        let next_page_token = last.map_or(String::new(), |last| MembersPage::token_after(id, last));
        Ok(ListMembersResponse { members, next_page_token })
    }

    /// Removes a member. Returns no conversation if the actor removed themselves.
    pub(super) async fn dismiss(
        &self,
        actor: UserId,
        request: RemoveMemberRequest,
    ) -> Result<Option<WireConversation>, Status> {
        let change = self.change(&request.conversation_id, actor, None)?;
        let person = UserId(uuid("user_id", &request.user_id)?);
        self.remove(change, person).await?;
        let found = self.service.store.find(change.conversation, actor).await?;
        Ok(found.map(|found| self.show(found)))
    }

    /// Removes the actor. Succeeds if the actor is no longer a member.
    pub(super) async fn leave(&self, change: Change) -> Result<(), Status> {
        match self.remove(change, change.actor).await {
            Ok(()) => Ok(()),
            Err(ChangeError::NotFound) => {
                audit::unchanged();
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Bars `person`, whose account is deleted, from further additions and removes them from up to [`LEFT_AT_ONCE`]
    /// conversations. Returns whether those were the last.
    pub(super) async fn leave_some(&self, person: UserId) -> Result<bool, Status> {
        // The bar comes first: the next statement then finds all additions.
        self.service.store.bar(person, self.service.clock_rng.now()).await?;
        let rooms = self.service.store.heads(person).await?;
        for (conversation, _) in rooms.iter().take(LEFT_AT_ONCE) {
            let now = self.service.clock_rng.now();
            self.leave(Change { conversation: *conversation, actor: person, revision: None, now }).await?;
        }
        let done = rooms.len() <= LEFT_AT_ONCE;
        if done {
            self.service.store.forget_user(person).await?;
        }
        Ok(done)
    }

    pub(super) async fn contacts(&self, person: UserId) -> Result<Vec<String>, Status> {
        let _turn = self.lists.turn(person, MOST_CONTACTS as usize).await;
        let contacts = self.service.store.contacts(person, MOST_CONTACTS).await?;
        Ok(contacts.iter().map(UserId::to_string).collect())
    }

    /// Fails if one of the users does not exist or is not active.
    pub(super) async fn require_active(&self, context: &Context, field: &str, people: &[UserId]) -> Result<(), Status> {
        let ids = |batch: &[UserId]| batch.iter().map(UserId::to_string).collect::<Vec<_>>();
        let batches: Vec<Vec<String>> = people.chunks(BATCH).map(ids).collect();
        let counts = stream::iter(batches).map(|ids| self.count_active(context, ids)).buffered(BATCHES_AT_ONCE);
        let counts: Vec<usize> = counts.try_collect().await?;
        if counts.iter().sum::<usize>() == people.len() {
            return Ok(());
        }
        Err(wire::member_unknown(field))
    }

    /// How many of the users exist and are active.
    async fn count_active(&self, context: &Context, user_ids: Vec<String>) -> Result<usize, Status> {
        let request = context.request(BatchGetUsersRequest { user_ids }, self.service.config.users_timeout.0);
        let response = UsersServiceClient::new(self.service.users.clone()).batch_get_users(request).await;
        match response {
            Ok(response) => Ok(response.into_inner().users.len()),
            // The caller's token has expired on the way.
            Err(status) if status.code() == Code::Unauthenticated => Err(status),
            Err(status) => Err(error::from_service("the users service", &status)),
        }
    }

    async fn remove(&self, change: Change, person: UserId) -> Result<(), ChangeError> {
        let changed = self.service.store.remove(change, person).await?;
        self.notify_moved(change, person, changed);
        Ok(())
    }

    /// Wakes the streams of the conversation and those of the user who joined or left.
    pub(super) fn notify_moved(&self, change: Change, person: UserId, changed: Changed) {
        self.notify(change, changed);
        if let Changed::Now(seq) = changed {
            self.hub.moved(person, seq);
        }
    }
}
