//! Conditional requests (RFC 9110, section 13): what the client has stored is not sent again.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header::IF_NONE_MATCH};
use ring::digest::{SHA256, digest};

use super::entity_tag;

/// How much of a hash is a tag: equal tags of different bodies are as unlikely as equal UUIDs.
const TAG_BYTES: usize = 16;
/// The length of [`hash`].
pub(crate) const HASH_CHARACTERS: usize = TAG_BYTES.div_ceil(3) * 4 - 2;

/// The hash of a body for its tag, in base64.
pub(crate) fn hash(body: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(&digest(&SHA256, body).as_ref()[..TAG_BYTES])
}

/// The strong tag of a body: each content coding of it has a tag of its own.
pub(crate) fn tag(body: &[u8]) -> HeaderValue {
    // Base64 fits into a header.
    HeaderValue::try_from(format!("\"{}\"", hash(body))).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether the client has stored the body with this tag (RFC 9110, section 13.1.2).
pub(crate) fn is_stored(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    contains(headers.get_all(IF_NONE_MATCH).iter(), tag)
}

/// Whether these lines of `if-none-match` contain a tag, by the weak comparison. A line that is no list of tags contains
/// none.
pub(crate) fn contains<'a>(lines: impl Iterator<Item = &'a HeaderValue>, tag: &HeaderValue) -> bool {
    let own = entity_tag::list(tag.as_bytes()).and_then(|own| own.first().map(|tag| tag.opaque));
    let stores = |line: &[u8]| {
        line.trim_ascii() == b"*"
            || entity_tag::list(line).is_some_and(|tags| tags.iter().any(|stored| Some(stored.opaque) == own))
    };
    lines.map(HeaderValue::as_bytes).any(stores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_of_tags_is_searched() {
        let tag = tag(b"body");
        let text = tag.to_str().unwrap().to_owned();
        let stored = |value: &str| {
            let headers = [(IF_NONE_MATCH, HeaderValue::try_from(value).unwrap())].into_iter().collect();
            is_stored(&headers, &tag)
        };
        for value in [text.clone(), format!("W/{text}"), format!("\"a\", {text} ,\"b\""), "*".to_owned()] {
            assert!(stored(&value), "{value}");
        }
        assert!(!stored("\"body\"") && !stored(""));
        assert!(!stored(&format!("\"a,{},b\"", text.trim_matches('"'))), "a part of another tag");
        let with_comma = HeaderValue::from_static("\"a,b.c\"");
        let lines = [HeaderValue::from_static("\"x\", W/\"a,b.c\"")];
        assert!(contains(lines.iter(), &with_comma), "a comma within quotes");
    }
}
