//! Pages of a conversation's history, newest first.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};

use super::{ConversationId, Entry};

/// The page size when the request sets none.
const DEFAULT_PAGE: usize = 100;

/// Separates the conversation and the sequence number. Tokens of earlier releases contain `/` and the number of a message;
/// they are invalid.
const SEPARATOR: char = '@';

/// One page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Only entries before this sequence number.
    pub before: i64,
    /// The maximum number of entries.
    pub size: usize,
}

/// A page token that this list did not issue.
#[derive(Debug, PartialEq, Eq)]
pub struct BadToken;

impl Page {
    /// The page of `conversation` at `token`; an empty token is the page of the newest entries.
    pub fn parse(size: i32, token: &str, conversation: ConversationId) -> Result<Self, BadToken> {
        let size = usize::try_from(size).ok().filter(|size| *size > 0).unwrap_or(DEFAULT_PAGE);
        let before = if token.is_empty() { i64::MAX } else { read_token(token, conversation)? };
        Ok(Self { before, size })
    }

    /// The token of the page after the one that ended with `last`.
    pub fn token_after(last: &Entry) -> String {
        BASE64URL.encode(format!("{}{SEPARATOR}{}", last.conversation, last.seq))
    }
}

fn read_token(token: &str, conversation: ConversationId) -> Result<i64, BadToken> {
    let bytes = BASE64URL.decode(token).map_err(|_| BadToken)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| BadToken)?;
    let (of, before) = text.split_once(SEPARATOR).ok_or(BadToken)?;
    let before = before.parse().ok().filter(|before| *before > 0).ok_or(BadToken)?;
    if of == conversation.to_string() { Ok(before) } else { Err(BadToken) }
}

#[cfg(test)]
mod tests {
    use kit::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::domain::{Body, UserId};

    /// A client may present the token of one replica to another one of another release.
    #[test]
    fn token_has_its_golden_text() {
        let person = UserId(Uuid::from_u128(2));
        let last = Entry {
            conversation: ConversationId(Uuid::from_u128(1)),
            seq: 41,
            author: person,
            create_time: Timestamp::from_micros(1),
            body: Body::Added { person },
        };
        assert_eq!(Page::token_after(&last), "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAxQDQx");
    }

    #[test]
    fn forged_token_is_refused() {
        let here = ConversationId(Uuid::from_u128(1));
        for bad in [
            "x",
            "!",
            &BASE64URL.encode("a@1"),
            &BASE64URL.encode(format!("{here}@0")),
            &BASE64URL.encode(format!("{here}/9")),
        ] {
            assert_eq!(Page::parse(0, bad, here), Err(BadToken), "{bad}");
        }
        let good = BASE64URL.encode(format!("{here}@41"));
        assert_eq!(Page::parse(5, &good, here), Ok(Page { before: 41, size: 5 }));
        assert_eq!(Page::parse(0, "", here), Ok(Page { before: i64::MAX, size: 100 }));
    }
}
