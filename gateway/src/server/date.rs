//! The `date` header of a response (RFC 9110, section 6.6.1).

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, header::DATE};
use kit::time::{Clock as _, SystemClock};
use parking_lot::Mutex;

/// Formats the header's value once a second.
#[derive(Default)]
pub(super) struct Date(Mutex<Option<(u64, HeaderValue)>>);

impl Date {
    /// Adds the date, unless the response has one.
    pub(super) fn mark(&self, headers: &mut HeaderMap) {
        headers.entry(DATE).or_insert_with(|| self.at(SystemClock.now().as_secs().unsigned_abs()));
    }

    fn at(&self, second: u64) -> HeaderValue {
        let mut last = self.0.lock();
        if let Some((at, value)) = &*last
            && *at == second
        {
            return value.clone();
        }
        let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
        let value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        *last = Some((second, value.clone()));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_formatted_once_a_second_and_not_replaced() {
        let date = Date::default();
        assert_eq!(date.at(1_700_000_000), "Tue, 14 Nov 2023 22:13:20 GMT");
        assert_eq!(date.at(1_700_000_000), "Tue, 14 Nov 2023 22:13:20 GMT");
        assert_eq!(date.at(1_700_000_001), "Tue, 14 Nov 2023 22:13:21 GMT");
        let mut headers = HeaderMap::from_iter([(DATE, HeaderValue::from_static("the upstream's"))]);
        date.mark(&mut headers);
        assert_eq!(headers[DATE], "the upstream's");
    }
}
