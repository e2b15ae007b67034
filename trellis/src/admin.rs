//! `trellis admin`: makes the first admin, and administers accounts over the API, as an admin.

mod client;
mod credential;
mod output;

use auth::domain::AdminCode;
use kit::ClockAndRng;
use proto::{
    audit::v1::AuditEvent,
    auth::v1::{
        Account, AccountState, EndAccountSessionsRequest, GrantRoleRequest, ListAccountSessionsRequest,
        ListAccountsRequest, ListAuditEventsRequest, RequestPasswordResetRequest, RestoreAccountRequest,
        RevokeRoleRequest, Session, SuspendAccountRequest,
    },
};
use tonic::Status;
use uuid::Uuid;

use crate::{
    cli::{self, AdminCaller},
    config::Config,
    explain::GatewayUrl,
    first_admin,
    services::Service,
    stores,
};
use client::{AdminClient, PAGE, page_size, refusal};
use output::Output;

/// Runs the command and returns its output.
pub(crate) async fn run(config: &Config, caller: &AdminCaller, command: cli::Admin) -> Result<String, String> {
    if let cli::Admin::Invite { page } = &command {
        return invite(config, page.as_deref()).await;
    }
    let mut admin = AdminClient::connect(config, caller).await?;
    let done = act(&mut admin, command).await;
    admin.end().await;
    done.map(|output| if caller.json { output.json() } else { output.text() }).map_err(|status| refusal(&status))
}

async fn invite(config: &Config, page: Option<&str>) -> Result<String, String> {
    let page = GatewayUrl::new(page, &config.gateway).map_err(|why| why.replace("--gateway", "--page"))?;
    let (clock_rng, lifetime) = (ClockAndRng::system(), config.auth.admin_code_lifetime);
    let code = AdminCode::generate(&clock_rng);
    let location = stores::existing(config, Service::Auth)?;
    let offered = auth::store::offer_admin(&location, &code, clock_rng.now() + lifetime.0).await;
    offered.map_err(|error| error.to_string())?;
    Ok(format!(
        "{}\nOpen this link and sign in: the account becomes an admin. It works once, for {lifetime}.",
        first_admin::link(&page.url(), &code)
    ))
}

/// Makes the calls of a command. A user is an id or an e-mail address.
async fn act(admin: &mut AdminClient, command: cli::Admin) -> Result<Output, Status> {
    let account = match command {
        cli::Admin::Invite { .. } => None,
        cli::Admin::Users { email, state, role, limit } => {
            let filter = ListAccountsRequest {
                email: email.unwrap_or_default(),
                state: state.map_or(AccountState::Unspecified, AccountState::from).into(),
                role: role.unwrap_or_default(),
                ..ListAccountsRequest::default()
            };
            return admin.accounts(filter, limit).await.map(Output::Accounts);
        }
        cli::Admin::Show { user } => Some(admin.account(&user).await?),
        cli::Admin::Grant { user, role } => {
            let user_id = id_of(admin, &user).await?;
            let request = admin.request(GrantRoleRequest { user_id, role })?;
            admin.auth.grant_role(request).await?.into_inner().account
        }
        cli::Admin::Revoke { user, role } => {
            let user_id = id_of(admin, &user).await?;
            let request = admin.request(RevokeRoleRequest { user_id, role })?;
            admin.auth.revoke_role(request).await?.into_inner().account
        }
        cli::Admin::Suspend { user } => {
            let user_id = id_of(admin, &user).await?;
            let request = admin.request(SuspendAccountRequest { user_id })?;
            admin.auth.suspend_account(request).await?.into_inner().account
        }
        cli::Admin::Restore { user } => {
            let user_id = id_of(admin, &user).await?;
            let request = admin.request(RestoreAccountRequest { user_id })?;
            admin.auth.restore_account(request).await?.into_inner().account
        }
        cli::Admin::Reset { user } => return reset(admin, &user).await,
        cli::Admin::Sessions { user } => return sessions(admin, &user).await.map(Output::Sessions),
        cli::Admin::EndSessions { user, session, .. } => return end_sessions(admin, &user, session).await,
        cli::Admin::Audit { filter, service, oldest_first, limit } => {
            let service = service.map(|service| service.name().to_owned()).unwrap_or_default();
            let list = ListAuditEventsRequest { filter, service, oldest_first, ..ListAuditEventsRequest::default() };
            return events(admin, list, limit).await.map(Output::Events);
        }
    };
    Ok(Output::Accounts(account.into_iter().collect::<Vec<Account>>()))
}

async fn id_of(admin: &mut AdminClient, user: &str) -> Result<String, Status> {
    Ok(admin.account(user).await?.user_id)
}

/// Sends the account a link to set a new password. The admin never learns it.
async fn reset(admin: &mut AdminClient, user: &str) -> Result<Output, Status> {
    let email = admin.account(user).await?.email;
    if email.is_empty() {
        return Err(Status::failed_precondition("the account is deleted, or has lost its e-mail address"));
    }
    let request = admin.request(RequestPasswordResetRequest { email: email.clone() })?;
    admin.auth.request_password_reset(request).await?;
    Ok(Output::Sent(email))
}

async fn sessions(admin: &mut AdminClient, user: &str) -> Result<Vec<Session>, Status> {
    let user_id = id_of(admin, user).await?;
    let (mut sessions, mut page_token) = (Vec::new(), String::new());
    loop {
        let message = ListAccountSessionsRequest { user_id: user_id.clone(), page_size: PAGE, page_token };
        let request = admin.request(message)?;
        let response = admin.auth.list_account_sessions(request).await?.into_inner();
        sessions.extend(response.sessions);
        page_token = response.next_page_token;
        if page_token.is_empty() {
            return Ok(sessions);
        }
    }
}

/// Ends one session of an account, or all.
async fn end_sessions(admin: &mut AdminClient, user: &str, session: Option<Uuid>) -> Result<Output, Status> {
    let session_id = session.map(|id| id.to_string()).unwrap_or_default();
    let user_id = id_of(admin, user).await?;
    let request = admin.request(EndAccountSessionsRequest { user_id, session_id })?;
    Ok(Output::Ended(admin.auth.end_account_sessions(request).await?.into_inner().ended_count))
}

async fn events(admin: &mut AdminClient, list: ListAuditEventsRequest, limit: u32) -> Result<Vec<AuditEvent>, Status> {
    let (mut events, mut page_token) = (Vec::new(), String::new());
    loop {
        let page_size = page_size(limit, events.len());
        let request = admin.request(ListAuditEventsRequest { page_size, page_token, ..list.clone() })?;
        let response = admin.auth.list_audit_events(request).await?.into_inner();
        events.extend(response.audit_events);
        page_token = response.next_page_token;
        if page_token.is_empty() || events.len() >= limit as usize {
            return Ok(events);
        }
    }
}

impl From<cli::AccountState> for AccountState {
    fn from(state: cli::AccountState) -> Self {
        match state {
            cli::AccountState::Pending => Self::Pending,
            cli::AccountState::Active => Self::Active,
            cli::AccountState::Suspended => Self::Suspended,
            cli::AccountState::Deleted => Self::Deleted,
        }
    }
}
