//! Types and rules of accounts and sessions.

mod admin;
mod base32;
mod client;
mod email;
mod ended;
mod factors;
pub mod jobs;
mod mail;
mod page;
pub mod refresh;
mod token;
mod totp;

use std::{fmt, time::Duration};

use kit::Timestamp;
use uuid::Uuid;

pub use admin::{AccountFilter, AccountPage, AccountSummary, AdminCode};
pub use client::Client;
pub use email::{EmailAddress, InvalidEmail};
pub use ended::{EndedPage, EndedSession};
pub use factors::{
    ChallengeToken, Factor, FactorId, FactorProof, Factors, NewChallenge, PendingTotp, RECOVERY_CODES, RecoveryCode,
    StoredTotp, TypedCode,
};
pub use mail::{Email, KeptMail, Language, MailDetails, MailKind, MailToken, NewLink, NewMail, StoredMail};
pub use page::{BadToken, Page};
pub use token::{RefreshToken, Seal, TokenHash};
pub use totp::{TotpCode, TotpSecret, TotpStep};

/// The id of an account, and of its profile in users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AccountId(pub Uuid);

/// The id of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub Uuid);

impl AccountId {
    /// The name of the resource in audit records. The account and the profile have the same id.
    pub fn name(self) -> String {
        format!("users/{}", self.0)
    }
}

impl SessionId {
    /// The name of the resource in audit records.
    pub fn name(self, account: AccountId) -> String {
        format!("{}/sessions/{}", account.name(), self.0)
    }
}

/// The state of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The sign-up is not finished; the profile may not exist.
    Pending,
    /// May sign in.
    Active,
    /// May not sign in now.
    Suspended,
    /// Deleted by its owner.
    Deleted,
}

impl State {
    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deleted => "deleted",
        }
    }

    /// Reads the name in the database.
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::Pending, Self::Active, Self::Suspended, Self::Deleted];
        all.into_iter().find(|state| state.as_str() == text)
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The id.
    pub id: AccountId,
    /// The e-mail address, by which the owner signs in.
    pub email: EmailAddress,
    /// The hash of the password.
    pub password: PasswordHash,
    /// Counts the changes of the password by its owner.
    pub password_no: i64,
    /// The state.
    pub state: State,
    /// When it was created.
    pub create_time: Timestamp,
}

/// A hashed password, as a PHC string.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(***)")
    }
}

/// A session before it is stored, with its first refresh token.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// The id.
    pub id: SessionId,
    /// The account.
    pub account: AccountId,
    /// The account's `password_no` when the password was verified.
    pub password_no: i64,
    /// The client that opened it.
    pub client: Client,
    /// The hash of its first refresh token.
    pub token: TokenHash,
    /// When it is opened.
    pub create_time: Timestamp,
    /// When it ends unless it is used.
    pub expire_time: Timestamp,
    /// The mail that its opening causes.
    pub mail: Option<NewMail>,
}

/// A session in its owner's list of sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The id.
    pub id: SessionId,
    /// When it was opened.
    pub create_time: Timestamp,
    /// When it was last refreshed.
    pub last_use_time: Timestamp,
    /// When it ends unless it is used.
    pub expire_time: Timestamp,
    /// The client that used it last.
    pub client: Client,
}

/// How long sessions live.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// How long a session lives without a refresh.
    pub idle: Duration,
    /// How long a session lives at most.
    pub absolute: Duration,
    /// How long a used token still returns its unused successor.
    pub grace: Duration,
}

impl Lifetimes {
    /// The end of a session that was opened at `create_time` and is refreshed `now`.
    pub fn end(&self, create_time: Timestamp, now: Timestamp) -> Timestamp {
        (now + self.idle).min(create_time + self.absolute)
    }
}
