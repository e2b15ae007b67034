//! The methods of admins. The contract names the permission that each needs; the layers below have checked it.

use kit::{error, policy::ADMIN};
use proto::auth::v1::{
    Account as WireAccount, AccountState, EndAccountSessionsRequest, EndAccountSessionsResponse, GrantRoleRequest,
    ListAccountSessionsRequest, ListAccountSessionsResponse, ListAccountsRequest, ListAccountsResponse,
    RevokeRoleRequest,
};
use tonic::{Code, Status};
use uuid::Uuid;

use super::{
    Api,
    sessions::{ConfirmedSession, wrong_page_token},
};
use crate::{
    domain::{
        AccountFilter, AccountId, AccountPage, AccountSummary, AdminCode, Client, EmailAddress, MailKind, NewMail,
        SessionId, State,
    },
    store::{Continued, Removal},
};

impl Api {
    /// Makes the caller's account an admin, with a code of the operator.
    pub(super) async fn claim(&self, caller: ConfirmedSession, code: String) -> Result<Continued, Status> {
        let (account, now) = (caller.account(), self.auth.clock_rng.now());
        let code = AdminCode::from(code);
        let notice = self.role_notice(MailKind::RoleGranted, account, ADMIN);
        if !self.auth.store.claim_admin(account, &code.hash(), notice.as_ref(), now).await? {
            let message = "the code is wrong, was used, or has expired; get a new one with trellis admin invite";
            return Err(error::status(Code::FailedPrecondition, "ADMIN_CODE_INVALID", message));
        }
        tracing::warn!(user.id = %account.0, "an account has claimed the role admin with a code of the operator");
        Ok(caller.continued())
    }

    /// Lists one page of the accounts.
    pub(super) async fn accounts(
        &self,
        _admin: &ConfirmedSession,
        request: ListAccountsRequest,
    ) -> Result<ListAccountsResponse, Status> {
        let state = domain_state(request.state());
        let ListAccountsRequest { page_size, page_token, email, role, .. } = request;
        let email = (!email.is_empty()).then(|| EmailAddress::lookup(&email));
        let filter = AccountFilter { email, state, role: (!role.is_empty()).then_some(role) };
        let page = AccountPage::parse(filter, page_size, &page_token).map_err(|_| wrong_page_token())?;
        let mut found = self.auth.store.list_accounts(&page).await?;
        let has_more = found.len() > page.size;
        found.truncate(page.size);
        let next_page_token = found.last().filter(|_| has_more).map(|last| page.token_after(last.id));
        let accounts = found.into_iter().map(wire).collect();
        Ok(ListAccountsResponse { accounts, next_page_token: next_page_token.unwrap_or_default() })
    }

    /// The account with this id.
    pub(super) async fn account(&self, _admin: &ConfirmedSession, user_id: &str) -> Result<WireAccount, Status> {
        self.found(account_id(user_id)?).await
    }

    /// Lists one page of an account's sessions.
    pub(super) async fn sessions_of_account(
        &self,
        admin: &ConfirmedSession,
        request: ListAccountSessionsRequest,
    ) -> Result<ListAccountSessionsResponse, Status> {
        let ListAccountSessionsRequest { user_id, page_size, page_token } = request;
        let account = account_id(&user_id)?;
        self.found(account).await?;
        let (sessions, next_page_token) = self.page_of_sessions(admin, account, page_size, &page_token).await?;
        Ok(ListAccountSessionsResponse { sessions, next_page_token })
    }

    /// Ends one session of an account, or all.
    pub(super) async fn end_sessions_of_account(
        &self,
        admin: &ConfirmedSession,
        request: EndAccountSessionsRequest,
    ) -> Result<EndAccountSessionsResponse, Status> {
        let account = account_id(&request.user_id)?;
        self.found(account).await?;
        let ended_count = if request.session_id.is_empty() {
            let ended = self.auth.store.revoke_all(account, None, self.auth.clock_rng.now()).await?;
            self.ended_by(admin, account, ended)
        } else {
            self.end_session(account, &request.session_id).await?;
            1
        };
        Ok(EndAccountSessionsResponse { ended_count })
    }

    /// Suspends an account.
    pub(super) async fn suspend(&self, admin: &ConfirmedSession, user_id: &str) -> Result<WireAccount, Status> {
        let account = account_id(user_id)?;
        self.found(account).await?;
        let notice = self.notice(MailKind::AccountSuspended, Client::default()).map(|mail| mail.of(account));
        match self.auth.store.suspend(account, notice.as_ref(), self.auth.clock_rng.now()).await? {
            Removal::Done(ended) => self.ended_by(admin, account, ended),
            Removal::LastAdmin => return Err(last_admin()),
            Removal::Refused => return Err(not_active()),
        };
        self.found(account).await
    }

