//! The gRPC API: converts messages to domain types, runs the steps of each method, and converts the results back.

mod attempts;
mod credentials;
mod email;
mod mail;
mod new_password;
mod sessions;
mod sign_up;
mod tokens;

use std::sync::Arc;

use kit::{Context, audit, error, extract, limiter::Multiples, page, principal::UserSession};
use proto::auth::v1::{
    ChangeEmailRequest, ChangeEmailResponse, ChangePasswordRequest, ChangePasswordResponse, ConfirmEmailChangeRequest,
    ConfirmEmailChangeResponse, DeleteAccountRequest, DeleteAccountResponse, GetEmailRequest, GetEmailResponse,
    GetJwksRequest, GetJwksResponse, Jwk, ListEndedSessionsRequest, ListEndedSessionsResponse, ListMailboxRequest,
    ListMailboxResponse, ListSessionsRequest, ListSessionsResponse, RefreshTokenRequest, RefreshTokenResponse,
    ReleaseEmailRequest, ReleaseEmailResponse, RequestEmailVerificationRequest, RequestEmailVerificationResponse,
    RequestPasswordResetRequest, RequestPasswordResetResponse, ResetPasswordRequest, ResetPasswordResponse,
    RevokeAllSessionsRequest, RevokeAllSessionsResponse, RevokeSessionRequest, RevokeSessionResponse, SignInRequest,
    SignInResponse, SignOutRequest, SignOutResponse, SignUpRequest, SignUpResponse, UndoEmailChangeRequest,
    UndoEmailChangeResponse, VerifyEmailRequest, VerifyEmailResponse, auth_service_server::AuthService,
};
use tonic::{Code, Request, Response, Status, async_trait, metadata::MetadataMap};

use crate::{
    Auth,
    cookie::Cookies,
    domain::{Client, EmailAddress, Language, MailKind},
    password::{Breached, Hasher, Password, Queue},
};
use attempts::Strict;
use tokens::{Delivery, Ended, PresentedTokens};

pub(crate) struct Api {
    auth: Auth,
    hasher: Hasher,
    /// The list of breached passwords, if the operator has one.
    breached: Option<Breached>,
    cookies: Cookies,
    /// Limits of wider networks, as multiples of the limit of one address.
    networks: Multiples,
    strict: Strict,
    /// Bytes that the items of one page may take, so that it fits into one message.
    page_bytes: usize,
}

impl Api {
    pub(crate) fn new(
        auth: Auth,
        cookies: Cookies,
        networks: Multiples,
        message_bytes: usize,
        breached: Option<Breached>,
    ) -> Arc<Self> {
        let hasher = Hasher::new(&auth.config, auth.keys.clone(), auth.clock_rng.clone());
        let page_bytes = page::budget(message_bytes);
        Arc::new(Self { auth, hasher, breached, cookies, networks, strict: Strict::default(), page_bytes })
    }
}

#[async_trait]
impl AuthService for Api {
    async fn sign_up(&self, request: Request<SignUpRequest>) -> Result<Response<SignUpResponse>, Status> {
        let (context, client) = (Context::of(&request), client(&request));
        let delivery = Delivery::requested(&request, request.get_ref().refresh_delivery());
        let (session, token) = self.open_account(&context, client, request.into_inner()).await?;
        let (tokens, metadata) = self.tokens(session, token, delivery).await?;
        Ok(respond(SignUpResponse { tokens: Some(tokens) }, metadata))
    }

    async fn sign_in(&self, request: Request<SignInRequest>) -> Result<Response<SignInResponse>, Status> {
        let (context, client) = (Context::of(&request), client(&request));
        let delivery = Delivery::requested(&request, request.get_ref().refresh_delivery());
        let request = request.into_inner();
        let email = EmailAddress::lookup(&request.email);
        let account = self.auth.store.find_by_email(&email).await?;
        let queue = self.count_sign_in(&email, account.as_ref(), context.caller.address).await?;
        if let Some(account) = &account {
            audit::about(account.id.0, account.id.name());
        }
        let account = self.prove(account, Password::new(request.password), queue).await;
        if queue == Queue::Unknown && account.as_ref().is_err_and(|status| status.code() == Code::Unauthenticated) {
            self.count_failure().await;
        }
        let account = account?;
        let (mut session, token) = self.new_session(&account, client.clone());
        // Without an address the call comes from inside the mesh.
        if queue == Queue::Unknown && !client.address.is_empty() {
            session.mail = self.notice(MailKind::NewDevice, client).map(|mail| mail.of(account.id));
        }
        if !self.auth.store.open_session(&session).await? {
            return Err(bad_credentials());
        }
        let (tokens, metadata) = self.tokens(session.into(), token, delivery).await?;
        Ok(respond(SignInResponse { tokens: Some(tokens) }, metadata))
    }

