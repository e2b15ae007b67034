//! Pages of an account's sessions, the last used first.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use kit::Timestamp;
use uuid::Uuid;

use super::{AccountId, Session, SessionId};

/// The page size if the request states none.
const DEFAULT_PAGE: usize = 100;

/// A page of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Only sessions after this position: last use and id.
    pub after: (Timestamp, SessionId),
    /// The most sessions on the page.
    pub size: usize,
}

/// A page token that was not issued for this list.
#[derive(Debug, PartialEq, Eq)]
pub struct BadToken;

impl Page {
    /// The page of `account`'s sessions that `token` points to; an empty token means the first page.
    pub fn parse(size: i32, token: &str, account: AccountId) -> Result<Self, BadToken> {
        let size = usize::try_from(size).ok().filter(|size| *size > 0).unwrap_or(DEFAULT_PAGE);
        let first = (LAST_TIME, SessionId(Uuid::max()));
        let after = if token.is_empty() { first } else { read_token(token, account).ok_or(BadToken)? };
        Ok(Self { after, size })
    }

    /// The token of the page that follows `last`.
    pub fn token_after(account: AccountId, last: &Session) -> String {
        BASE64URL.encode(format!("{}/{}/{}", account.0, last.last_use_time.as_micros(), last.id.0))
    }
}

/// After every session: a time in the year 9999, which both databases can store.
const LAST_TIME: Timestamp = Timestamp::from_micros(253_370_764_800_000_000);

fn read_token(token: &str, account: AccountId) -> Option<(Timestamp, SessionId)> {
    let text = String::from_utf8(BASE64URL.decode(token).ok()?).ok()?;
    let mut parts = text.split('/');
    let (of, micros, session) = (parts.next()?, parts.next()?, parts.next()?);
    let after = (Timestamp::from_micros(micros.parse().ok()?), SessionId(Uuid::try_parse(session).ok()?));
    let is_ours = of == account.0.to_string() && parts.next().is_none();
    (is_ours && (0..=LAST_TIME.as_micros()).contains(&after.0.as_micros())).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Client;

    #[test]
    fn page_token_is_valid_for_its_own_account_only() {
        let [mine, other] = [1, 2].map(|n| AccountId(Uuid::from_u128(n)));
        let at = Timestamp::from_micros(1_700_000_000_123_456);
        let id = SessionId(Uuid::from_u128(7));
        let last = Session { id, create_time: at, last_use_time: at, expire_time: at, client: Client::default() };
        let token = Page::token_after(mine, &last);
        let golden = "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAxLzE3MDAwMDAwMDAxMjM0NTYvMDAwMDAwMDAtMDAwMC0wMDAwLTAw\
                      MDAtMDAwMDAwMDAwMDA3";
        assert_eq!(token, golden, "a replica of another release must read it");
        assert_eq!(Page::parse(7, &token, mine), Ok(Page { after: (at, id), size: 7 }));
        assert_eq!(Page::parse(7, &token, other), Err(BadToken));
        assert_eq!(Page::parse(0, "", mine).unwrap().size, 100);
    }

    #[test]
    fn invalid_page_token_is_refused() {
        let account = AccountId(Uuid::from_u128(1));
        let made = |tail: &str| BASE64URL.encode(format!("{}/{tail}", account.0));
        let id = Uuid::from_u128(7);
        let bad = [
            "x".to_owned(),
            "////".to_owned(),
            made("1"),
            made("1/2"),
            made(&format!("-1/{id}")),
            made(&format!("{}/{id}", i64::MAX)),
            made(&format!("1/{id}/")),
        ];
        for token in bad {
            assert_eq!(Page::parse(0, &token, account), Err(BadToken), "{token}");
        }
    }
}
