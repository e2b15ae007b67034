//! `trellis admin`: makes the first admin, and administers accounts over the API, as an admin.

mod output;
mod password;

use auth::domain::AdminCode;
use kit::ClockAndRng;
use proto::auth::v1::{
    Account, AccountState, EndAccountSessionsRequest, GetAccountRequest, GrantRoleRequest, ListAccountSessionsRequest,
    ListAccountsRequest, RestoreAccountRequest, RevokeRoleRequest, SignInRequest, SignOutRequest,
    SuspendAccountRequest, auth_service_client::AuthServiceClient,
};
use tonic::{Request, Status, transport::Channel};
use uuid::Uuid;

use crate::{cli, config::Config, explain::GatewayUrl, first_admin, services::Service, stores};
use output::Output;

/// The most accounts or sessions that one call lists.
const PAGE: i32 = 100;

/// Runs the command and returns its output.
pub(crate) async fn run(config: &Config, command: cli::Admin) -> Result<String, String> {
    let (caller, action) = match command {
        cli::Admin::Invite { page } => return invite(config, page.as_deref()).await,
        cli::Admin::Users { email, state, role, limit, caller } => {
            (caller, Action::List { email, state: state.map(AccountState::from), role, limit })
        }
        cli::Admin::Grant { user, role, caller } => (caller, Action::Grant(user, role)),
        cli::Admin::Revoke { user, role, caller } => (caller, Action::Revoke(user, role)),
        cli::Admin::Suspend { user, caller } => (caller, Action::Suspend(user)),
        cli::Admin::Restore { user, caller } => (caller, Action::Restore(user)),
        cli::Admin::Sessions { user, end, end_all, caller } => match (end, end_all) {
            (None, false) => (caller, Action::ListSessions(user)),
            (end, _) => (caller, Action::EndSessions(user, end)),
        },
    };
    let mut admin = Admin::sign_in(config, &caller).await?;
    let done = admin.act(action).await;
    admin.sign_out().await;
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

/// What an admin does. A user is an id or an e-mail address.
enum Action {
    List { email: Option<String>, state: Option<AccountState>, role: Option<String>, limit: usize },
    Grant(String, String),
    Revoke(String, String),
    Suspend(String),
    Restore(String),
    ListSessions(String),
    /// Without an id: all.
    EndSessions(String, Option<Uuid>),
}

/// A signed-in admin. The sign-in is the recent proof that changes need.
struct Admin {
    auth: AuthServiceClient<Channel>,
    access_token: String,
    refresh_token: String,
}

impl Admin {
    async fn sign_in(config: &Config, caller: &cli::AdminCaller) -> Result<Self, String> {
        let gateway = GatewayUrl::new(caller.gateway.as_deref(), &config.gateway)?;
        if gateway.is_secure() || !gateway.is_local() {
            return Err(format!(
                "--gateway: {} is not http on this machine; the password crosses no network, so forward a port, for \
                 example with kubectl port-forward",
                gateway.url()
            ));
        }
        let password = password::read(caller.password_file.as_deref(), &caller.email)?;
        let channel = Channel::from_shared(gateway.url()).map_err(|error| error.to_string())?.connect().await;
        let unreachable = |error| format!("{} cannot be reached: {}", gateway.url(), kit::error::chain(&error));
        let mut auth = AuthServiceClient::new(channel.map_err(unreachable)?);
        let request = SignInRequest { email: caller.email.clone(), password, refresh_delivery: 0 };
        let response = auth.sign_in(request).await.map_err(|status| refusal(&status))?.into_inner();
        let tokens = response.tokens.ok_or("the response has no tokens")?;
        Ok(Self { auth, access_token: tokens.access_token, refresh_token: tokens.refresh_token })
    }

    /// A failure is harmless: the session ends by itself.
    async fn sign_out(mut self) {
        self.auth.sign_out(SignOutRequest { refresh_token: self.refresh_token }).await.ok();
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let header = format!("Bearer {}", self.access_token).parse().expect("a token is ASCII");
        request.metadata_mut().insert("authorization", header);
        request
    }

    async fn act(&mut self, action: Action) -> Result<Output, Status> {
        let account = match action {
            Action::List { email, state, role, limit } => {
                let message = ListAccountsRequest {
                    email: email.unwrap_or_default(),
                    state: state.map_or(0, i32::from),
                    role: role.unwrap_or_default(),
                    ..ListAccountsRequest::default()
                };
                return self.list(message, limit).await.map(Output::Accounts);
            }
            Action::ListSessions(user) => {
                let message =
                    ListAccountSessionsRequest { user_id: self.id_of(user).await?, page_size: PAGE, page_token: String::new() };
                let request = self.request(message);
                return Ok(Output::Sessions(self.auth.list_account_sessions(request).await?.into_inner().sessions));
            }
            Action::EndSessions(user, session) => {
                let session_id = session.map(|id| id.to_string()).unwrap_or_default();
                let request = self.request(EndAccountSessionsRequest { user_id: self.id_of(user).await?, session_id });
                return Ok(Output::Ended(self.auth.end_account_sessions(request).await?.into_inner().ended_count));
            }
            Action::Grant(user, role) => {
                let request = self.request(GrantRoleRequest { user_id: self.id_of(user).await?, role });
                self.auth.grant_role(request).await?.into_inner().account
            }
            Action::Revoke(user, role) => {
                let request = self.request(RevokeRoleRequest { user_id: self.id_of(user).await?, role });
                self.auth.revoke_role(request).await?.into_inner().account
            }
            Action::Suspend(user) => {
                let request = self.request(SuspendAccountRequest { user_id: self.id_of(user).await? });
                self.auth.suspend_account(request).await?.into_inner().account
            }
            Action::Restore(user) => {
                let request = self.request(RestoreAccountRequest { user_id: self.id_of(user).await? });
                self.auth.restore_account(request).await?.into_inner().account
            }
        };
        Ok(Output::Accounts(account.into_iter().collect()))
    }

    /// At most `limit` accounts, the newest first.
    async fn list(&mut self, filter: ListAccountsRequest, limit: usize) -> Result<Vec<Account>, Status> {
        let (mut accounts, mut page_token) = (Vec::new(), String::new());
        loop {
            let left = i32::try_from(limit - accounts.len()).unwrap_or(PAGE).min(PAGE);
            let message = ListAccountsRequest { page_size: left, page_token, ..filter.clone() };
            let response = self.auth.list_accounts(self.request(message)).await?.into_inner();
            accounts.extend(response.accounts);
            page_token = response.next_page_token;
            if page_token.is_empty() || accounts.len() >= limit {
                return Ok(accounts);
            }
        }
    }

    /// The id of a user by id or e-mail address.
    async fn id_of(&mut self, user: String) -> Result<String, Status> {
        if !user.contains('@') {
            let request = self.request(GetAccountRequest { user_id: user.clone() });
            self.auth.get_account(request).await?;
            return Ok(user);
        }
        let found = self.list(ListAccountsRequest { email: user.clone(), ..ListAccountsRequest::default() }, 1).await?;
        let id = found.into_iter().next().map(|account| account.user_id);
        id.ok_or_else(|| Status::not_found(format!("no account has the address {user}")))
    }
}

/// The status as a line for the terminal.
fn refusal(status: &Status) -> String {
    let reason = kit::error::reason(status).map_or_else(String::new, |reason| format!(" ({reason})"));
    format!("{}{reason}", status.message())
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