    async fn refresh_token(
        &self,
        request: Request<RefreshTokenRequest>,
    ) -> Result<Response<RefreshTokenResponse>, Status> {
        let (token, delivery) = match self.presented(&request, &request.get_ref().refresh_token) {
            PresentedTokens::Token(token, delivery) => (token, delivery),
            PresentedTokens::None(delivery) => {
                // A page that asks whether there is a session tries nothing.
                audit::unchanged();
                return Err(self.ended(Ended::NotInForce, delivery));
            }
            PresentedTokens::Several(_, delivery) => return Err(self.ended(Ended::Duplicated, delivery)),
        };
        self.count_refresh(&token, Context::of(&request).caller.address).await?;
        let (session, successor) =
            self.present(&token, &client(&request)).await?.map_err(|ended| self.ended(ended, delivery))?;
        // The session is the same; only the end of one is recorded.
        audit::unchanged();
        let (tokens, metadata) = self.tokens(session, successor, delivery).await?;
        Ok(respond(RefreshTokenResponse { tokens: Some(tokens) }, metadata))
    }

    async fn sign_out(&self, request: Request<SignOutRequest>) -> Result<Response<SignOutResponse>, Status> {
        let (tokens, delivery) = match self.presented(&request, &request.get_ref().refresh_token) {
            PresentedTokens::None(_) => (Vec::new(), Delivery::Body),
            PresentedTokens::Token(token, delivery) => (vec![token], delivery),
            PresentedTokens::Several(tokens, delivery) => (tokens, delivery),
        };
        let mut ended = Vec::new();
        for token in tokens {
            ended.extend(self.auth.store.revoke(&token.hash(), self.auth.clock_rng.now()).await?);
        }
        if ended.is_empty() {
            audit::unchanged();
        }
        self.publish_ended(ended);
        let mut metadata = MetadataMap::new();
        // With a token in the body, the cookie stays: it may belong to another session, which continues.
        self.clear_cookie(delivery, &mut metadata);
        Ok(respond(SignOutResponse {}, metadata))
    }

