//! The store of accounts and sessions.

mod admin;
mod factors;
mod links;
mod mail;
mod operator;
mod postgres;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use kit::{ClockAndRng, Timestamp};
use kit_data::{
    audit::Log,
    jobs::Queue,
    store::{Error, Location, Settings, Unopened},
};
use uuid::Uuid;

use crate::domain::{
    Account, AccountId, Client, EmailAddress, EndedPage, EndedSession, Lifetimes, NewMail, NewSession, Page,
    PasswordHash, Session, SessionId, TokenHash, jobs::AccountImported,
};
pub use admin::{AdminStore, Removal};
pub use factors::{Attempt, Begun, CodeKind, ConfirmedTotp, FactorChange, FactorStore, MostAttempts, Proved};
pub use links::{EmailChange, LinkStore, Release};
pub use mail::MailStore;
pub use operator::offer_admin;

/// The statements of the service. A change of several sessions of an account locks the account's row first, so that no
/// session opens or ends meanwhile.
#[async_trait]
pub trait AuthStore: AdminStore + FactorStore + LinkStore + MailStore + Send + Sync {
    /// The jobs of the service.
    fn jobs(&self) -> &Queue;

    /// The audit log of the service. Each change below that an auditor expects is recorded in its transaction.
    fn audit(&self) -> &Log;

    /// Returns the id of this instance, and stores `new` as the id if there is none.
    async fn instance(&self, new: &str) -> Result<String, Error>;

    /// The account, in any state.
    async fn find(&self, id: AccountId) -> Result<Option<Account>, Error>;

    /// The account with this address, in any state.
    async fn find_by_email(&self, email: &EmailAddress) -> Result<Option<Account>, Error>;

    /// The client addresses of at most `limit` newest sessions of the active account with this address, including ended
    /// sessions that are still stored.
    async fn list_addresses(&self, email: &EmailAddress, limit: u32) -> Result<Vec<String>, Error>;

    /// The account's roles, in order.
    async fn list_roles(&self, account: AccountId) -> Result<Vec<String>, Error>;

    /// Stores a pending account. The unique constraint refuses an address that another account has.
    async fn insert(&self, account: &Account) -> Result<(), InsertError>;

    /// Stores active accounts with the jobs that create their profiles, in one transaction. Skips addresses that have an
    /// account. Returns the number of new accounts.
    async fn import(&self, accounts: &[NewImport], clock_rng: &ClockAndRng) -> Result<u64, Error>;

    /// Resumes the sign-up of a pending account. Returns the number of the attempt, which is larger than all before; a
    /// new account has attempt 0. `None`: it is not pending (any more).
    async fn resume(&self, account: AccountId) -> Result<Option<i64>, Error>;

    /// Activates a pending account and opens its first session in one transaction. `false`: it is not pending (any
    /// more), or a later attempt has resumed it, and nothing was changed.
    async fn activate(&self, session: &NewSession, attempt: i64) -> Result<bool, Error>;

    /// Deletes the account if it is pending and was created before `before`, and enqueues a job, because
    /// users may have its profile. Returns whether it was deleted. Of an activation at the same time exactly one
    /// succeeds: both check the state in the statement that changes it.
    async fn abandon(&self, account: AccountId, before: Timestamp, now: Timestamp, job_id: Uuid)
    -> Result<bool, Error>;

    /// Pending accounts that were created before `before`, the oldest first.
    async fn list_pending(&self, before: Timestamp, limit: u32) -> Result<Vec<AccountId>, Error>;

    /// The number of stored password hashes; with `pepper`, of those that need this pepper. It reads all accounts.
    async fn count_hashes(&self, pepper: Option<&str>) -> Result<u64, Error>;

    /// The number of stored password hashes that need any pepper. It reads all accounts.
    async fn count_peppered(&self) -> Result<u64, Error>;

    /// Replaces the hash of the unchanged password, unless the hash has changed meanwhile.
    async fn rehash(&self, account: AccountId, old: &PasswordHash, new: &PasswordHash) -> Result<(), Error>;

    /// Replaces the password's hash, ends all sessions except `keep`, the caller's, and stores the notice, in one
    /// transaction. Returns the ended sessions. `None`: the account is not active (any more), its password has changed
    /// since `account` was read, or
    /// `keep` has ended, and nothing was changed.
    async fn change_password(
        &self,
        account: &Account,
        new: &PasswordHash,
        keep: SessionId,
        notice: Option<&NewMail>,
        now: Timestamp,
    ) -> Result<Option<Vec<SessionId>>, Error>;

    /// Deletes the account in one transaction: erases its address, password and roles, ends its sessions, and enqueues a
    /// job. `session` is the caller's. Refused for the same reasons as `change_password`.
    async fn delete_account(
        &self,
        account: &Account,
        session: SessionId,
        now: Timestamp,
        job_id: Uuid,
    ) -> Result<Removal, Error>;

