//! Where accounts and sessions live.

mod postgres;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use kit::{
    Timestamp,
    store::{Error, Location, Settings, Unopened},
};
use uuid::Uuid;

use crate::domain::{
    Account, AccountId, Client, EmailAddress, EndedPage, EndedSession, Lifetimes, NewSession, Page, PasswordHash,
    Session, SessionId, TokenHash,
    outbox::{Backlog, Event},
};

/// The statements of the service. Whatever touches several sessions of an account takes the account's row first, so
/// that none opens or ends unseen meanwhile.
#[async_trait]
pub trait AuthStore: Outbox {
    /// The id of this instance: `new`, unless it has one already.
    async fn instance(&self, new: &str) -> Result<String, Error>;

    /// The account, in whatever state.
    async fn find(&self, id: AccountId) -> Result<Option<Account>, Error>;

    /// The account with this address, in whatever state.
    async fn find_by_email(&self, email: &EmailAddress) -> Result<Option<Account>, Error>;

    /// The client addresses of the newest sessions, at most `limit`, of the account with this address, ended ones that
    /// are still kept among them. None where there is no account that may sign in.
    async fn list_addresses(&self, email: &EmailAddress, limit: u32) -> Result<Vec<String>, Error>;

    /// The account's roles, in order.
    async fn list_roles(&self, account: AccountId) -> Result<Vec<String>, Error>;

    /// Stores a pending account. That nobody else has the address is the unique constraint's rule.
    async fn insert(&self, account: &Account) -> Result<(), InsertError>;

    /// Goes on with a pending account: the number of the attempt, which is larger than all before. `None`: it is not
    /// pending (any more). A new account has attempt 0.
    async fn resume(&self, account: AccountId) -> Result<Option<i64>, Error>;

    /// Activates a pending account and opens its first session, all or nothing. `false`: it is not pending (any
    /// more), or another attempt has resumed it since, and nothing was done.
    async fn activate(&self, session: &NewSession, attempt: i64) -> Result<bool, Error>;

    /// Deletes the account if it is pending and was created before `before`, and tells the outbox, because users
    /// may have its profile. Whether it was. An activation at the same time wins or loses as a whole: both ask
    /// for the state in the statement that changes it.
    async fn abandon(
        &self,
        account: AccountId,
        before: Timestamp,
        now: Timestamp,
        outbox_id: Uuid,
    ) -> Result<bool, Error>;

    /// Pending accounts that were created before `before`, the oldest first.
    async fn list_pending(&self, before: Timestamp, limit: u32) -> Result<Vec<AccountId>, Error>;

    /// Replaces the password's hash, unless it was changed meanwhile.
    async fn rehash(&self, account: AccountId, old: &PasswordHash, new: &PasswordHash) -> Result<(), Error>;

    /// Replaces the password's hash and ends all sessions but `keep`, which calls, all or nothing. Returns those that
    /// were ended; `None`: the account is not active (any more), `account` knows an older password, or `keep` has ended,
    /// and nothing was done.
    async fn change_password(
        &self,
        account: &Account,
        new: &PasswordHash,
        keep: SessionId,
        now: Timestamp,
    ) -> Result<Option<Vec<SessionId>>, Error>;

    /// Deletes the account: its address, its password and its roles go, its sessions end, and the outbox is told,
    /// all or nothing. `session` calls. Returns the same as `change_password`.
    async fn delete_account(
        &self,
        account: &Account,
        session: SessionId,
        now: Timestamp,
        outbox_id: Uuid,
    ) -> Result<Option<Vec<SessionId>>, Error>;

    /// Opens a session. `false`: the account is not active (any more), or was proved by an older password. A session
    /// that opens while its account is deleted or gets another password is either refused here or ended there.
    async fn open_session(&self, session: &NewSession) -> Result<bool, Error>;

    /// Presents a refresh token: decides under the session's row lock, and stores what was decided.
    async fn refresh(
        &self,
        presented: &TokenHash,
        successor: &Successor,
        client: &Client,
        now: Timestamp,
        lifetimes: Lifetimes,
    ) -> Result<Refreshed, Error>;

