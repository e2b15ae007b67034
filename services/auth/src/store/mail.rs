//! The store of mails.

use async_trait::async_trait;
use kit::Timestamp;
use kit_data::store::Error;
use uuid::Uuid;

use crate::domain::{Account, KeptMail, NewLink, NewMail, SessionId, StoredMail};

/// The statements on mails.
#[async_trait]
pub trait MailStore: Send + Sync {
    /// Stores mails, and enqueues the jobs that send them.
    async fn queue_mails(&self, mails: &[NewMail]) -> Result<(), Error>;

    /// Stores the mails of a requested change of the account's address, and enqueues the jobs that send them. `false`:
    /// the account is not active (any more), its password has changed since `account` was read, or `session`, the
    /// caller's, has ended, and nothing was stored.
    async fn queue_email_change(
        &self,
        account: &Account,
        session: SessionId,
        mails: &[NewMail],
        now: Timestamp,
    ) -> Result<bool, Error>;

    /// A mail that is not sent yet.
    async fn find_mail(&self, id: Uuid) -> Result<Option<StoredMail>, Error>;

    /// Stores the token of the mail's link. `false`: there is no such active account, or the mail was deleted
    /// meanwhile, and nothing was changed. A new password deletes the tokens and the mails under the lock of the
    /// account's row; this method takes the same lock, so that no link of a deleted mail is stored behind it.
    async fn add_link(&self, mail: &StoredMail, link: &NewLink) -> Result<bool, Error>;

    /// Deletes a mail that was sent, or that is of no use.
    async fn delete_mail(&self, id: Uuid) -> Result<(), Error>;

    /// Moves a mail into the mailbox, and deletes all but the newest `most` mails there.
    async fn keep_mail(&self, mail: &KeptMail, most: u32) -> Result<(), Error>;

    /// The newest mails in the mailbox.
    async fn list_mailbox(&self, limit: u32) -> Result<Vec<KeptMail>, Error>;

    /// Deletes at most `limit` rows in one statement: tokens that have expired, then mails from before `before`, whose
    /// jobs have failed. Returns the number of rows.
    async fn prune_mail(&self, now: Timestamp, before: Timestamp, limit: u32) -> Result<u64, Error>;
}
