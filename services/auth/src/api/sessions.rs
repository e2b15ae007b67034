//! Opens, refreshes, lists and ends sessions.

use std::sync::Arc;

use kit::{
    Timestamp,
    bus::Signal,
    error,
    keys::{LONGEST_ACCESS, REVOKED},
    page,
    principal::UserSession,
};
use proto::auth::v1::{
    ListEndedSessionsRequest, ListEndedSessionsResponse, ListSessionsRequest, ListSessionsResponse,
    Session as WireSession,
};
use tonic::{Code, Status};
use uuid::Uuid;

use super::{
    Api,
    tokens::{Ended, MULTIPLE_FACTORS},
};
use crate::{
    Auth,
    domain::{Account, AccountId, Client, EndedPage, NewSession, Page, RefreshToken, Session, SessionId},
    store::{Continued, Refreshed, Successor},
};

/// A caller's session that auth's own table has confirmed. Only [`Api::confirm`] makes one, so that no method of auth
/// acts for an ended session.
pub(super) struct ConfirmedSession(Arc<UserSession>);

impl ConfirmedSession {
    pub(super) fn id(&self) -> SessionId {
        SessionId(self.0.id)
    }

    pub(super) fn account(&self) -> AccountId {
        AccountId(self.0.user)
    }

    /// The session, for another access token that ends with the one of the call.
    pub(super) fn continued(&self) -> Continued {
        let (session, account) = (self.id(), self.account());
        let second_factor = self.0.methods.iter().any(|method| method == MULTIPLE_FACTORS);
        Continued { session, account, auth_time: self.0.authenticated, expire_time: self.0.expires, second_factor }
    }
}

impl Api {
    /// A new session with its first refresh token.
    pub(super) fn new_session(&self, account: &Account, client: Client) -> (NewSession, RefreshToken) {
        let now = self.auth.clock_rng.now();
        let token = RefreshToken::generate(&self.auth.clock_rng);
        let session = NewSession {
            id: SessionId(self.auth.clock_rng.new_id()),
            account: account.id,
            password_no: account.password_no,
            client,
            token: token.hash(),
            create_time: now,
            expire_time: self.auth.lifetimes().end(now, now),
            mail: None,
        };
        (session, token)
    }

    /// Presents a refresh token: returns the session and the next token, or why the session is over. An outer error
    /// reveals nothing about the session.
    pub(super) async fn present(
        &self,
        token: &RefreshToken,
        client: &Client,
    ) -> Result<Result<(Continued, RefreshToken), Ended>, Status> {
        let Auth { store, keys, clock_rng, .. } = &self.auth;
        let (presented, successor) = (token.hash(), RefreshToken::generate(clock_rng));
        let sealed = keys.seal().seal(&successor, &presented, clock_rng);
        let notice = self.auth.mail.is_on().then(|| clock_rng.new_id());
        let offered = Successor { hash: successor.hash(), sealed, notice };
        match store.refresh(&presented, &offered, client, clock_rng.now(), self.auth.lifetimes()).await? {
            Refreshed::Rotated(session) => Ok(Ok((session, successor))),
            Refreshed::Repeated(session, sealed) => {
                // Another replica has encrypted it with another key, or the key was replaced meanwhile.
                let again = keys.seal().open(&sealed, &presented).ok_or_else(|| {
                    tracing::error!(
                        "a refresh token was encrypted with another refresh.key; give all replicas the same file"
                    );
                    error::unavailable("the session's next token")
                })?;
                Ok(Ok((session, again)))
            }
            Refreshed::Revoked(session) => {
                self.publish_ended([session]);
                tracing::warn!("an old refresh token was presented; its session was ended");
                metrics::counter!("auth_refresh_tokens_reused_total").increment(1);
                Ok(Err(Ended::Reused))
            }
            Refreshed::Refused => Ok(Err(Ended::NotInForce)),
        }
    }

    /// Confirms that the session is in force in auth's table. The signal of its end may not have reached this process.
    pub(super) async fn confirm(&self, session: Arc<UserSession>) -> Result<ConfirmedSession, Status> {
        let session = ConfirmedSession(session);
        if self.auth.store.is_in_force(session.account(), session.id(), self.auth.clock_rng.now()).await? {
            return Ok(session);
        }
        let message = "the session was ended; sign in again";
        Err(error::status(Code::Unauthenticated, kit::reason::SESSION_REVOKED, message))
    }

