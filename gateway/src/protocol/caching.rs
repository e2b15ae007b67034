//! Responses to GET that clients may store (RFC 9110, section 13; RFC 9111).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY},
};
use ring::digest::{SHA256, digest};

/// How much of a hash is the tag of a response: equal tags of different responses are as unlikely as equal UUIDs.
const TAG_BYTES: usize = 16;

/// The length of the hash in base64.
const HASH_CHARACTERS: usize = TAG_BYTES.div_ceil(3) * 4 - 2;
/// Stands between the etag of the message and the hash.
const SEPARATOR: char = '.';

/// The tags of the responses that a client has stored.
#[derive(Debug, Clone, Default)]
pub(super) struct StoredTags(Vec<HeaderValue>);

impl StoredTags {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self(headers.get_all(IF_NONE_MATCH).iter().cloned().collect())
    }

    /// Lets the client store a successful response. Unless the service has set `cache-control`, the client must ask each
    /// time whether its response is current: another user may have signed in, or the data may have changed. A response
    /// that the client has is not sent again.
    ///
    /// The tag is a hash of the body, after the etag of the message if it has one. The etag alone would not do: it may
    /// be that of a part of the message.
    pub(super) fn respond(&self, mut response: Response<Bytes>) -> Response<Bytes> {
        let etag = response.headers().get(ETAG).and_then(|etag| etag.to_str().ok());
        let etag = etag.and_then(|etag| etag.strip_prefix('"')?.strip_suffix('"')).filter(|etag| !etag.contains('"'));
        let tag = tag(etag.unwrap_or_default(), response.body());
        let is_stored = self.contain(&tag);
        let headers = response.headers_mut();
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-cache"));
        // The response to another user is another one.
        headers.append(VARY, HeaderValue::from_static("authorization, cookie"));
        headers.insert(ETAG, tag);
        if is_stored {
            headers.remove(CONTENT_TYPE);
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Bytes::new();
        }
        response
    }

    fn contain(&self, tag: &HeaderValue) -> bool {
        let lines = self.0.iter().map(HeaderValue::as_bytes);
        let mut tags = lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
        tags.any(|known| known == b"*" || known.strip_prefix(b"W/").unwrap_or(known) == tag.as_bytes())
    }
}

fn tag(etag: &str, body: &[u8]) -> HeaderValue {
    let hash = URL_SAFE_NO_PAD.encode(&digest(&SHA256, body).as_ref()[..TAG_BYTES]);
    // An etag that is no header value is left out; base64 is one.
    HeaderValue::try_from(format!("\"{etag}{SEPARATOR}{hash}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// The etag of the message in a tag that [`StoredTags::respond`] made, or in one that is only the etag.
pub(super) fn etag_of(tag: &str) -> &str {
    match tag.rsplit_once(SEPARATOR) {
        Some((etag, hash)) if hash.len() == HASH_CHARACTERS => etag,
        _ => tag,
    }
}
