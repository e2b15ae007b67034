//! What the headers of a request state about its body, and about the response that the client accepts.

use http::{
    HeaderMap, Method, Request,
    header::{ACCEPT, CONTENT_LENGTH, TRANSFER_ENCODING},
};

use crate::http::weights::members;

/// Whether the request states that it has no body, with a method that pages of other origins cannot send without a
/// preflight.
pub(super) fn is_without_body<B>(request: &Request<B>) -> bool {
    let has_body = request.headers().get(CONTENT_LENGTH).is_some_and(|length| length != "0")
        || request.headers().contains_key(TRANSFER_ENCODING);
    *request.method() != Method::POST && !has_body
}

pub(super) fn is_json(media_type: &str) -> bool {
    media_type.eq_ignore_ascii_case("application/json")
}

/// Whether `accept` names a media type.
pub(super) fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    // A weight of zero excludes the type.
    ranges(headers).any(|(name, has_weight)| name.eq_ignore_ascii_case(media_type) && has_weight)
}

/// Whether `accept` allows a media type, by name or by a range; also if there is none. The most specific range counts
/// (RFC 9110, section 12.5.1).
pub(super) fn allows(headers: &HeaderMap, media_type: &str) -> bool {
    let kind = media_type.split('/').next().unwrap_or_default();
    let specificity = |name: &str| match name {
        "*/*" => Some(1),
        _ if name.eq_ignore_ascii_case(media_type) => Some(3),
        _ => name.strip_suffix("/*").filter(|name| name.eq_ignore_ascii_case(kind)).map(|_| 2),
    };
    let matching = ranges(headers).filter_map(|(name, has_weight)| Some((specificity(name)?, has_weight)));
    let best = matching.max();
    best.map_or_else(|| ranges(headers).next().is_none(), |(_, has_weight)| has_weight)
}

/// The media ranges of `accept`, each with whether its weight is above zero.
fn ranges(headers: &HeaderMap) -> impl Iterator<Item = (&str, bool)> {
    members(headers, &ACCEPT)
        .map(|(range, weight)| (range.split(';').next().unwrap_or_default().trim_end(), weight > 0))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn accept(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(value))])
    }

    #[test]
    fn accept_excludes_a_type_of_weight_zero() {
        let accepts = |value| accepts(&accept(value), "text/event-stream");
        assert!(accepts("text/event-stream") && accepts("text/html, Text/Event-Stream;q=0.1"));
        assert!(!accepts("text/event-stream;q=0") && !accepts("*/*") && !accepts("text/event-stream; q=0.0"));
    }

    #[test]
    fn most_specific_range_of_accept_counts() {
        assert!(allows(&HeaderMap::new(), "image/png"));
        for (value, expected) in [
            ("*/*", true),
            ("", true),
            ("image/*", true),
            ("Image/PNG", true),
            ("text/html, image/*;q=0.1", true),
            ("text/html", false),
            ("image/png;q=0, */*", false),
            ("image/*;q=0, */*", false),
            ("*/*;q=0, image/png", true),
        ] {
            assert_eq!(allows(&accept(value), "image/png"), expected, "{value}");
        }
    }
}
