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
    /// The public display name.
    pub display_name: String,
    /// The state, which decides whether others see the profile.
    pub state: State,
    /// When it was created.
    pub create_time: Timestamp,
    /// Incremented by each change.
    pub revision: Revision,
}

/// The number of a profile's version, counted from 1. Clients see it as the profile's etag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision(pub i64);

impl Revision {
    /// The revision of a new profile.
    pub const FIRST: Self = Self(1);

    /// Parses an etag; `None`: it was never issued.
    pub fn parse(etag: &str) -> Option<Self> {
        etag.parse().ok().map(Self)
    }
}

/// Formats the etag.
impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A change of a profile by its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The user.
    pub id: UserId,
    /// The new handle; `None`: unchanged.
    pub handle: Option<String>,
    /// The new display name; `None`: unchanged.
    pub display_name: Option<String>,
    /// The expected current revision; `None`: any.
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
    /// Visible to other users.
    Active,
    /// Kept, but visible to no user.
    Suspended,
    /// Deleted; the row keeps the id and the handle from being assigned again.
    Deleted,
}

impl State {
    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deleted => "deleted",
        }
    }

    /// Reads the name in the database.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Suspended, Self::Deleted].into_iter().find(|state| state.as_str() == text)
    }
}
