//! Pages of the directory.

use std::num::NonZeroU32;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use uuid::Uuid;

use super::{Query, User, UserId};

/// The page size if the request states none.
const DEFAULT_PAGE: u32 = 100;

/// One page of a list of users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Only users after this position.
    pub after: Cursor,
    /// The most users on the page.
    pub size: NonZeroU32,
}

/// A user's position in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The sort key: the handle, or the term that matches the query.
    pub key: String,
    /// The user's id, because several users may have the same term.
    pub id: UserId,
}

/// A user in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The profile.
    pub user: User,
    /// The sort key; see [`Cursor`].
    pub key: String,
}

/// A page token that was not issued for this list.
#[derive(Debug, PartialEq, Eq)]
pub struct BadToken;

impl Page {
    /// The page that `token` points to; an empty token means the first page.
    pub fn parse(size: i32, token: &str, query: Option<&Query>) -> Result<Self, BadToken> {
        let size = u32::try_from(size).ok().and_then(NonZeroU32::new);
        let size = size.unwrap_or(NonZeroU32::MIN.saturating_add(DEFAULT_PAGE - 1));
        let after = if token.is_empty() { Cursor::start(query) } else { Cursor::parse(token, query)? };
        Ok(Self { after, size })
    }
}

impl Cursor {
    /// The position before all users that the query finds.
    fn start(query: Option<&Query>) -> Self {
        Self { key: prefix(query).to_owned(), id: UserId(Uuid::nil()) }
    }

    /// Parses a token. A token of another query is refused, because it would skip users silently.
    fn parse(token: &str, query: Option<&Query>) -> Result<Self, BadToken> {
        let bytes = BASE64URL.decode(token).map_err(|_| BadToken)?;
        let text = String::from_utf8(bytes).map_err(|_| BadToken)?;
        let mut parts = text.splitn(3, '/');
        let (Some(length), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(BadToken);
        };
        let length: usize = length.parse().map_err(|_| BadToken)?;
        let id = Uuid::try_parse(id).map_err(|_| BadToken)?;
        let is_text = !key.contains('\0');
        if !is_text || key.get(..length) != Some(prefix(query)) {
            return Err(BadToken);
        }
        Ok(Self { key: key.to_owned(), id: UserId(id) })
    }

    /// The token of the page after this position. The key starts with the query's prefix, so the token contains only
    /// the prefix's length.
    pub fn token(&self, query: Option<&Query>) -> String {
        let Self { key, id } = self;
        BASE64URL.encode(format!("{}/{}/{key}", prefix(query).len(), id.0.simple()))
    }
}

impl Listed {
    /// The user's position.
    pub fn cursor(&self) -> Cursor {
        Cursor { key: self.key.clone(), id: self.user.id }
    }
}

fn prefix(query: Option<&Query>) -> &str {
    query.map_or("", Query::prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_leads_to_the_next_page_of_the_same_list() {
        let (a, ad, b) = (Query::parse("a"), Query::parse("Ad"), Query::parse("b"));
        let page = Page::parse(0, "", a.as_ref()).unwrap();
        assert_eq!((page.size.get(), page.after.key.as_str()), (100, "a"));
        let last = Cursor { key: "ada l/x".to_owned(), id: UserId(Uuid::from_u128(7)) };
        let token = last.token(a.as_ref());
        let golden = "MS8wMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwNy9hZGEgbC94";
        assert_eq!(token, golden, "a replica of another release must read it");
        assert_eq!(Page::parse(7, &token, a.as_ref()).unwrap().after, last);
        for other in [None, ad.as_ref(), b.as_ref()] {
            assert_eq!(Page::parse(7, &token, other), Err(BadToken));
        }
    }

    #[test]
    fn invalid_token_is_refused() {
        let without_key = "0/00000000000000000000000000000001";
        for text in ["a", "0/x/ada", without_key, &format!("9{without_key}/ada"), &format!("{without_key}/\0")] {
            assert_eq!(Page::parse(0, &BASE64URL.encode(text), None), Err(BadToken), "{text}");
        }
        for token in ["x", "////", "\u{fffd}"] {
            assert_eq!(Page::parse(0, token, None), Err(BadToken), "{token}");
        }
    }

    #[test]
    fn longest_token_fits_into_a_request() {
        let widest = "\u{10fffe}".repeat(64);
        let last = Cursor { key: widest, id: UserId(Uuid::max()) };
        assert!(last.token(Query::parse("a").as_ref()).len() <= 512);
    }
}
