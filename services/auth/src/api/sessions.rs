//! Sessions: opened, used, listed, ended.

use kit::{bus::Signal, context::User, error, keys::REVOKED, page};
use proto::auth::v1::{ListSessionsRequest, ListSessionsResponse, Session as WireSession};
use tonic::{Code, Status};
use uuid::Uuid;

use super::{Api, not_in_force};
use crate::{
    Auth,
    domain::{Account, AccountId, Client, NewSession, Page, RefreshToken, Session, SessionId},
    store::{Continued, Refreshed, Successor},
};

impl Api {
    /// A session that begins now, and its first token.
    pub(super) fn new_session(&self, account: &Account, client: Client) -> (NewSession, RefreshToken) {
        let now = self.auth.ambient.now();
        let token = RefreshToken::generate(&self.auth.ambient);
        let session = NewSession {
            id: SessionId(self.auth.ambient.new_id()),
            account: account.id,
            password_no: account.password_no,
            client,
            token: token.hash(),
            create_time: now,
            expire_time: self.auth.lifetimes().end(now, now),
        };
        (session, token)
    }

    /// What becomes of a refresh token that is presented.
    pub(super) async fn present(
        &self,
        token: &RefreshToken,
        client: &Client,
    ) -> Result<(Continued, RefreshToken), Status> {
        let Auth { store, keys, ambient, .. } = &self.auth;
        let (presented, successor) = (token.hash(), RefreshToken::generate(ambient));
        let sealed = keys.seal.seal(&successor, &presented, ambient);
        let offered = Successor { hash: successor.hash(), sealed };
        match store.refresh(&presented, &offered, client, ambient.now(), self.auth.lifetimes()).await? {
            Refreshed::Rotated(session) => Ok((session, successor)),
            Refreshed::Repeated(session, sealed) => {
                let again = keys.seal.open(&sealed, &presented).ok_or_else(not_in_force)?;
                Ok((session, again))
            }
            Refreshed::Revoked(session) => {
                self.tell_ended([session]);
                tracing::warn!("an old refresh token was presented; its session was ended");
                metrics::counter!("auth_refresh_tokens_reused_total").increment(1);
                let message = "the refresh token was used before; the session was ended, sign in again";
                Err(error::status(Code::Unauthenticated, "REFRESH_TOKEN_REUSED", message))
            }
            Refreshed::Refused => Err(not_in_force()),
        }
    }

    /// The caller's sessions, page by page.
    pub(super) async fn sessions(
        &self,
        caller: &User,
        request: ListSessionsRequest,
    ) -> Result<ListSessionsResponse, Status> {
        let account = AccountId(caller.id);
        let page = Page::parse(request.page_size, &request.page_token, account).map_err(|_| {
            error::invalid_field("page_token", "PAGE_TOKEN_INVALID", "must be the next_page_token of the same list")
        })?;
        // The store is asked for one more than the page holds: it tells whether there is another page.
        let found = self.auth.store.list_sessions(account, &page, self.auth.ambient.now()).await?;
        let mut sessions: Vec<_> = found.iter().cloned().map(|session| wire(session, caller.session)).collect();
        sessions.truncate(page::fitting(&sessions, self.page_bytes).min(page.size));
        let more = found.len() > sessions.len();
        let last = sessions.len().checked_sub(1).filter(|_| more).and_then(|last| found.get(last));
        let next_page_token = last.map_or(String::new(), |last| Page::token_after(account, last));
        Ok(ListSessionsResponse { sessions, next_page_token })
    }

    /// Ends one of the caller's sessions. A repeat answers the same, until the session is forgotten.
    pub(super) async fn end_session(&self, caller: &User, id: &str) -> Result<(), Status> {
        let id = Uuid::try_parse(id)
            .map_err(|_| error::invalid_field("session_id", "UUID_INVALID", "must be a UUID"))
            .map(SessionId)?;
        if !self.auth.store.revoke_session(AccountId(caller.id), id, self.auth.ambient.now()).await? {
            return Err(error::status(Code::NotFound, "SESSION_NOT_FOUND", "you have no such session"));
        }
        self.tell_ended([id]);
        Ok(())
    }

    /// Ends all of the caller's sessions, or all others.
    pub(super) async fn end_sessions(&self, caller: &User, keep_current: bool) -> Result<(), Status> {
        let keep = keep_current.then_some(SessionId(caller.session));
        let ended = self.auth.store.revoke_all(AccountId(caller.id), keep, self.auth.ambient.now()).await?;
        self.tell_ended(ended);
        Ok(())
    }

    /// Tells all processes to refuse the sessions' access tokens. They may not hear it: the tokens end by themselves.
    pub(super) fn tell_ended(&self, sessions: impl IntoIterator<Item = SessionId>) {
        for session in sessions {
            self.auth.bus.publish(REVOKED, Signal { subject: session.0, reached: 0 });
        }
    }
}

fn wire(session: Session, current: Uuid) -> WireSession {
    WireSession {
        session_id: session.id.0.to_string(),
        create_time: Some(session.create_time.into()),
        last_use_time: Some(session.last_use_time.into()),
        expire_time: Some(session.expire_time.into()),
        user_agent: session.client.user_agent,
        address: session.client.address,
        current: session.id.0 == current,
    }
}
