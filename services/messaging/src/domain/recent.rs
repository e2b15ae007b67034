//! Pages of a user's conversations, the one with the newest entry first.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use kit::Timestamp;
use uuid::Uuid;

use super::{BadToken, Conversation, ConversationId};

/// The page size when the request sets none.
const DEFAULT_PAGE: usize = 50;

/// One page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recent {
    /// Only conversations after this one, in the order of the list.
    pub after: (Timestamp, ConversationId),
    /// The maximum number of conversations.
    pub size: usize,
}

impl Recent {
    /// The page at `token`; an empty token is the first page.
    pub fn parse(size: i32, token: &str) -> Result<Self, BadToken> {
        let size = usize::try_from(size).ok().filter(|size| *size > 0).unwrap_or(DEFAULT_PAGE);
        let start = (Timestamp::from_micros(MAX), ConversationId(Uuid::max()));
        let after = if token.is_empty() { start } else { read_token(token)? };
        Ok(Self { after, size })
    }

    /// The token of the page after the one that ended with `last`.
    pub fn token_after(last: &Conversation) -> String {
        Self::token_past(last.update_time, last.id)
    }

    /// The token of the page after the one that ended with this time and conversation.
    pub fn token_past(time: Timestamp, id: ConversationId) -> String {
        BASE64URL.encode(format!("{}/{id}", time.as_micros()))
    }
}

/// The last second of the year 9999, in microseconds: the latest time that both databases can store.
const MAX: i64 = 253_402_300_799_000_000;

fn read_token(token: &str) -> Result<(Timestamp, ConversationId), BadToken> {
    let bytes = BASE64URL.decode(token).map_err(|_| BadToken)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| BadToken)?;
    let (micros, id) = text.split_once('/').ok_or(BadToken)?;
    let micros = micros.parse().ok().filter(|micros| (0..=MAX).contains(micros)).ok_or(BadToken)?;
    let id = Uuid::try_parse(id).map_err(|_| BadToken)?;
    Ok((Timestamp::from_micros(micros), ConversationId(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_token_is_refused() {
        let id = Uuid::from_u128(7);
        for bad in ["x", "!", &BASE64URL.encode("5/x"), &BASE64URL.encode(format!("-1/{id}"))] {
            assert_eq!(Recent::parse(0, bad), Err(BadToken), "{bad}");
        }
        let good = BASE64URL.encode(format!("5/{id}"));
        let after = (Timestamp::from_micros(5), ConversationId(id));
        let golden = "NS8wMDAwMDAwMC0wMDAwLTAwMDAtMDAwMC0wMDAwMDAwMDAwMDc";
        assert_eq!(Recent::token_past(after.0, after.1), golden, "a replica of another release must read it");
        assert_eq!(Recent::parse(3, &good), Ok(Recent { after, size: 3 }));
    }
}
