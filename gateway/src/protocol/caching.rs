//! Responses to GET that clients may store (RFC 9110, section 13; RFC 9111).

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY},
};

use crate::http::{
    entity_tag::may_be_in_tag,
    stored::{HASH_CHARACTERS, contains, hash},
};

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
        let etag = etag.and_then(|etag| etag.strip_prefix('"')?.strip_suffix('"'));
        let etag = etag.filter(|etag| etag.bytes().all(may_be_in_tag));
        let tag = tag(etag.unwrap_or_default(), response.body());
        let is_stored = contains(self.0.iter(), &tag);
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
}

fn tag(etag: &str, body: &[u8]) -> HeaderValue {
    let hash = hash(body);
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
