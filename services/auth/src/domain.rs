//! Types and rules of accounts and sessions.

mod client;
mod email;
mod ended;
pub mod outbox;
mod page;
pub mod refresh;
mod token;

use std::{fmt, time::Duration};

use kit::Timestamp;
use uuid::Uuid;

pub use client::Client;
pub use email::{EmailAddress, InvalidEmail};
pub use ended::{EndedPage, EndedSession};
pub use page::{BadToken, Page};
pub use token::{RefreshToken, Seal, TokenHash};

/// The id of an account, and of its profile in users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AccountId(pub Uuid);

/// The id of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub Uuid);

/// The state of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The profile is not known to be there yet.
    Pending,
    /// May sign in.
    Active,
    /// May not sign in now.
    Suspended,
    /// Gone.
    Deleted,
}

impl State {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deleted => "deleted",
        }
    }

    /// From what is stored.
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
    /// Where the owner is reached.
    pub email: EmailAddress,
    /// The password, hashed.
    pub password: PasswordHash,
    /// How often its owner has changed the password.
    pub password_no: i64,
    /// Whether it may sign in.
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

/// A session that is about to be opened, with its first refresh token.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// The id.
    pub id: SessionId,
    /// Whose.
    pub account: AccountId,
    /// Which of the account's passwords opened it.
    pub password_no: i64,
    /// What opened it.
    pub client: Client,
    /// The hash of its first token.
    pub token: TokenHash,
    /// When.
    pub create_time: Timestamp,
    /// When it ends unless it is used.
    pub expire_time: Timestamp,
}

/// A session, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The id.
    pub id: SessionId,
    /// When it was opened.
    pub create_time: Timestamp,
    /// When it was refreshed last.
    pub last_use_time: Timestamp,
    /// When it ends unless it is used.
    pub expire_time: Timestamp,
    /// What used it last.
    pub client: Client,
}

/// How long sessions live.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// Without being used.
    pub idle: Duration,
    /// At all.
    pub absolute: Duration,
    /// How long a used token still returns its unused successor.
    pub grace: Duration,
}

impl Lifetimes {
    /// When a session ends that was opened at `create_time` and is used `now`.
    pub fn end(&self, create_time: Timestamp, now: Timestamp) -> Timestamp {
        (now + self.idle).min(create_time + self.absolute)
    }
}
