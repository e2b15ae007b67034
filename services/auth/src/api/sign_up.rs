//! Sign-up across two services: store the account as `pending`, create the profile in users, activate the account.
//! After a failure in between, a repeat of the call continues where it stopped.

use std::time::Duration;

use kit::{Context, error};
use proto::{
    auth::v1::SignUpRequest,
    users::v1::{CreateUserRequest, users_service_client::UsersServiceClient},
};
use tonic::{Code, Status};

use super::Api;
use crate::{
    domain::{Account, AccountId, Client, EmailAddress, PasswordHash, RefreshToken, State},
    password::{OwnWords, Password, Queue},
    store::{Continued, InsertError},
};

/// How long only its creator can resume a pending account. After that the address is free for another sign-up.
const RESUMABLE: Duration = Duration::from_secs(600);
/// How often a sign-up starts again after a conflict with another one for the same address.
const TRIES: u32 = 3;

impl Api {
    /// Opens an account with its first session.
    pub(super) async fn open_account(
        &self,
        context: &Context,
        client: Client,
        request: SignUpRequest,
    ) -> Result<(Continued, RefreshToken), Status> {
        let SignUpRequest { email, password, handle, display_name, .. } = request;
        let password = Password::new(password);
        password.check_length("password")?;
        let email = EmailAddress::parse(&email)
            .map_err(|why| error::invalid_field("email", "EMAIL_INVALID", &why.to_string()))?;
        self.count_sign_up(&email, context.caller.address).await?;
        let own = OwnWords::new(&[email.as_str(), &handle, &display_name]);
        // Before the lookup, so that the response time does not reveal whether the account exists.
        let hashed = self.hash_new("password", password.clone(), own, Queue::Unknown).await?;
        let (account, attempt) = self.pending_account(&email, &password, hashed).await?;
        let profile = CreateUserRequest { user_id: account.id.0.to_string(), handle, display_name, attempt };
        self.create_profile(context, profile).await?;
        let (mut session, token) = self.new_session(&account, client);
        self.verify_later(&mut session, account.email.clone());
        if self.auth.store.activate(&session, attempt).await? {
            return Ok((session.into(), token));
        }
        // Another sign-up for this address has resumed the account, and its handle counts; or it has finished first.
        let found = self.auth.store.find(account.id).await?;
        let is_pending = found.is_some_and(|account| account.state == State::Pending);
        Err(if is_pending { concurrent_sign_up() } else { email_taken() })
    }

    /// Returns the pending account to continue with, new or from the caller's earlier attempt, and the attempt's
    /// number. Of two concurrent attempts the later one decides the handle: users refuses the profile of the earlier
    /// one from then on, and only the later one activates the account.
    async fn pending_account(
        &self,
        email: &EmailAddress,
        password: &Password,
        hashed: PasswordHash,
    ) -> Result<(Account, i64), Status> {
        let Self { auth, hasher, .. } = self;
        for _ in 0..TRIES {
            let now = auth.clock_rng.now();
            let Some(found) = auth.store.find_by_email(email).await? else {
                let id = AccountId(auth.clock_rng.new_id());
                let (email, password) = (email.clone(), hashed.clone());
                let state = State::Pending;
                let new = Account { id, email, password, password_no: 0, state, create_time: now };
                match auth.store.insert(&new).await {
                    Ok(()) => return Ok((new, 0)),
                    Err(InsertError::EmailTaken) => continue,
                    Err(InsertError::Store(error)) => return Err(error.into()),
                }
            };
            if found.state != State::Pending {
                return Err(email_taken());
            }
            if hasher.verify(password.clone(), Some(found.password.clone()), Queue::Unknown).await?.is_right() {
                match auth.store.resume(found.id).await? {
                    Some(attempt) => return Ok((found, attempt)),
                    // It was activated or deleted meanwhile.
                    None => continue,
                }
            }
            if !auth.store.abandon(found.id, now - RESUMABLE, now, auth.clock_rng.new_id()).await? {
                return Err(email_taken());
            }
        }
        Err(concurrent_sign_up())
    }

    async fn create_profile(&self, context: &Context, message: CreateUserRequest) -> Result<(), Status> {
        let request = context.request(message, self.auth.config.users_timeout.0);
        match UsersServiceClient::new(self.auth.users.clone()).create_user(request).await {
            Ok(_) => Ok(()),
            Err(status) if error::reason(&status).as_deref() == Some("HANDLE_RESERVED") => Err(handle_reserved()),
            // The caller can repeat the call with another handle and the same address and password.
            Err(status) if status.code() == Code::AlreadyExists => {
                Err(error::status(Code::AlreadyExists, "HANDLE_TAKEN", "the handle is taken; choose another"))
            }
            Err(status) if status.code() == Code::Aborted => Err(concurrent_sign_up()),
            Err(status) => Err(error::from_service("the users service", &status)),
        }
    }
}

/// The same status as from users: the field has the same name here.
fn handle_reserved() -> Status {
    error::invalid_field("handle", "HANDLE_RESERVED", "is reserved or looks like a reserved name; choose another")
}

fn concurrent_sign_up() -> Status {
    let message = "another sign-up for this address is in progress; try again";
    error::status(Code::Aborted, "CONCURRENT_SIGN_UP", message)
}

fn email_taken() -> Status {
    error::status(Code::AlreadyExists, "EMAIL_TAKEN", "an account with this address exists; sign in instead")
}
