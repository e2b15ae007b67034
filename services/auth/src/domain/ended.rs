//! Pages of the recently ended sessions, in the order of their end.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use kit::Timestamp;
use uuid::Uuid;

use super::{BadToken, SessionId};

/// The page size if the request states none.
const DEFAULT_PAGE: usize = 1_000;
/// How late an ended session may become visible after its `revoke_time`: the clocks of auth's replicas differ, and a
/// transaction takes time.
const OVERLAP: Duration = Duration::from_secs(120);

/// A page of ended sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedPage {
    /// Only sessions that ended after this one, or at the same time and with a larger id.
    pub after: (Timestamp, SessionId),
    /// The most sessions on the page.
    pub size: usize,
}

/// A session that was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedSession {
    /// The id.
    pub id: SessionId,
    /// When it was ended.
    pub revoke_time: Timestamp,
}

impl EndedPage {
    /// The page that `token` points to. An empty token means the first page. It starts with the oldest session whose
    /// access tokens, which live for `lifetime`, may still be in force `now`, or where a list made at `since` ended.
    pub fn parse(
        size: i32,
        token: &str,
        since: Option<Timestamp>,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Self, BadToken> {
        let size = usize::try_from(size).ok().filter(|size| *size > 0).unwrap_or(DEFAULT_PAGE);
        let oldest = now - lifetime - OVERLAP;
        let first = since.map_or(oldest, |since| (since.min(now) - OVERLAP).max(oldest));
        let after = if token.is_empty() { (first, SessionId(Uuid::nil())) } else { read(token).ok_or(BadToken)? };
        Ok(Self { after, size })
    }

    /// Cuts the store's result, which has one more session than the page if there is another page. Returns the token of
    /// the next page; empty on the last page.
    pub fn cut(&self, ended: &mut Vec<EndedSession>) -> String {
        let more = ended.len() > self.size;
        ended.truncate(self.size);
        ended.last().filter(|_| more).map_or(String::new(), Self::token_after)
    }

    /// The token of the page that follows `last`.
    fn token_after(last: &EndedSession) -> String {
        BASE64URL.encode(format!("{}/{}", last.revoke_time.as_micros(), last.id.0))
    }
}

/// A time in the year 9999, which both databases can store.
const LAST_MICROS: i64 = 253_370_764_800_000_000;

fn read(token: &str) -> Option<(Timestamp, SessionId)> {
    let text = String::from_utf8(BASE64URL.decode(token).ok()?).ok()?;
    let (micros, id) = text.split_once('/')?;
    let micros = micros.parse().ok().filter(|micros| (0..=LAST_MICROS).contains(micros))?;
    Some((Timestamp::from_micros(micros), SessionId(Uuid::try_parse(id).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn list_starts_where_tokens_may_still_be_in_force() {
        let first = |since| {
            let page = EndedPage::parse(0, "", since, Duration::from_secs(900), at(10_000)).unwrap();
            assert_eq!((page.size, page.after.1), (1_000, SessionId(Uuid::nil())));
            page.after.0
        };
        assert_eq!(first(None), at(8_980));
        assert_eq!(first(Some(at(9_990))), at(9_870));
        assert_eq!(first(Some(at(5))), at(8_980), "an older list does not extend the range");
    }

    #[test]
    fn token_leads_to_the_next_page_and_invalid_ones_are_refused() {
        let parse = |token: &str| EndedPage::parse(7, token, None, Duration::from_secs(900), at(10_000));
        let last = EndedSession { id: SessionId(Uuid::from_u128(7)), revoke_time: at(9_500) };
        let golden = "OTUwMDAwMDAwMC8wMDAwMDAwMC0wMDAwLTAwMDAtMDAwMC0wMDAwMDAwMDAwMDc";
        assert_eq!(EndedPage::token_after(&last), golden, "a replica of another release must read it");
        assert_eq!(parse(&EndedPage::token_after(&last)), Ok(EndedPage { after: (at(9_500), last.id), size: 7 }));
        for bad in ["x", "1", "1/2", &format!("-1/{}", Uuid::nil()), &format!("{}/{}", i64::MAX, Uuid::nil())] {
            assert_eq!(parse(&BASE64URL.encode(bad)), Err(BadToken), "{bad}");
        }
    }
}
