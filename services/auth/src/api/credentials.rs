//! Verifies passwords, changes them, and deletes accounts.

use std::{net::IpAddr, sync::Arc};

use kit::{error, principal::UserSession};
use proto::auth::v1::{ChangePasswordRequest, DeleteAccountRequest, ResetPasswordRequest};
use tonic::{Code, Status};

use super::{Api, bad_credentials, mail::link_invalid, sessions::ConfirmedSession, wrong_password};
use crate::{
    domain::{Account, Client, MailKind, MailToken, State},
    password::{Password, Queue, Verified},
};

impl Api {
    /// Returns the account if the password is right and the account may sign in. Takes the same time whatever is wrong.
    pub(super) async fn prove(
        &self,
        account: Option<Account>,
        password: Password,
        queue: Queue,
    ) -> Result<Account, Status> {
        let account = account.filter(|account| account.state == State::Active);
        let hashed = account.as_ref().map(|account| account.password.clone());
        let verified = self.hasher.verify(password.clone(), hashed, queue).await?;
        let account = account.filter(|_| verified.is_right()).ok_or_else(bad_credentials)?;
        if verified == Verified::RightAsSent || self.hasher.is_outdated(&account.password) {
            // The password is right. A new hash can wait for the next sign-in.
            if let Ok(renewed) = self.hasher.hash(password, queue).await
                && let Err(error) = self.auth.store.rehash(account.id, &account.password, &renewed).await
            {
                tracing::debug!(%error, "the password could not be hashed again; the next sign-in tries again");
            }
        }
        Ok(account)
    }

    /// Returns the caller's account if the password is right.
    pub(super) async fn prove_caller(
        &self,
        session: &ConfirmedSession,
        address: Option<IpAddr>,
        password: Password,
    ) -> Result<Account, Status> {
        let account = self.auth.store.find(session.account()).await?;
        let account = account.ok_or_else(bad_credentials)?;
        self.count_proof(session, address).await?;
        let proved = self.prove(Some(account.clone()), password, Queue::Known).await;
        if proved.as_ref().is_err_and(|status| status.code() == Code::Unauthenticated) {
            self.count_wrong_proof(&account, address).await;
            return Err(wrong_password());
        }
        proved
    }

    /// Changes the password and ends all sessions except the caller's. Of two concurrent changes, the second one is
    /// refused: the password that it has verified is no longer the current one.
    pub(super) async fn replace_password(
        &self,
        session: Arc<UserSession>,
        client: Client,
        address: Option<IpAddr>,
        request: ChangePasswordRequest,
    ) -> Result<(), Status> {
        let ChangePasswordRequest { current_password, new_password } = request;
        let (current, new) = (Password::new(current_password), Password::new(new_password));
        new.check_length("new_password")?;
        if current == new {
            let message = "must differ from the current password";
            return Err(error::invalid_field("new_password", "PASSWORD_UNCHANGED", message));
        }
        let caller = self.confirm(Arc::clone(&session)).await?;
        let account = self.prove_caller(&caller, address, current).await?;
        let own = self.own_words(account.id, &account.email).await;
        let hashed = self.hash_new("new_password", new, own, Queue::Known).await?;
        let notice = self.notice(MailKind::PasswordChanged, client).map(|mail| mail.of(account.id));
        let now = self.auth.clock_rng.now();
        let ended = self.auth.store.change_password(&account, &hashed, caller.id(), notice.as_ref(), now).await?;
        self.publish_ended(self.or_refused(ended, session).await?);
        Ok(())
    }

    /// Sets a new password with the token of a link. An unknown token is refused before the password is hashed, so that
    /// it costs little: its 256 random bits cannot be guessed, whatever the time reveals.
    pub(super) async fn reset(
        &self,
        client: Client,
        address: Option<IpAddr>,
        request: ResetPasswordRequest,
    ) -> Result<(), Status> {
        let (token, new) = (MailToken::from(request.token), Password::new(request.new_password));
        new.check_length("new_password")?;
        self.count_link(address).await?;
        let (token, now) = (token.hash(), self.auth.clock_rng.now());
        let found = self.auth.store.find_link(&token, MailKind::PasswordReset, now).await?;
        let (account, email) = found.ok_or_else(link_invalid)?;
        let own = self.own_words(account, &email).await;
        let hashed = self.hash_new("new_password", new, own, Queue::Known).await?;
        let notice = self.notice(MailKind::PasswordChanged, client);
        let now = self.auth.clock_rng.now();
        let ended = self.auth.store.reset_password(&token, &hashed, notice.as_ref(), now).await?;
        self.publish_ended(ended.ok_or_else(link_invalid)?);
        Ok(())
    }

    /// Deletes the account. A job deletes its data in other services.
    pub(super) async fn close_account(
        &self,
        session: Arc<UserSession>,
        address: Option<IpAddr>,
        request: DeleteAccountRequest,
    ) -> Result<(), Status> {
        let caller = self.confirm(Arc::clone(&session)).await?;
        let account = self.prove_caller(&caller, address, Password::new(request.password)).await?;
        let (now, job_id) = (self.auth.clock_rng.now(), self.auth.clock_rng.new_id());
        let ended = self.auth.store.delete_account(&account, caller.id(), now, job_id).await?;
        self.publish_ended(self.or_refused(ended, session).await?);
        Ok(())
    }

    /// Returns the result of a change. Without a result, returns the reason: the caller's session ended while the
    /// password was verified, or another change came first.
    pub(super) async fn or_refused<T>(&self, done: Option<T>, session: Arc<UserSession>) -> Result<T, Status> {
        if let Some(done) = done {
            return Ok(done);
        }
        self.confirm(session).await?;
        Err(wrong_password())
    }
}
