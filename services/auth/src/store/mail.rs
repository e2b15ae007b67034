//! The store of mails, and of the tokens of their links.

use async_trait::async_trait;
use kit::Timestamp;
use kit_data::store::Error;
use uuid::Uuid;

use crate::domain::{
    AccountId, Email, KeptMail, MailKind, NewLink, NewMail, PasswordHash, SessionId, StoredMail, TokenHash,
};

/// The statements on mails. A method that takes the token of a link uses the token up: it deletes the token in a statement that
/// starts after the account's row is locked, in the transaction of the change. Of two uses at the same time one finds no
/// token.
#[async_trait]
pub trait MailStore: Send + Sync {
    /// Stores a mail, and enqueues the job that sends it.
    async fn queue_mail(&self, mail: &NewMail) -> Result<(), Error>;

    /// A mail that is not sent yet.
    async fn find_mail(&self, id: Uuid) -> Result<Option<StoredMail>, Error>;

    /// Stores the token of the mail's link. `false`: there is no such active account, and nothing was changed.
    async fn add_link(&self, mail: &StoredMail, link: &NewLink) -> Result<bool, Error>;

    /// Deletes a mail that was sent, or that is of no use.
    async fn delete_mail(&self, id: Uuid) -> Result<(), Error>;

    /// Moves a mail into the mailbox, and deletes all but the newest `most` mails there.
    async fn keep_mail(&self, mail: &KeptMail, most: u32) -> Result<(), Error>;

    /// The newest mails in the mailbox.
    async fn list_mailbox(&self, limit: u32) -> Result<Vec<KeptMail>, Error>;

    /// Whether the token of a link is valid `now`. Its use decides again.
    async fn is_link_valid(&self, token: &TokenHash, kind: MailKind, now: Timestamp) -> Result<bool, Error>;

    /// Sets a new password with the token of a link, verifies the address, deletes the other tokens of the account, and ends
    /// all of its sessions. Returns these sessions. `None`: the token is not valid (any more) or its account is not active,
    /// and nothing was changed.
    async fn reset_password(
        &self,
        token: &TokenHash,
        new: &PasswordHash,
        now: Timestamp,
    ) -> Result<Option<Vec<SessionId>>, Error>;

    /// The address of an account. `None`: there is no such account.
    async fn find_email(&self, account: AccountId) -> Result<Option<Email>, Error>;

    /// Verifies the address of an account with the token of a link. `false`: the token is not valid (any more), and nothing
    /// was changed.
    async fn verify_email(&self, token: &TokenHash, now: Timestamp) -> Result<bool, Error>;

    /// Takes an address from an account that has not verified it, with the token of a link to that address.
    async fn release_email(&self, token: &TokenHash, now: Timestamp) -> Result<Release, Error>;

    /// Accounts without an address and without a stored session: no one can use them any more.
    async fn list_unreachable(&self, limit: u32) -> Result<Vec<AccountId>, Error>;

    /// Deletes such an account in one transaction, and enqueues a job. Returns whether it was one.
    async fn delete_unreachable(&self, account: AccountId, now: Timestamp, job_id: Uuid) -> Result<bool, Error>;

    /// Deletes at most `limit` rows in one statement: tokens that have expired, then mails from before `before`, whose jobs
    /// have failed. Returns the number of rows.
    async fn prune_mail(&self, now: Timestamp, before: Timestamp, limit: u32) -> Result<u64, Error>;
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