    /// The account's sessions of a page that are in force `now`, and one more when there are more.
    async fn list_sessions(&self, account: AccountId, page: &Page, now: Timestamp) -> Result<Vec<Session>, Error>;

    /// Whether the account has this session and it is in force `now`.
    async fn is_in_force(&self, account: AccountId, session: SessionId, now: Timestamp) -> Result<bool, Error>;

    /// The sessions of a page that were ended, and one more when there are more.
    async fn list_ended(&self, page: &EndedPage) -> Result<Vec<EndedSession>, Error>;

    /// Ends the session that the token belongs to, used or not, and answers it. Nothing happens for an unknown one.
    async fn revoke(&self, token: &TokenHash, now: Timestamp) -> Result<Option<SessionId>, Error>;

    /// Ends the session of the account, which may have ended before. `false`: the account has none such.
    async fn revoke_session(&self, account: AccountId, session: SessionId, now: Timestamp) -> Result<bool, Error>;

    /// Ends all of the account's sessions but `keep`, and answers those that were in force.
    async fn revoke_all(
        &self,
        account: AccountId,
        keep: Option<SessionId>,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, Error>;

    /// Erases sealed successors of tokens that were used before `before`.
    async fn erase_sealed(&self, before: Timestamp) -> Result<u64, Error>;

    /// Deletes at most `limit` rows, in one statement: of sessions that ended before `before`, their tokens first, and
    /// of used tokens of others that were used before `used_before`. The response is how many; 0: nothing is left but
    /// what somebody else is deleting.
    async fn prune(&self, before: Timestamp, used_before: Timestamp, limit: u32) -> Result<u64, Error>;

    /// Whether the database answers.
    async fn answers(&self) -> bool;
}

/// What others must come to know, row by row. Several may take rows at once: no row is taken by two, unless the time
/// that the first one took it for is over.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Takes the event that is due longest, so that nobody else gets it before `until`.
    async fn take(&self, now: Timestamp, until: Timestamp) -> Result<Option<Event>, Error>;

    /// Puts the event back until `due`, counted as taken `attempts` times; unless somebody else has taken it since.
    async fn put_back(&self, event: &Event, attempts: i64, due: Timestamp) -> Result<(), Error>;

    /// Forgets the event: it was carried out.
    async fn remove(&self, event: &Event) -> Result<(), Error>;

    /// How much is waiting, taken or not.
    async fn backlog(&self) -> Result<Backlog, Error>;
}

/// The token that takes the presented one's place, should it be rotated.
#[derive(Debug)]
pub struct Successor {
    /// Its hash.
    pub hash: TokenHash,
    /// It, sealed for whoever presents its predecessor again.
    pub sealed: Vec<u8>,
}

/// What became of a presented token.
#[derive(Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// The successor is in force.
    Rotated(Continued),
    /// An earlier successor is: sealed.
    Repeated(Continued, Vec<u8>),
    /// An old token: its session was ended now.
    Revoked(SessionId),
    /// Nothing is in force.
    Refused,
}

/// The session that goes on.
#[derive(Debug, PartialEq, Eq)]
pub struct Continued {
    /// Its id.
    pub session: SessionId,
    /// Whose.
    pub account: AccountId,
    /// When it ends unless it is used.
    pub expire_time: Timestamp,
}

/// Why an account was not stored.
#[derive(Debug)]
pub enum InsertError {
    /// Another account has the address.
    EmailTaken,
    /// The store failed.
    Store(Error),
}

/// Opens the store and brings it up to date.
pub async fn open(location: &Location, settings: impl Into<Settings>) -> Result<Arc<dyn AuthStore>, Unopened> {
    let settings = settings.into();
    Ok(match location {
        Location::Postgres(url) => Arc::new(postgres::open(url, &settings).await?),
        Location::Sqlite(path) => Arc::new(sqlite::open(path, &settings).await?),
    })
}
