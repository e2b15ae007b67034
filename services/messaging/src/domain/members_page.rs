//! Pages of a conversation's members, in the order in which they joined.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use uuid::Uuid;

use super::{BadToken, ConversationId, Member, UserId};

/// The page size when the request sets none.
const DEFAULT_PAGE: usize = 100;

/// One page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MembersPage {
    /// Only members after this one, in the order of the list.
    pub after: (i64, UserId),
    /// The maximum number of members.
    pub size: usize,
}

impl MembersPage {
    /// The page of `conversation` at `token`; an empty token is the first page.
    pub fn parse(size: i32, token: &str, conversation: ConversationId) -> Result<Self, BadToken> {
        let size = usize::try_from(size).ok().filter(|size| *size > 0).unwrap_or(DEFAULT_PAGE);
        let after = if token.is_empty() { (0, UserId(Uuid::nil())) } else { read_token(token, conversation)? };
        Ok(Self { after, size })
    }

    /// The token of the page after the one that ended with `last`.
    pub fn token_after(conversation: ConversationId, last: &Member) -> String {
        BASE64URL.encode(format!("{conversation}/{}/{}", last.join_seq, last.user))
    }
}

fn read_token(token: &str, conversation: ConversationId) -> Result<(i64, UserId), BadToken> {
    let bytes = BASE64URL.decode(token).map_err(|_| BadToken)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| BadToken)?;
    let mut parts = text.split('/');
    let (Some(of), Some(seq), Some(user), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(BadToken);
    };
    if of != conversation.to_string() {
        return Err(BadToken);
    }
    let seq = seq.parse().ok().filter(|seq| *seq > 0).ok_or(BadToken)?;
    let user = Uuid::try_parse(user).map_err(|_| BadToken)?;
    Ok((seq, UserId(user)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_token_is_refused() {
        let (here, user) = (ConversationId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let other = ConversationId(Uuid::from_u128(3));
        let forged =
            [format!("{here}/0/{user}"), format!("{here}/1"), format!("{here}/1/x"), format!("{other}/1/{user}")];
        for bad in forged.iter().map(|inside| BASE64URL.encode(inside)).chain(["x".to_owned(), "!".to_owned()]) {
            assert_eq!(MembersPage::parse(0, &bad, here), Err(BadToken), "{bad}");
        }
        let token = MembersPage::token_after(here, &Member { user, join_seq: 7, read_no: 0 });
        let golden =
            "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAxLzcvMDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAy";
        assert_eq!(token, golden, "a replica of another release must read it");
        assert_eq!(MembersPage::parse(5, &token, here), Ok(MembersPage { after: (7, user), size: 5 }));
    }
}
