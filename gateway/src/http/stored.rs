//! Conditional requests (RFC 9110, section 13): what the client has stored is not sent again.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header::IF_NONE_MATCH};
use ring::digest::{SHA256, digest};

/// How much of a hash is a tag: equal tags of different bodies are as unlikely as equal UUIDs.
const TAG_BYTES: usize = 16;

/// The strong tag of a body: each content coding of it has a tag of its own.
pub(crate) fn tag(body: &[u8]) -> HeaderValue {
    let hash = URL_SAFE_NO_PAD.encode(&digest(&SHA256, body).as_ref()[..TAG_BYTES]);
    // Base64 fits into a header.
    HeaderValue::try_from(format!("\"{hash}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether the client has stored the body with this tag (RFC 9110, section 13.1.2).
pub(crate) fn is_stored(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let lines = headers.get_all(IF_NONE_MATCH).iter().map(HeaderValue::as_bytes);
    let mut tags = lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    tags.any(|stored| stored == b"*" || stored.strip_prefix(b"W/").unwrap_or(stored) == tag.as_bytes())
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
    }
}
