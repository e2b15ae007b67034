//! Pages of the users whom a user has blocked, in the order of ids.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use uuid::Uuid;

use super::{BadToken, UserId};

/// The page size when the request sets none.
const DEFAULT_PAGE: usize = 100;

/// One page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockedPage {
    /// Only users with greater ids.
    pub after: UserId,
    /// The maximum number of users.
    pub size: usize,
}

impl BlockedPage {
    /// The page at `token`; an empty token is the first page.
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
    fn forged_token_is_refused() {
        let user = UserId(Uuid::from_u128(7));
        for bad in ["x", "!", &BASE64URL.encode(user.to_string()), &BASE64URL.encode("blocked/x")] {
            assert_eq!(BlockedPage::parse(0, bad), Err(BadToken), "{bad}");
        }
        let token = BlockedPage::token_after(user);
        let golden = "YmxvY2tlZC8wMDAwMDAwMC0wMDAwLTAwMDAtMDAwMC0wMDAwMDAwMDAwMDc";
        assert_eq!(token, golden, "a replica of another release must read it");
        assert_eq!(BlockedPage::parse(5, &token), Ok(BlockedPage { after: user, size: 5 }));
    }
}
