//! Types and rules of profiles.

mod directory;
mod handle;
mod search;

use std::fmt;

use kit::Timestamp;
use uuid::Uuid;

pub use directory::{BadToken, Cursor, Listed, Page};
pub use handle::{Cooling, Reserved};
pub use search::{Query, terms};

/// A profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The account's id.
    pub id: UserId,
    /// The unique public name; the contract states its form.
    pub handle: String,
    /// The name that others see.
    pub display_name: String,
    /// Whether others see the profile at all.
    pub state: State,
    /// When it was created.
    pub create_time: Timestamp,
    /// Counted up by each change.
    pub revision: Revision,
}

/// Which of its states a profile is in, counted from 1. Its owner sees it as the profile's etag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision(pub i64);

impl Revision {
    /// Of a new profile.
    pub const FIRST: Self = Self(1);

    /// From an etag that was handed out; `None`: no profile ever had it.
    pub fn parse(etag: &str) -> Option<Self> {
        etag.parse().ok().map(Self)
    }
}

/// The etag.
impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What its owner changes of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whose profile.
    pub id: UserId,
    /// The new handle; `None`: it stays.
    pub handle: Option<String>,
    /// The new name; `None`: it stays.
    pub display_name: Option<String>,
    /// Only while the profile is in this state; `None`: whatever it is.
    pub revision: Option<Revision>,
}

/// The id of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(pub Uuid);

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The state of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Seen by everybody.
    Active,
    /// Kept, but shown to nobody.
    Suspended,
    /// Gone; the row keeps the id and the handle from being given away again.
    Deleted,
}

impl State {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deleted => "deleted",
        }
    }

    /// From what is stored.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Suspended, Self::Deleted].into_iter().find(|state| state.as_str() == text)
    }
}
