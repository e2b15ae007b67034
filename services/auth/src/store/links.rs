//! The store of the links of mails, and of the addresses of accounts.

use async_trait::async_trait;
use kit::Timestamp;
use kit_data::store::Error;
use uuid::Uuid;

use crate::domain::{AccountId, Email, EmailAddress, MailKind, NewMail, PasswordHash, SessionId, TokenHash};

/// The statements with the links of mails. A method that takes the token of a link uses the token up: it deletes the
/// token in a statement that starts after the account's row is locked, in the transaction of the change. Of two uses at
/// the same time one finds no token.
#[async_trait]
pub trait LinkStore: Send + Sync {
    /// The account of the token of a link, and the address that it was sent to, if it is valid `now`. Its use decides
    /// again.
    async fn find_link(
        &self,
        token: &TokenHash,
        kind: MailKind,
        now: Timestamp,
    ) -> Result<Option<(AccountId, EmailAddress)>, Error>;

    /// Sets a new password with the token of a link, verifies the address, deletes the other tokens of the account, and
    /// ends all of its sessions. Returns these sessions. `None`: the token is not valid (any more) or its account is
    /// not active, and nothing was changed.
    async fn reset_password(
        &self,
        token: &TokenHash,
        new: &PasswordHash,
        notice: Option<&NewMail>,
        now: Timestamp,
    ) -> Result<Option<Vec<SessionId>>, Error>;

    /// The address of an account. `None`: there is no such account.
    async fn find_email(&self, account: AccountId) -> Result<Option<Email>, Error>;

    /// Verifies the address of an account with the token of a link. `false`: the token is not valid (any more), and
    /// nothing was changed.
    async fn verify_email(&self, token: &TokenHash, now: Timestamp) -> Result<bool, Error>;

    /// Takes an address from an account that has not verified it, with the token of a link to that address.
    async fn release_email(&self, token: &TokenHash, now: Timestamp) -> Result<Release, Error>;

    /// Changes the address of an account with the token of a link to the new address, which is verified by that. An
    /// account that has not verified it loses it. Stores `undo`, addressed to the previous address, if its owner had
    /// verified that.
    async fn confirm_email(&self, token: &TokenHash, undo: &NewMail, now: Timestamp) -> Result<EmailChange, Error>;

    /// Restores the previous address of an account with the token of a link to it: deletes the password, all links and
    /// mails, ends all sessions, and stores `reset`, addressed to the restored address.
    async fn undo_email(&self, token: &TokenHash, reset: &NewMail, now: Timestamp) -> Result<EmailChange, Error>;

    /// Accounts without an address and without a stored session: no one can use them any more.
    async fn list_unreachable(&self, limit: u32) -> Result<Vec<AccountId>, Error>;

    /// Deletes such an account in one transaction, and enqueues a job. Returns whether it was one.
    async fn delete_unreachable(&self, account: AccountId, now: Timestamp, job_id: Uuid) -> Result<bool, Error>;
}

/// The result of a change of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmailChange {
    /// The account has the address. These sessions have ended.
    Changed(Vec<SessionId>),
    /// Another account has verified the address; nothing was changed.
    Taken,
    /// The token is not valid (any more); nothing was changed.
    Invalid,
}

/// The result of giving an address back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The address is free.
    Released,
    /// The account has verified the address and keeps it; nothing was changed.
    Verified,
    /// The token is not valid (any more); nothing was changed.
    Invalid,
}