    /// Lists the sessions whose access tokens other processes must refuse.
    pub(super) async fn ended_sessions(
        &self,
        request: &ListEndedSessionsRequest,
    ) -> Result<ListEndedSessionsResponse, Status> {
        let ListEndedSessionsRequest { page_size, page_token, since_time } = request;
        let now = self.auth.clock_rng.now();
        // Not `access_lifetime`: tokens issued before it was lowered are still in force.
        let (since, lifetime) = (since_time.map(Timestamp::from), LONGEST_ACCESS);
        let page = EndedPage::parse(*page_size, page_token, since, lifetime, now).map_err(|_| wrong_page_token())?;
        let mut ended = self.auth.store.list_ended(&page).await?;
        let next_page_token = page.cut(&mut ended);
        let session_ids = ended.iter().map(|session| session.id.0.to_string()).collect();
        Ok(ListEndedSessionsResponse { session_ids, next_page_token, list_time: Some(now.into()) })
    }

    /// Lists one page of the caller's sessions.
    pub(super) async fn sessions(
        &self,
        caller: &ConfirmedSession,
        request: ListSessionsRequest,
    ) -> Result<ListSessionsResponse, Status> {
        let ListSessionsRequest { page_size, page_token } = request;
        let (sessions, next_page_token) =
            self.page_of_sessions(caller, caller.account(), page_size, &page_token).await?;
        Ok(ListSessionsResponse { sessions, next_page_token })
    }

    /// One page of an account's sessions, and the token of the next page.
    pub(super) async fn page_of_sessions(
        &self,
        caller: &ConfirmedSession,
        account: AccountId,
        page_size: i32,
        page_token: &str,
    ) -> Result<(Vec<WireSession>, String), Status> {
        let page = Page::parse(page_size, page_token, account).map_err(|_| wrong_page_token())?;
        // The store returns one more than the page holds if there is another page.
        let found = self.auth.store.list_sessions(account, &page, self.auth.clock_rng.now()).await?;
        let mut sessions: Vec<_> = found.iter().cloned().map(|session| wire(session, caller.id())).collect();
        sessions.truncate(page::fitting(&sessions, self.page_bytes).min(page.size));
        let more = found.len() > sessions.len();
        let last = sessions.len().checked_sub(1).filter(|_| more).and_then(|last| found.get(last));
        let next_page_token = last.map_or(String::new(), |last| Page::token_after(account, last));
        Ok((sessions, next_page_token))
    }

    /// Ends one session of an account. A repeat returns the same until the cleanup deletes the session.
    pub(super) async fn end_session(&self, account: AccountId, id: &str) -> Result<(), Status> {
        let id = Uuid::try_parse(id)
            .map_err(|_| error::invalid_field("session_id", "UUID_INVALID", "must be a UUID"))
            .map(SessionId)?;
        if !self.auth.store.revoke_session(account, id, self.auth.clock_rng.now()).await? {
            return Err(error::status(Code::NotFound, "SESSION_NOT_FOUND", "the account has no such session"));
        }
        self.publish_ended([id]);
        Ok(())
    }

    /// Ends all of the caller's sessions, or all except the current one.
    pub(super) async fn end_sessions(&self, caller: &ConfirmedSession, keep_current: bool) -> Result<(), Status> {
        let keep = keep_current.then_some(caller.id());
        let ended = self.auth.store.revoke_all(caller.account(), keep, self.auth.clock_rng.now()).await?;
        self.publish_ended(ended);
        Ok(())
    }

    /// Signals all processes to refuse the sessions' access tokens. A signal may get lost; the tokens expire soon
    /// anyway.
    pub(super) fn publish_ended(&self, sessions: impl IntoIterator<Item = SessionId>) {
        for session in sessions {
            self.auth.bus.publish(REVOKED, Signal { subject: session.0, reached: 0 });
        }
    }
}

pub(super) fn wrong_page_token() -> Status {
    error::invalid_field("page_token", "PAGE_TOKEN_INVALID", "must be the next_page_token of the same list")
}

fn wire(session: Session, current: SessionId) -> WireSession {
    WireSession {
        session_id: session.id.0.to_string(),
        create_time: Some(session.create_time.into()),
        last_use_time: Some(session.last_use_time.into()),
        expire_time: Some(session.expire_time.into()),
        user_agent: session.client.user_agent,
        address: session.client.address,
        current: session.id == current,
    }
}
