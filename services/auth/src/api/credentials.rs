//! Passwords: proved, changed, and proved a last time.

use std::net::IpAddr;

use kit::{
    Context, error,
    limiter::{Ask, Away, Key, Limit, Outcome, network},
};
use proto::auth::v1::{ChangePasswordRequest, DeleteAccountRequest};
use tonic::Status;
use zeroize::Zeroizing;

use super::{Api, bad_credentials};
use crate::{
    domain::{Account, AccountId, Email, SessionId, State},
    password::{Hasher, Password},
};

impl Api {
    /// Counts an attempt, before anything is looked up: the answer is the same whether the account exists.
    pub(super) async fn count_attempt(&self, email: &Email, address: Option<IpAddr>) -> Result<(), Status> {
        let account = Key::new(&[b"account", email.as_str().as_bytes()]);
        let from = address.map_or([0; 16], |address| network(address).octets());
        let config = &self.auth.config;
        let limits = [
            Limit {
                key: Key::new(&[b"from", account.as_bytes(), &from]),
                quota: config.attempts_by_address(),
                cost: 1,
            },
            Limit { key: account, quota: config.attempts(), cost: 1 },
        ];
        let ask = Ask { scope: "auth/attempt", limits: &limits, away: Away::Local };
        let Outcome::Refused { retry_after } = self.auth.limiter.decide(&ask).decision().await.outcome else {
            return Ok(());
        };
        let message = "too many attempts to sign in to this account; wait as retry-after says";
        Err(error::exhausted("RATE_LIMITED", message, retry_after))
    }

    /// The account, if the password is right and it may sign in. Takes the same time whatever is wrong.
    pub(super) async fn prove(&self, account: Option<Account>, password: Password) -> Result<Account, Status> {
        let account = account.filter(|account| account.state == State::Active);
        let hashed = account.as_ref().map(|account| account.password.clone());
        let proved = self.hasher.verify(password.clone(), hashed).await?;
        let account = account.filter(|_| proved).ok_or_else(bad_credentials)?;
        if Hasher::is_outdated(&account.password) {
            let renewed = self.hasher.hash(password).await?;
            self.auth.store.rehash(account.id, &account.password, &renewed).await?;
        }
        Ok(account)
    }

    /// The caller's own account, if the password is right: an attempt as any other.
    async fn prove_caller(&self, context: &Context, password: Password) -> Result<Account, Status> {
        let account = self.auth.store.find(AccountId(context.user()?.id)).await?;
        let account = account.ok_or_else(bad_credentials)?;
        self.count_attempt(&account.email, context.caller.address).await?;
        self.prove(Some(account), password).await
    }

    /// Changes the password and ends all sessions but the one that calls. Of two changes at once one finds that the
    /// password, which it has proved, is no longer that.
    pub(super) async fn replace_password(
        &self,
        context: &Context,
        request: ChangePasswordRequest,
    ) -> Result<(), Status> {
        let ChangePasswordRequest { current_password, new_password } = request;
        let (current, new) = (Zeroizing::new(current_password), Zeroizing::new(new_password));
        if current == new {
            let message = "must be another than the current password";
            return Err(error::invalid_field("new_password", "PASSWORD_UNCHANGED", message));
        }
        let account = self.prove_caller(context, current).await?;
        let (hashed, session) = (self.hasher.hash(new).await?, SessionId(context.user()?.session));
        let ended = self.auth.store.change_password(&account, &hashed, session, self.auth.ambient.now()).await?;
        self.tell_ended(ended.ok_or_else(bad_credentials)?);
        Ok(())
    }

    /// Deletes the account. What follows elsewhere, follows from the outbox.
    pub(super) async fn close_account(&self, context: &Context, request: DeleteAccountRequest) -> Result<(), Status> {
        let account = self.prove_caller(context, Zeroizing::new(request.password)).await?;
        let (now, outbox_id) = (self.auth.ambient.now(), self.auth.ambient.new_id());
        let ended = self.auth.store.delete_account(&account, now, outbox_id).await?;
        self.tell_ended(ended.ok_or_else(bad_credentials)?);
        self.told.notify_one();
        Ok(())
    }
}
