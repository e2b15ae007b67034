//! Types and rules of profiles.

mod handle;

use std::{fmt, num::NonZeroU32};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use kit::Timestamp;
use uuid::Uuid;

pub use handle::{Cooling, Reserved};

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

/// How many users a page holds when the caller does not say.
const DEFAULT_PAGE: u32 = 100;

/// One page of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Only handles that begin with this.
    pub prefix: String,
    /// Only handles past this one.
    pub after: String,
    /// How many at most.
    pub size: NonZeroU32,
}

/// A page token that no page of this list ended with.
#[derive(Debug, PartialEq, Eq)]
pub struct BadToken;

impl Page {
    /// The page that `token` asks for; an empty token asks for the first.
    pub fn parse(size: i32, token: &str, prefix: &str) -> Result<Self, BadToken> {
        let size = u32::try_from(size).ok().and_then(NonZeroU32::new);
        let size = size.unwrap_or(NonZeroU32::MIN.saturating_add(DEFAULT_PAGE - 1));
        let after = if token.is_empty() { String::new() } else { Self::read_token(token, prefix)? };
        Ok(Self { prefix: prefix.to_owned(), after, size })
    }

    fn read_token(token: &str, prefix: &str) -> Result<String, BadToken> {
        let bytes = BASE64URL.decode(token).map_err(|_| BadToken)?;
        let text = String::from_utf8(bytes).map_err(|_| BadToken)?;
        // The token belongs to one list: another filter with it would skip users silently.
        let of_handle = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        match text.split_once('/') {
            Some((of, after)) if of == prefix && after.starts_with(prefix) && after.bytes().all(of_handle) => {
                Ok(after.to_owned())
            }
            _ => Err(BadToken),
        }
    }

    /// The token of the page after the one that ended with `last`.
    pub fn token_after(&self, last: &User) -> String {
        BASE64URL.encode(format!("{}/{}", self.prefix, last.handle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(handle: &str) -> User {
        User {
            id: UserId(Uuid::nil()),
            handle: handle.to_owned(),
            display_name: handle.to_owned(),
            state: State::Active,
            create_time: Timestamp::from_micros(0),
            revision: Revision::FIRST,
        }
    }

    #[test]
    fn a_token_leads_to_the_next_page_of_the_same_list() {
        let page = Page::parse(0, "", "a").unwrap();
        assert_eq!((page.size.get(), page.after.as_str()), (100, ""));
        let token = page.token_after(&user("ada"));
        assert_eq!(Page::parse(7, &token, "a").unwrap().after, "ada");
        assert_eq!(Page::parse(7, &token, "b"), Err(BadToken));
    }

    #[test]
    fn a_made_up_token_is_refused() {
        for token in ["x", "////", "YWRh", "LwA", "\u{fffd}"] {
            assert_eq!(Page::parse(0, token, ""), Err(BadToken), "{token}");
        }
    }
}
