//! The statements of admins.

use async_trait::async_trait;
use kit::Timestamp;
use kit_data::store::Error;

use crate::domain::{AccountId, AccountPage, AccountSummary, NewMail, SessionId};

/// The statements of admins. A change that could remove the last admin first locks the one row of `admin_setup`, so that
/// of two such changes the later one sees the earlier one.
#[async_trait]
pub trait AdminStore: Send + Sync {
    /// The accounts of a page, and one more if there is another page.
    async fn list_accounts(&self, page: &AccountPage) -> Result<Vec<AccountSummary>, Error>;

    /// Grants an active account a role, which it may have already. `false`: the account is not active. `notice`, here and
    /// below, is sent if something has changed.
    async fn grant_role(&self, account: AccountId, role: &str, notice: Option<&NewMail>) -> Result<bool, Error>;

    /// Revokes a role that the account may have, and ends all of its sessions if it had the role.
    async fn revoke_role(
        &self,
        account: AccountId,
        role: &str,
        notice: Option<&NewMail>,
        now: Timestamp,
    ) -> Result<Removal, Error>;

    /// Suspends an active account and ends all of its sessions. A suspended account stays suspended.
    async fn suspend(&self, account: AccountId, notice: Option<&NewMail>, now: Timestamp) -> Result<Removal, Error>;

    /// Restores a suspended account. An active account stays active. `false`: the account is in another state.
    async fn restore(&self, account: AccountId, notice: Option<&NewMail>) -> Result<bool, Error>;

    /// Whether an active account is an admin.
    async fn has_admin(&self) -> Result<bool, Error>;

    /// Stores the hash of a code for [`Self::claim_admin`], which replaces an earlier one.
    async fn offer_admin(&self, code_hash: &[u8], expire_time: Timestamp) -> Result<(), Error>;

    /// Makes an active account an admin if the code is in force, and uses the code up. `false`: it is not.
    async fn claim_admin(
        &self,
        account: AccountId,
        code_hash: &[u8],
        notice: Option<&NewMail>,
        now: Timestamp,
    ) -> Result<bool, Error>;
}

/// The result of a change that could remove the last admin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// These sessions were in force and have been ended.
    Done(Vec<SessionId>),
    /// No other active account is an admin; nothing was changed.
    LastAdmin,
    /// The account is not in a state that allows the change; nothing was changed.
    Refused,
}

impl Removal {
    /// The sessions that were ended; `None`: nothing was changed.
    pub fn ended(self) -> Option<Vec<SessionId>> {
        match self {
            Self::Done(ended) => Some(ended),
            Self::LastAdmin | Self::Refused => None,
        }
    }
}
