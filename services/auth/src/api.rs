//! The gRPC face: messages to domain types, the steps of each method, domain types to messages.

mod sign_up;
mod tokens;

use std::{net::IpAddr, sync::Arc, time::Duration};

use kit::{
    Context, error,
    limiter::{Decision, Quota, address_key},
};
use proto::auth::v1::{
    ChangePasswordRequest, ChangePasswordResponse, DeleteAccountRequest, DeleteAccountResponse, ListSessionsRequest,
    ListSessionsResponse, RevokeAllSessionsRequest, RevokeAllSessionsResponse, RevokeSessionRequest,
    RevokeSessionResponse,
};
use proto::auth::v1::{
    GetJwksRequest, GetJwksResponse, Jwk, RefreshTokenRequest, RefreshTokenResponse, SignInRequest, SignInResponse,
    SignOutRequest, SignOutResponse, SignUpRequest, SignUpResponse, auth_service_server::AuthService,
};
use ring::digest::{SHA256, digest};
use tonic::{Code, Request, Response, Status, async_trait, metadata::MetadataMap};
use zeroize::Zeroizing;

use crate::{
    Auth, cookie,
    domain::{Account, Email, NewSession, RefreshToken, SessionId, State},
    password::Hasher,
    store::{Continued, Refreshed, Successor},
};
use tokens::Delivery;

/// Sign-ins to one account from one address: room for mistakes, none for guessing (OWASP ASVS 5, 6.3.1).
const BY_ACCOUNT_AND_ADDRESS: (u32, Duration) = (10, Duration::from_secs(15 * 60));
/// Sign-ins to one account from anywhere. Wide, because it lets strangers keep the owner out.
const BY_ACCOUNT: (u32, Duration) = (100, Duration::from_secs(3_600));

pub(crate) struct Api {
    auth: Auth,
    hasher: Hasher,
}

impl Api {
    pub(crate) fn new(auth: Auth) -> Arc<Self> {
        let hasher = Hasher::new(auth.config.hashing_threads, auth.config.hashing_queue, auth.ambient.clone());
        Arc::new(Self { auth, hasher })
    }

    /// Counts an attempt, before anything is looked up: the answer is the same whether the account exists.
    async fn count_attempt(&self, email: &Email, address: Option<IpAddr>) -> Result<(), Status> {
        let account = Zeroizing::new(email.as_str().to_owned());
        let account: String = digest(&SHA256, account.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect();
        let from = address.map_or_else(|| "unknown".to_owned(), address_key);
        let limits = [
            (format!("auth:sign-in {account} {from}"), BY_ACCOUNT_AND_ADDRESS),
            (format!("auth:sign-in {account}"), BY_ACCOUNT),
        ];
        for (key, (attempts, period)) in limits {
            let quota = Quota::new(attempts, period, attempts);
            if let Decision::Refused { retry_after } = self.auth.limiter.decide(&key, quota, 1).decision().await {
                let message = "too many attempts to sign in to this account; wait as retry-after says";
                return Err(error::exhausted("RATE_LIMITED", message, retry_after));
            }
        }
        Ok(())
    }

    /// The account, if the password is right and it may sign in. Takes the same time whatever is wrong.
    async fn prove(&self, email: &Email, password: String) -> Result<Account, Status> {
        let password = Zeroizing::new(password);
        let account = self.auth.store.find_by_email(email).await?.filter(|account| account.state == State::Active);
        let hashed = account.as_ref().map(|account| account.password.clone());
        let proved = self.hasher.verify(password.clone(), hashed).await?;
        let account = account.filter(|_| proved).ok_or_else(bad_credentials)?;
        if Hasher::is_outdated(&account.password) {
            let renewed = self.hasher.hash(password).await?;
            self.auth.store.rehash(account.id, &account.password, &renewed).await?;
        }
        Ok(account)
    }

    /// A session that begins now, and its first token.
    fn new_session(&self, account: &Account) -> (NewSession, RefreshToken) {
        let now = self.auth.ambient.now();
        let token = RefreshToken::generate(&self.auth.ambient);
        let session = NewSession {
            id: SessionId(self.auth.ambient.new_id()),
            account: account.id,
            token: token.hash(),
            create_time: now,
            expire_time: self.auth.lifetimes().end(now, now),
        };
        (session, token)
    }

    async fn present(&self, token: &RefreshToken) -> Result<(Continued, RefreshToken), Status> {
        let Auth { store, keys, ambient, .. } = &self.auth;
        let (presented, successor) = (token.hash(), RefreshToken::generate(ambient));
        let sealed = keys.seal.seal(&successor, &presented, ambient);
        let offered = Successor { hash: successor.hash(), sealed };
        match store.refresh(&presented, &offered, ambient.now(), self.auth.lifetimes()).await? {
            Refreshed::Rotated(session) => Ok((session, successor)),
            Refreshed::Repeated(session, sealed) => {
                let again = keys.seal.open(&sealed, &presented).ok_or_else(not_in_force)?;
                Ok((session, again))
            }
            Refreshed::Revoked => {
                tracing::warn!("an old refresh token was presented; its session was ended");
                metrics::counter!("auth_refresh_tokens_reused_total").increment(1);
                let message = "the refresh token was used before; the session was ended, sign in again";
                Err(error::status(Code::Unauthenticated, "REFRESH_TOKEN_REUSED", message))
            }
            Refreshed::Refused => Err(not_in_force()),
        }
    }
}

#[async_trait]
impl AuthService for Api {
    async fn sign_up(&self, request: Request<SignUpRequest>) -> Result<Response<SignUpResponse>, Status> {
        let context = Context::of(&request);
        let request = request.into_inner();
        let delivery = request.refresh_delivery();
        let (session, token) = self.open_account(&context, request).await?;
        let (tokens, metadata) = self.tokens(session, token, delivery.into()).await?;
        Ok(respond(SignUpResponse { tokens: Some(tokens) }, metadata))
    }

