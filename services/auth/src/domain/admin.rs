//! What admins see of accounts, and the code that makes the first one.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use kit::{ClockAndRng, Timestamp};
use ring::digest::{SHA256, digest};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{AccountId, BadToken, EmailAddress, State};

/// The page size if the request states none.
const DEFAULT_PAGE: usize = 50;

/// An account without its credentials, with its roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSummary {
    /// The id.
    pub id: AccountId,
    /// The e-mail address.
    pub email: EmailAddress,
    /// The state.
    pub state: State,
    /// The roles, in order.
    pub roles: Vec<String>,
    /// When it was created.
    pub create_time: Timestamp,
}

/// Which accounts a list has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccountFilter {
    /// Only the account with this address.
    pub email: Option<EmailAddress>,
    /// Only accounts in this state.
    pub state: Option<State>,
    /// Only accounts with this role.
    pub role: Option<String>,
}

/// A page of accounts, the newest first: the ids are ordered by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountPage {
    /// Which accounts.
    pub filter: AccountFilter,
    /// Only accounts with a smaller id.
    pub before: AccountId,
    /// The most accounts on the page.
    pub size: usize,
}

impl AccountPage {
    /// The page that `token` points to; an empty token means the first page.
    pub fn parse(filter: AccountFilter, size: i32, token: &str) -> Result<Self, BadToken> {
        let size = usize::try_from(size).ok().filter(|size| *size > 0).unwrap_or(DEFAULT_PAGE);
        let before = if token.is_empty() { Uuid::max() } else { read_token(token, &filter).ok_or(BadToken)? };
        Ok(Self { filter, before: AccountId(before), size })
    }

    /// The token of the page of the same list that follows `last`.
    pub fn token_after(&self, last: AccountId) -> String {
        BASE64URL.encode(format!("{}/{}", last.0, list_of(&self.filter)))
    }
}

/// Identifies a list in its tokens, without the address.
fn list_of(filter: &AccountFilter) -> String {
    let state = filter.state.map_or("", State::as_str);
    format!("{state}/{}", filter.role.as_deref().unwrap_or_default())
}

fn read_token(token: &str, filter: &AccountFilter) -> Option<Uuid> {
    let text = String::from_utf8(BASE64URL.decode(token).ok()?).ok()?;
    let (id, list) = text.split_once('/')?;
    Uuid::try_parse(id).ok().filter(|_| list == list_of(filter))
}

/// The code that gives the account that presents it the role `admin`.
#[derive(Clone)]
pub struct AdminCode(Zeroizing<String>);

impl AdminCode {
    /// A new code of 256 bits.
    pub fn generate(clock_rng: &ClockAndRng) -> Self {
        Self::from(BASE64URL.encode(clock_rng.random::<32>()))
    }

    /// The code in the clear, for the operator.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The hash that is stored. A plain hash is enough, because the code is random.
    pub fn hash(&self) -> Vec<u8> {
        digest(&SHA256, self.0.as_bytes()).as_ref().to_vec()
    }
}

impl From<String> for AdminCode {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for AdminCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminCode(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_leads_to_the_next_page_of_its_own_list_only() {
        let suspended = AccountFilter { state: Some(State::Suspended), ..AccountFilter::default() };
        let page = AccountPage::parse(suspended.clone(), 7, "").unwrap();
        assert_eq!((page.before.0, page.size), (Uuid::max(), 7));
        let token = page.token_after(AccountId(Uuid::from_u128(7)));
        let golden = "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDA3L3N1c3BlbmRlZC8";
        assert_eq!(token, golden, "a replica of another release must read it");
        let next = AccountPage::parse(suspended, 0, &token).unwrap();
        assert_eq!((next.before.0, next.size), (Uuid::from_u128(7), DEFAULT_PAGE));
        assert_eq!(AccountPage::parse(AccountFilter::default(), 0, &token), Err(BadToken));
        for bad in ["x", "1", "1//", "/suspended/"] {
            assert_eq!(AccountPage::parse(AccountFilter::default(), 0, &BASE64URL.encode(bad)), Err(BadToken), "{bad}");
        }
    }

    #[test]
    fn debug_output_hides_the_code() {
        let code = AdminCode::generate(&ClockAndRng::system());
        assert_eq!((code.expose().len(), code.hash().len()), (43, 32));
        assert_eq!(format!("{code:?}"), "AdminCode(***)");
    }
}