    /// Restores a suspended account.
    pub(super) async fn restore(&self, _admin: &ConfirmedSession, user_id: &str) -> Result<WireAccount, Status> {
        let account = account_id(user_id)?;
        self.found(account).await?;
        let notice = self.notice(MailKind::AccountRestored, Client::default()).map(|mail| mail.of(account));
        if !self.auth.store.restore(account, notice.as_ref()).await? {
            return Err(not_active());
        }
        self.found(account).await
    }

    /// Grants a role.
    pub(super) async fn grant(
        &self,
        _admin: &ConfirmedSession,
        request: GrantRoleRequest,
    ) -> Result<WireAccount, Status> {
        let (account, role) = (account_id(&request.user_id)?, request.role);
        let own = &self.auth.config.own_roles;
        let mut known = self.roles.names().chain(own.iter().map(String::as_str));
        if !known.any(|known| known == role) {
            let names: Vec<_> = self.roles.names().chain(own.iter().map(String::as_str)).collect();
            let message = format!("must be one of {}; auth.own_roles adds roles", names.join(", "));
            return Err(error::invalid_field("role", "ROLE_UNKNOWN", &message));
        }
        self.found(account).await?;
        let notice = self.role_notice(MailKind::RoleGranted, account, &role);
        if !self.auth.store.grant_role(account, &role, notice.as_ref()).await? {
            return Err(not_active());
        }
        self.found(account).await
    }

    /// Revokes a role. The account's sessions end, so that no access token with the role stays valid.
    pub(super) async fn revoke(
        &self,
        admin: &ConfirmedSession,
        request: RevokeRoleRequest,
    ) -> Result<WireAccount, Status> {
        let account = account_id(&request.user_id)?;
        self.found(account).await?;
        let (notice, now) =
            (self.role_notice(MailKind::RoleRevoked, account, &request.role), self.auth.clock_rng.now());
        match self.auth.store.revoke_role(account, &request.role, notice.as_ref(), now).await? {
            Removal::Done(ended) => self.ended_by(admin, account, ended),
            Removal::LastAdmin | Removal::Refused => return Err(last_admin()),
        };
        self.found(account).await
    }

    /// A notice about a role, which does not reveal the client of the admin.
    fn role_notice(&self, kind: MailKind, account: AccountId, role: &str) -> Option<NewMail> {
        let mut notice = self.notice(kind, Client::default())?.of(account);
        notice.details.role = role.to_owned();
        Some(notice)
    }

    /// Signals and counts the sessions that an admin has ended.
    fn ended_by(&self, _admin: &ConfirmedSession, account: AccountId, ended: Vec<SessionId>) -> i32 {
        tracing::info!(user.id = %account.0, auth.sessions = ended.len(), "an admin has ended the sessions of an account");
        let count = i32::try_from(ended.len()).unwrap_or(i32::MAX);
        self.publish_ended(ended);
        count
    }

    async fn found(&self, account: AccountId) -> Result<WireAccount, Status> {
        let found = self.auth.store.find(account).await?;
        let found = found
            .ok_or_else(|| error::status(Code::NotFound, "ACCOUNT_NOT_FOUND", "there is no account with this id"))?;
        let roles = self.auth.store.list_roles(account).await?;
        let summary = AccountSummary {
            id: found.id,
            email: found.email,
            state: found.state,
            roles,
            create_time: found.create_time,
        };
        Ok(wire(summary))
    }
}

/// The account keeps the role: at least one account must be able to administer the others.
pub(super) fn last_admin() -> Status {
    let message = format!("no other active account has the role {ADMIN}; grant it to another account first");
    error::status(Code::FailedPrecondition, "LAST_ADMIN", message)
}

fn not_active() -> Status {
    let message = "the account is deleted, suspended, or its sign-up is not finished, so that it cannot be changed so";
    error::status(Code::FailedPrecondition, "ACCOUNT_NOT_ACTIVE", message)
}

fn account_id(user_id: &str) -> Result<AccountId, Status> {
    let id = Uuid::try_parse(user_id);
    id.map(AccountId).map_err(|_| error::invalid_field("user_id", "UUID_INVALID", "must be a UUID"))
}

fn wire(account: AccountSummary) -> WireAccount {
    let AccountSummary { id, email, state, roles, create_time } = account;
    // A deleted account has an address that no person has.
    let email = if state == State::Deleted { String::new() } else { email.as_str().to_owned() };
    WireAccount {
        user_id: id.0.to_string(),
        email,
        state: wire_state(state).into(),
        roles,
        create_time: Some(create_time.into()),
    }
}

fn wire_state(state: State) -> AccountState {
    match state {
        State::Pending => AccountState::Pending,
        State::Active => AccountState::Active,
        State::Suspended => AccountState::Suspended,
        State::Deleted => AccountState::Deleted,
    }
}

fn domain_state(state: AccountState) -> Option<State> {
    match state {
        AccountState::Unspecified => None,
        AccountState::Pending => Some(State::Pending),
        AccountState::Active => Some(State::Active),
        AccountState::Suspended => Some(State::Suspended),
        AccountState::Deleted => Some(State::Deleted),
    }
}