    async fn sign_in(&self, request: Request<SignInRequest>) -> Result<Response<SignInResponse>, Status> {
        let context = Context::of(&request);
        let request = request.into_inner();
        let (delivery, email) = (request.refresh_delivery(), Email::new(&request.email));
        self.count_attempt(&email, context.caller.address).await?;
        let account = self.prove(&email, request.password).await?;
        let (session, token) = self.new_session(&account);
        if !self.auth.store.open_session(&session).await? {
            return Err(bad_credentials());
        }
        let (tokens, metadata) = self.tokens(session.into(), token, delivery.into()).await?;
        Ok(respond(SignInResponse { tokens: Some(tokens) }, metadata))
    }

    async fn refresh_token(
        &self,
        request: Request<RefreshTokenRequest>,
    ) -> Result<Response<RefreshTokenResponse>, Status> {
        let (token, delivery) = tokens::presented(request.metadata(), &request.get_ref().refresh_token);
        let presented = match token {
            Some(token) => self.present(&token).await,
            None => Err(not_in_force()),
        };
        let (session, successor) = presented.map_err(|status| delivery.forget(status))?;
        let (tokens, metadata) = self.tokens(session, successor, delivery).await?;
        Ok(respond(RefreshTokenResponse { tokens: Some(tokens) }, metadata))
    }

    async fn sign_out(&self, request: Request<SignOutRequest>) -> Result<Response<SignOutResponse>, Status> {
        let (token, delivery) = tokens::presented(request.metadata(), &request.get_ref().refresh_token);
        let mut metadata = MetadataMap::new();
        if let Some(token) = token {
            self.auth.store.revoke(&token.hash(), self.auth.ambient.now()).await?;
            // A cookie beside a token in the body may be another session's, which goes on.
            if delivery == Delivery::Cookie {
                cookie::clear(&mut metadata);
            }
        }
        Ok(respond(SignOutResponse {}, metadata))
    }

    async fn get_jwks(&self, _request: Request<GetJwksRequest>) -> Result<Response<GetJwksResponse>, Status> {
        let wire = |key: kit::keys::Jwk| {
            let kit::keys::Jwk { kid, kty, crv, alg, usage, x, y } = key;
            Jwk { kid, kty, crv, alg, r#use: usage, x, y }
        };
        Ok(Response::new(GetJwksResponse { keys: self.auth.keys.jwks().into_iter().map(wire).collect() }))
    }

    async fn list_sessions(
        &self,
        _request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn revoke_session(
        &self,
        _request: Request<RevokeSessionRequest>,
    ) -> Result<Response<RevokeSessionResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn revoke_all_sessions(
        &self,
        _request: Request<RevokeAllSessionsRequest>,
    ) -> Result<Response<RevokeAllSessionsResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn change_password(
        &self,
        _request: Request<ChangePasswordRequest>,
    ) -> Result<Response<ChangePasswordResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn delete_account(
        &self,
        _request: Request<DeleteAccountRequest>,
    ) -> Result<Response<DeleteAccountResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }
}

fn respond<T>(message: T, metadata: MetadataMap) -> Response<T> {
    let mut response = Response::new(message);
    *response.metadata_mut() = metadata;
    response
}

/// One answer for everything that can be wrong.
fn bad_credentials() -> Status {
    error::status(Code::Unauthenticated, "BAD_CREDENTIALS", "the e-mail address or the password is wrong")
}

fn not_in_force() -> Status {
    error::status(Code::Unauthenticated, "REFRESH_TOKEN_INVALID", "the refresh token is not in force; sign in again")
}