    async fn get_jwks(&self, _request: Request<GetJwksRequest>) -> Result<Response<GetJwksResponse>, Status> {
        let wire = |key: kit::jwk::Jwk| {
            let kit::jwk::Jwk { kid, kty, crv, alg, usage, x, y } = key;
            Jwk { kid, kty, crv, alg, r#use: usage, x, y }
        };
        Ok(Response::new(GetJwksResponse { keys: self.auth.keys.jwks().into_iter().map(wire).collect() }))
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let (session, request) = extract(request)?;
        self.sessions(&self.confirm(session).await?, request).await.map(Response::new)
    }

    async fn revoke_session(
        &self,
        request: Request<RevokeSessionRequest>,
    ) -> Result<Response<RevokeSessionResponse>, Status> {
        let (session, request) = extract(request)?;
        self.end_session(&self.confirm(session).await?, &request.session_id).await?;
        Ok(Response::new(RevokeSessionResponse {}))
    }

    async fn revoke_all_sessions(
        &self,
        request: Request<RevokeAllSessionsRequest>,
    ) -> Result<Response<RevokeAllSessionsResponse>, Status> {
        let (session, request) = extract(request)?;
        self.end_sessions(&self.confirm(session).await?, request.keep_current).await?;
        Ok(Response::new(RevokeAllSessionsResponse {}))
    }

    async fn list_ended_sessions(
        &self,
        request: Request<ListEndedSessionsRequest>,
    ) -> Result<Response<ListEndedSessionsResponse>, Status> {
        self.ended_sessions(&request.into_inner()).await.map(Response::new)
    }

    async fn change_password(
        &self,
        request: Request<ChangePasswordRequest>,
    ) -> Result<Response<ChangePasswordResponse>, Status> {
        let client = client(&request);
        let ((session, context), request) = extract::<(Arc<UserSession>, Context), _>(request)?;
        self.replace_password(session, client, context.caller.address, request).await?;
        Ok(Response::new(ChangePasswordResponse {}))
    }

    async fn request_password_reset(
        &self,
        request: Request<RequestPasswordResetRequest>,
    ) -> Result<Response<RequestPasswordResetResponse>, Status> {
        let (client, address) = (client(&request), Context::of(&request).caller.address);
        self.request_mail(MailKind::PasswordReset, &request.get_ref().email, client, address).await?;
        Ok(Response::new(RequestPasswordResetResponse {}))
    }

    async fn reset_password(
        &self,
        request: Request<ResetPasswordRequest>,
    ) -> Result<Response<ResetPasswordResponse>, Status> {
        let (client, address) = (client(&request), Context::of(&request).caller.address);
        self.reset(client, address, request.into_inner()).await?;
        Ok(Response::new(ResetPasswordResponse {}))
    }

    async fn get_email(&self, request: Request<GetEmailRequest>) -> Result<Response<GetEmailResponse>, Status> {
        let (session, _) = extract(request)?;
        self.email(&self.confirm(session).await?).await.map(Response::new)
    }

    async fn request_email_verification(
        &self,
        request: Request<RequestEmailVerificationRequest>,
    ) -> Result<Response<RequestEmailVerificationResponse>, Status> {
        let client = client(&request);
        let ((session, context), _) = extract::<(Arc<UserSession>, Context), _>(request)?;
        self.request_verification(&self.confirm(session).await?, client, context.caller.address).await?;
        Ok(Response::new(RequestEmailVerificationResponse {}))
    }

    async fn verify_email(
        &self,
        request: Request<VerifyEmailRequest>,
    ) -> Result<Response<VerifyEmailResponse>, Status> {
        let address = Context::of(&request).caller.address;
        self.verify_address(address, request.into_inner().token).await?;
        Ok(Response::new(VerifyEmailResponse {}))
    }

    async fn release_email(
        &self,
        request: Request<ReleaseEmailRequest>,
    ) -> Result<Response<ReleaseEmailResponse>, Status> {
        let address = Context::of(&request).caller.address;
        self.release_address(address, request.into_inner().token).await?;
        Ok(Response::new(ReleaseEmailResponse {}))
    }

    async fn change_email(
        &self,
        request: Request<ChangeEmailRequest>,
    ) -> Result<Response<ChangeEmailResponse>, Status> {
        let client = client(&request);
        let ((session, context), request) = extract::<(Arc<UserSession>, Context), _>(request)?;
        self.request_change(session, client, context.caller.address, request).await?;
        Ok(Response::new(ChangeEmailResponse {}))
    }

    async fn confirm_email_change(
        &self,
        request: Request<ConfirmEmailChangeRequest>,
    ) -> Result<Response<ConfirmEmailChangeResponse>, Status> {
        let (client, address) = (client(&request), Context::of(&request).caller.address);
        self.confirm_change(client, address, request.into_inner().token).await?;
        Ok(Response::new(ConfirmEmailChangeResponse {}))
    }

    async fn undo_email_change(
        &self,
        request: Request<UndoEmailChangeRequest>,
    ) -> Result<Response<UndoEmailChangeResponse>, Status> {
        let (client, address) = (client(&request), Context::of(&request).caller.address);
        self.undo_change(client, address, request.into_inner().token).await?;
        Ok(Response::new(UndoEmailChangeResponse {}))
    }

    async fn list_mailbox(
        &self,
        request: Request<ListMailboxRequest>,
    ) -> Result<Response<ListMailboxResponse>, Status> {
        self.mailbox(request.into_inner()).await.map(Response::new)
    }

    async fn delete_account(
        &self,
        request: Request<DeleteAccountRequest>,
    ) -> Result<Response<DeleteAccountResponse>, Status> {
        let ((session, context), request) = extract::<(Arc<UserSession>, Context), _>(request)?;
        self.close_account(session, context.caller.address, request).await?;
        Ok(Response::new(DeleteAccountResponse {}))
    }
}

fn respond<T>(message: T, metadata: MetadataMap) -> Response<T> {
    let mut response = Response::new(message);
    *response.metadata_mut() = metadata;
    response
}

/// The client, as its user sees it in the list of sessions, and the language that it prefers.
fn client<T>(request: &Request<T>) -> Client {
    let header = |name| request.metadata().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let client = Client::new(&header("user-agent").unwrap_or_default(), Context::of(request).caller.address);
    Client { language: Language::preferred(&header("accept-language").unwrap_or_default()), ..client }
}

/// The same status for every reason, so that it does not reveal which part is wrong.
fn bad_credentials() -> Status {
    error::status(Code::Unauthenticated, "BAD_CREDENTIALS", "the e-mail address or the password is wrong")
}

/// The status for a signed-in user, whose address is not in question.
fn wrong_password() -> Status {
    error::status(Code::Unauthenticated, "BAD_CREDENTIALS", "the password is wrong")
}
