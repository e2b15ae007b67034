//! Pages of the users whom a user has blocked, by id.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use uuid::Uuid;

use super::{BadToken, UserId};

/// How many users a page holds when the caller does not say.
const DEFAULT_PAGE: usize = 100;

/// One page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockedPage {
    /// Only users past this one.
    pub after: UserId,
    /// How many at most.
    pub size: usize,
}

impl BlockedPage {
    /// The page that `token` asks for; an empty token asks for the first.
    pub fn parse(size: i32, token: &str) -> Result<Self, BadToken> {
        let size = usize::try_from(size).ok().filter(|size| *size > 0).unwrap_or(DEFAULT_PAGE);
        let after = if token.is_empty() { UserId(Uuid::nil()) } else { read_token(token)? };
        Ok(Self { after, size })
    }

    /// The token of the page after the one that ended with `last`.
    pub fn token_after(last: UserId) -> String {
        BASE64URL.encode(format!("blocked/{last}"))
    }
}

fn read_token(token: &str) -> Result<UserId, BadToken> {
    let bytes = BASE64URL.decode(token).map_err(|_| BadToken)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| BadToken)?;
    let id = text.strip_prefix("blocked/").ok_or(BadToken)?;
    Uuid::try_parse(id).map(UserId).map_err(|_| BadToken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_token_is_refused() {
        let user = UserId(Uuid::from_u128(7));
        for bad in ["x", "!", &BASE64URL.encode(user.to_string()), &BASE64URL.encode("blocked/x")] {
            assert_eq!(BlockedPage::parse(0, bad), Err(BadToken), "{bad}");
        }
        let token = BlockedPage::token_after(user);
        assert_eq!(BlockedPage::parse(5, &token), Ok(BlockedPage { after: user, size: 5 }));
    }
}