    /// Stores that the user of a session has proved again who they are, with the password of `account`. `None`: the
    /// account is not active (any more), its password has changed since `account` was read, the session has ended, or the
    /// account has a second factor, which only [`FactorStore::prove_again_with_code`] proves.
    async fn prove_again(
        &self,
        account: &Account,
        session: SessionId,
        now: Timestamp,
    ) -> Result<Option<Continued>, Error>;

    /// Opens a session. `false`: the account is not active (any more), its password has changed since it was verified, or
    /// it has a second factor, which only [`FactorStore::complete_sign_in`] proves. A session that opens during a deletion
    /// or a change of the password is either refused here or ended by that change.
    async fn open_session(&self, session: &NewSession) -> Result<bool, Error>;

    /// Presents a refresh token: decides under the session's row lock, and stores the result.
    async fn refresh(
        &self,
        presented: &TokenHash,
        successor: &Successor,
        client: &Client,
        now: Timestamp,
        lifetimes: Lifetimes,
    ) -> Result<Refreshed, Error>;

    /// The account's sessions of a page that are in force `now`, and one more if there is another page.
    async fn list_sessions(&self, account: AccountId, page: &Page, now: Timestamp) -> Result<Vec<Session>, Error>;

    /// Whether the account has this session and it is in force `now`.
    async fn is_in_force(&self, account: AccountId, session: SessionId, now: Timestamp) -> Result<bool, Error>;

    /// The ended sessions of a page, and one more if there is another page.
    async fn list_ended(&self, page: &EndedPage) -> Result<Vec<EndedSession>, Error>;

    /// Ends the session of the token, used or not, and returns its id. `None`: the token is unknown.
    async fn revoke(&self, token: &TokenHash, now: Timestamp) -> Result<Option<SessionId>, Error>;

    /// Ends the account's session, which may have ended before. `false`: the account has no such session.
    async fn revoke_session(&self, account: AccountId, session: SessionId, now: Timestamp) -> Result<bool, Error>;

    /// Ends all of the account's sessions except `keep`, and returns those that were in force.
    async fn revoke_all(
        &self,
        account: AccountId,
        keep: Option<SessionId>,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, Error>;

    /// Erases sealed successors of tokens that were used before `before`.
    async fn erase_sealed(&self, before: Timestamp) -> Result<u64, Error>;

    /// Deletes at most `limit` rows in one statement: tokens of sessions that ended before `before`, then these
    /// sessions, then tokens that were used before `used_before`. Returns the number of rows; 0: nothing is left except
    /// rows that another replica is deleting.
    async fn prune(&self, before: Timestamp, used_before: Timestamp, limit: u32) -> Result<u64, Error>;

    /// Whether the database is reachable.
    async fn is_reachable(&self) -> bool;
}

/// An account of another service.
#[derive(Debug, Clone)]
pub struct NewImport {
    /// The account.
    pub account: Account,
    /// When its address was verified. `None`: it was not.
    pub verify_time: Option<Timestamp>,
    /// The job that creates its profile.
    pub job: AccountImported,
}

/// The token that replaces the presented one if it rotates.
#[derive(Debug)]
pub struct Successor {
    /// Its hash.
    pub hash: TokenHash,
    /// The token, encrypted, for a repeat of its predecessor.
    pub sealed: Vec<u8>,
    /// The id of the notice if the presented token was used before. `None`: there is no notice.
    pub notice: Option<Uuid>,
}

/// The result of presenting a token.
#[derive(Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// The successor is in force.
    Rotated(Continued),
    /// An earlier successor, encrypted, is in force.
    Repeated(Continued, Vec<u8>),
    /// The token was old; its session has been ended.
    Revoked(SessionId),
    /// The token is unknown, or its session is not in force.
    Refused,
}

/// The session that continues.
#[derive(Debug, PartialEq, Eq)]
pub struct Continued {
    /// Its id.
    pub session: SessionId,
    /// The account.
    pub account: AccountId,
    /// When its user last proved who they are.
    pub auth_time: Timestamp,
    /// When it ends unless it is used.
    pub expire_time: Timestamp,
    /// Whether it was opened with a proof of the second factor.
    pub second_factor: bool,
}

/// Why an account was not stored.
#[derive(Debug)]
pub enum InsertError {
    /// Another account has the address.
    EmailTaken,
    /// The store failed.
    Store(Error),
}

/// Opens the store and runs its migrations.
pub async fn open(location: &Location, settings: impl Into<Settings>) -> Result<Arc<dyn AuthStore>, Unopened> {
    let settings = settings.into();
    Ok(match location {
        Location::Postgres(url) => Arc::new(postgres::open(url, &settings).await?),
        Location::Sqlite(path) => Arc::new(sqlite::open(path, &settings).await?),
    })
}
