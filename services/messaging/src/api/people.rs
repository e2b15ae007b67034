//! Users' settings and blocks.

use kit::{audit, error};
use proto::messaging::v1::{
    AddRule as WireRule, BlockUserRequest, ListBlockedUsersRequest, ListBlockedUsersResponse, Settings,
    UnblockUserRequest, UpdateSettingsRequest,
};
use tonic::{Code, Status};

use super::{Api, bad_page_token, uuid};
use crate::{
    domain::{AddRule, BlockedPage, UserId},
    store::BlockError,
    wire,
};

impl Api {
    pub(super) async fn settings(&self, user: UserId) -> Result<Settings, Status> {
        let rule = self.service.store.find_rule(user).await?.unwrap_or(self.service.config.add_rule);
        Ok(Settings { add_rule: wire::add_rule(rule).into() })
    }

    pub(super) async fn change_settings(
        &self,
        user: UserId,
        request: UpdateSettingsRequest,
    ) -> Result<Settings, Status> {
        if let Some(path) = request.update_mask.iter().flat_map(|mask| &mask.paths).find(|path| *path != "add_rule") {
            let message = format!("{path:?} cannot be changed; `add_rule` can");
            return Err(error::invalid_field("update_mask", "FIELD_UNKNOWN", &message));
        }
        let rule = match request.settings.unwrap_or_default().add_rule() {
            WireRule::Unspecified => None,
            WireRule::Anyone => Some(AddRule::Anyone),
            WireRule::Contacts => Some(AddRule::Contacts),
            WireRule::NoOne => Some(AddRule::NoOne),
        };
        self.service.store.set_rule(user, rule).await?;
        self.settings(user).await
    }

    /// Blocks a user and declines their undecided invitations and requests. A repeat declines those that arrived since.
    pub(super) async fn block(&self, user: UserId, request: BlockUserRequest) -> Result<(), Status> {
        let other = UserId(uuid("user_id", &request.user_id)?);
        if other == user {
            let message = "user_id: you cannot block yourself";
            return Err(error::status(Code::FailedPrecondition, "SELF_BLOCKED", message));
        }
        let store = &self.service.store;
        let (now, limit) = (self.service.clock_rng.now(), self.service.config.blocked_per_user);
        store.block(user, other, now, limit).await?;
        let pending = store.pending_from(user, other).await?;
        if pending.is_empty() {
            // A block alone changes no membership.
            audit::unchanged();
        }
        for id in pending {
            self.refuse(user, id).await?;
        }
        Ok(())
    }

    pub(super) async fn unblock(&self, user: UserId, request: UnblockUserRequest) -> Result<(), Status> {
        let other = UserId(uuid("user_id", &request.user_id)?);
        Ok(self.service.store.unblock(user, other).await?)
    }

    pub(super) async fn page_of_blocked(
        &self,
        reader: UserId,
        request: ListBlockedUsersRequest,
    ) -> Result<ListBlockedUsersResponse, Status> {
        let page = BlockedPage::parse(request.page_size, &request.page_token).map_err(|_| bad_page_token())?;
        let _turn = self.lists.turn(reader, page.size).await;
        // One more item than the page size shows whether there is another page.
        let mut found = self.service.store.list_blocked(reader, page.after, page.size + 1).await?;
        let more = found.len() > page.size;
        found.truncate(page.size);
        let next_page_token =
            found.last().filter(|_| more).map_or(String::new(), |last| BlockedPage::token_after(*last));
        Ok(ListBlockedUsersResponse { user_ids: found.iter().map(UserId::to_string).collect(), next_page_token })
    }
}

impl From<BlockError> for Status {
    fn from(error: BlockError) -> Self {
        match error {
            BlockError::TooMany => {
                let message = "you have blocked too many users; unblock one first";
                error::status(Code::ResourceExhausted, "TOO_MANY_BLOCKED", message)
            }
            BlockError::Store(error) => error.into(),
        }
    }
}
