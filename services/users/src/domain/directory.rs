//! Pages of the directory.

use std::num::NonZeroU32;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use uuid::Uuid;

use super::{Query, User, UserId};

/// How many users a page holds when the caller does not say.
const DEFAULT_PAGE: u32 = 100;

/// One page of a list of users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Only users past this place.
    pub after: Cursor,
    /// How many at most.
    pub size: NonZeroU32,
}

/// A user's place in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// What the list is ordered by: the handle, or the term that a query has found.
    pub key: String,
    /// Several users may have the same term.
    pub id: UserId,
}

/// A user in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The profile.
    pub user: User,
    /// See [`Cursor`].
    pub key: String,
}

/// A page token that no page of this list ended with.
#[derive(Debug, PartialEq, Eq)]
pub struct BadToken;

impl Page {
    /// The page that `token` asks for; an empty token asks for the first.
    pub fn parse(size: i32, token: &str, query: Option<&Query>) -> Result<Self, BadToken> {
        let size = u32::try_from(size).ok().and_then(NonZeroU32::new);
        let size = size.unwrap_or(NonZeroU32::MIN.saturating_add(DEFAULT_PAGE - 1));
        let after = if token.is_empty() { Cursor::start(query) } else { Cursor::parse(token, query)? };
        Ok(Self { after, size })
    }
}

impl Cursor {
    /// Before everyone whom the query finds.
    fn start(query: Option<&Query>) -> Self {
        Self { key: prefix(query).to_owned(), id: UserId(Uuid::nil()) }
    }

    /// A token belongs to one list: with another query it would skip users silently.
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

    /// The token of the page after this place. The key begins with what the query looks for, so its length tells the rest.
    pub fn token(&self, query: Option<&Query>) -> String {
        let Self { key, id } = self;
        BASE64URL.encode(format!("{}/{}/{key}", prefix(query).len(), id.0.simple()))
    }
}

impl Listed {
    /// Where the user stands.
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
        assert_eq!(Page::parse(7, &token, a.as_ref()).unwrap().after, last);
        for other in [None, ad.as_ref(), b.as_ref()] {
            assert_eq!(Page::parse(7, &token, other), Err(BadToken));
        }
    }

    #[test]
    fn made_up_token_is_refused() {
        let nobody = "0/00000000000000000000000000000001";
        for text in ["a", "0/x/ada", nobody, &format!("9{nobody}/ada"), &format!("{nobody}/\0")] {
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
