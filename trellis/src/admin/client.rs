//! An admin who calls the API.

use proto::auth::v1::{
    Account, GetAccountRequest, ListAccountsRequest, SignInRequest, SignOutRequest,
    auth_service_client::AuthServiceClient,
};
use tonic::{Request, Status, transport::Channel};

use super::credential;
use crate::{cli::AdminCaller, config::Config, explain::GatewayUrl};

/// The most accounts, sessions or records on a page.
pub(super) const PAGE: i32 = 100;

/// A signed-in admin. The sign-in is the recent proof that changes need.
pub(super) struct AdminClient {
    pub(super) auth: AuthServiceClient<Channel>,
    access_token: String,
    /// Of the session that this command has opened. `None`: the operator's own access token.
    refresh_token: Option<String>,
}

impl AdminClient {
    /// Connects to the gateway, and signs in unless the caller has an access token.
    pub(super) async fn connect(config: &Config, caller: &AdminCaller) -> Result<Self, String> {
        let gateway = GatewayUrl::new(caller.gateway.as_deref(), &config.gateway)?;
        if !gateway.is_local_http() {
            return Err(format!(
                "--gateway: {} is not http on this machine; the password crosses no network, so forward a port, for example \
                 with kubectl port-forward or ssh -L",
                gateway.url()
            ));
        }
        let unreachable = |why: &(dyn std::error::Error + 'static)| {
            format!("{} cannot be reached: {}", gateway.url(), kit::error::chain(why))
        };
        let endpoint = Channel::from_shared(gateway.url()).map_err(|why| unreachable(&why))?;
        let channel = endpoint.connect().await.map_err(|why| unreachable(&why))?;
        let auth = AuthServiceClient::new(channel);
        if let Some(file) = &caller.token_file {
            return Ok(Self { auth, access_token: credential::read_file(file)?, refresh_token: None });
        }
        let Some(email) = caller.admin.clone() else {
            return Err("name the admin with --admin, or an access token with --token-file".to_owned());
        };
        let password = credential::password(caller.password_file.as_deref())?;
        let request = SignInRequest { email, password, ..SignInRequest::default() };
        let response = auth.clone().sign_in(request).await.map_err(|status| refusal(&status))?.into_inner();
        let tokens = response.tokens.ok_or("the sign-in needs more than a password; use --token-file")?;
        Ok(Self { auth, access_token: tokens.access_token, refresh_token: Some(tokens.refresh_token) })
    }

    /// Ends the session that this command has opened. After a failure it ends by itself.
    pub(super) async fn end(mut self) {
        if let Some(refresh_token) = self.refresh_token {
            self.auth.sign_out(SignOutRequest { refresh_token }).await.ok();
        }
    }

    /// A request of the admin. An access token that is no header, such as one with a line break, is refused.
    pub(super) fn request<T>(&self, message: T) -> Result<Request<T>, Status> {
        let mut request = Request::new(message);
        let header = format!("Bearer {}", self.access_token).parse();
        let header = header.map_err(|_| Status::invalid_argument("--token-file: the file has no access token"))?;
        request.metadata_mut().insert("authorization", header);
        Ok(request)
    }

    /// At most `limit` accounts, the newest first.
    pub(super) async fn accounts(&mut self, filter: ListAccountsRequest, limit: u32) -> Result<Vec<Account>, Status> {
        let (mut accounts, mut page_token) = (Vec::new(), String::new());
        loop {
            let page_size = page_size(limit, accounts.len());
            let request = self.request(ListAccountsRequest { page_size, page_token, ..filter.clone() })?;
            let response = self.auth.list_accounts(request).await?.into_inner();
            accounts.extend(response.accounts);
            page_token = response.next_page_token;
            if page_token.is_empty() || accounts.len() >= limit as usize {
                return Ok(accounts);
            }
        }
    }

    /// The account of a user, by id or e-mail address.
    pub(super) async fn account(&mut self, user: &str) -> Result<Account, Status> {
        let found = if user.contains('@') {
            let filter = ListAccountsRequest { email: user.to_owned(), ..ListAccountsRequest::default() };
            self.accounts(filter, 1).await?.into_iter().next()
        } else {
            let request = self.request(GetAccountRequest { user_id: user.to_owned() })?;
            self.auth.get_account(request).await?.into_inner().account
        };
        found.ok_or_else(|| Status::not_found(format!("no account has the address {user}")))
    }
}

/// The size of the next page of a list with at most `limit` items, of which `found` are known.
pub(super) fn page_size(limit: u32, found: usize) -> i32 {
    let left = (limit as usize).saturating_sub(found).max(1);
    i32::try_from(left).unwrap_or(PAGE).min(PAGE)
}

/// The status as a line for the terminal.
pub(super) fn refusal(status: &Status) -> String {
    let reason = kit::error::reason(status).map_or_else(String::new, |reason| format!(" ({reason})"));
    format!("{}{reason}", status.message())
}
