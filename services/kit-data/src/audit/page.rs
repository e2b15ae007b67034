//! A page of `ListAuditEvents`. Each service returns the records of its own log, and auth merges them: a page token is a
//! position in time, at which the lists of all services continue.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use kit::{Timestamp, error, page::fitting};
use proto::audit::v1::AuditEvent;
use ring::digest::{SHA256, digest};
use tonic::Status;
use uuid::Uuid;

use super::{Cursor, RecordQuery};

/// The page size if the request states none.
const DEFAULT_PAGE: usize = 50;
/// A time in the year 9999, which both databases can store.
const LAST_MICROS: i64 = 253_370_764_800_000_000;

/// A page of records.
#[derive(Debug, Clone)]
pub struct EventPage {
    query: RecordQuery,
    /// The most records on the page.
    size: usize,
    /// Identifies the list in its tokens.
    list: String,
}

impl EventPage {
    /// The page that `token` points to; an empty token means the first page. `filter` is that of [`RecordQuery::new`].
    /// INVALID_ARGUMENT with reason FILTER_INVALID or PAGE_TOKEN_INVALID: it cannot be read.
    pub fn parse(filter: &str, is_oldest_first: bool, size: i32, token: &str) -> Result<Self, Status> {
        let size = usize::try_from(size).ok().filter(|size| *size > 0).unwrap_or(DEFAULT_PAGE);
        // One more than the page holds shows whether there is another page.
        let limit = u32::try_from(size + 1).unwrap_or(u32::MAX);
        let mut query = RecordQuery::new(filter, !is_oldest_first, limit)
            .map_err(|why| error::invalid_field("filter", "FILTER_INVALID", &why.to_string()))?;
        let list = list_of(filter, is_oldest_first);
        if !token.is_empty() {
            let wrong = || {
                error::invalid_field("page_token", "PAGE_TOKEN_INVALID", "must be the next_page_token of the same list")
            };
            query.after = Some(read(token, &list).ok_or_else(wrong)?);
        }
        Ok(Self { query, size, list })
    }

    /// Orders the records of several services, and cuts them to the page and to `bytes`. Returns the token of the next
    /// page; empty: this is the last page.
    pub fn cut(&self, events: &mut Vec<AuditEvent>, bytes: usize) -> String {
        let position = |event: &AuditEvent| {
            let at = event.create_time.unwrap_or_default();
            (at.seconds, at.nanos, event.event_id.clone())
        };
        events.sort_by_cached_key(position);
        if self.query.is_newest_first {
            events.reverse();
        }
        let found = events.len();
        events.truncate(fitting(events, bytes).min(self.size));
        match events.last() {
            Some(last) if events.len() < found => self.token_after(last),
            _ => String::new(),
        }
    }

    fn token_after(&self, last: &AuditEvent) -> String {
        let micros = last.create_time.map(Timestamp::from).map_or(0, Timestamp::as_micros);
        BASE64URL.encode(format!("{micros}/{}/{}", last.event_id, self.list))
    }

    pub(super) fn query(&self) -> &RecordQuery {
        &self.query
    }
}

/// Identifies a list, without its filter.
fn list_of(filter: &str, is_oldest_first: bool) -> String {
    let hash = digest(&SHA256, format!("{is_oldest_first}/{filter}").as_bytes());
    BASE64URL.encode(&hash.as_ref()[..8])
}

fn read(token: &str, list: &str) -> Option<Cursor> {
    let text = String::from_utf8(BASE64URL.decode(token).ok()?).ok()?;
    let (micros, rest) = text.split_once('/')?;
    let (id, of) = rest.split_once('/')?;
    let micros = micros.parse().ok().filter(|micros| (0..=LAST_MICROS).contains(micros))?;
    let cursor = Cursor { time: Timestamp::from_micros(micros), id: Uuid::try_parse(id).ok()? };
    Some(cursor).filter(|_| of == list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(micros: i64, id: u128) -> AuditEvent {
        let create_time = Some(Timestamp::from_micros(micros).into());
        AuditEvent { event_id: Uuid::from_u128(id).to_string(), create_time, ..AuditEvent::default() }
    }

    fn ids(events: &[AuditEvent]) -> Vec<u128> {
        events.iter().map(|event| Uuid::try_parse(&event.event_id).unwrap().as_u128()).collect()
    }

    #[test]
    fn records_of_several_services_are_one_list() {
        for (is_oldest_first, [first, second]) in [(true, [[1, 2], [3, 4]]), (false, [[4, 3], [2, 1]])] {
            let page = |token: &str| EventPage::parse("code = OK", is_oldest_first, 2, token).unwrap();
            // Two services each return up to one more than the page.
            let mut events = vec![event(7, 2), event(9, 4), event(7, 1), event(8, 3)];
            let token = page("").cut(&mut events, usize::MAX);
            assert_eq!(ids(&events), first);
            let after = page(&token).query().after.unwrap();
            assert_eq!(after.id.as_u128(), first[1]);
            let mut rest: Vec<_> = second.iter().map(|id| event(5, *id)).collect();
            assert_eq!(page(&token).cut(&mut rest, usize::MAX), "", "the last page");
        }
    }

    #[test]
    fn page_is_cut_to_its_bytes() {
        let page = EventPage::parse("", false, 0, "").unwrap();
        let mut events = vec![event(1, 1), event(2, 2)];
        assert!(!page.cut(&mut events, 1).is_empty());
        assert_eq!(ids(&events), [2]);
        assert_eq!(page.cut(&mut Vec::new(), 1), "");
    }

    #[test]
    fn token_of_another_list_is_refused() {
        let parse = |filter: &str, oldest, token: &str| EventPage::parse(filter, oldest, 1, token).map(drop);
        let page = EventPage::parse("code = OK", true, 1, "").unwrap();
        let token = page.cut(&mut vec![event(1, 1), event(2, 2)], usize::MAX);
        parse("code = OK", true, &token).unwrap();
        for (filter, oldest, token) in [
            ("code = OK", false, &*token),
            ("code != OK", true, &token),
            ("code = OK", true, "x"),
            ("", true, "MS8yLzM"),
        ] {
            let refused = parse(filter, oldest, token).unwrap_err();
            assert_eq!(error::reason(&refused).as_deref(), Some("PAGE_TOKEN_INVALID"));
        }
        assert_eq!(error::reason(&parse("code", true, "").unwrap_err()).as_deref(), Some("FILTER_INVALID"));
    }
}
