//! Responses to GET that clients may store (RFC 9110, section 13; RFC 9111).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
};
use ring::digest::{SHA256, digest};

/// How much of a hash is the tag of a response: equal tags of different responses are as unlikely as equal UUIDs.
const TAG_BYTES: usize = 16;

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
    pub(super) fn respond(&self, mut response: Response<Bytes>) -> Response<Bytes> {
        let tag = response.headers().get(ETAG).cloned().unwrap_or_else(|| hash(response.body()));
        let is_stored = self.contain(&tag);
        let headers = response.headers_mut();
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-cache"));
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

fn hash(body: &[u8]) -> HeaderValue {
    let hash = digest(&SHA256, body);
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&hash.as_ref()[..TAG_BYTES]));
    // Base64 fits into a header.
    HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\""))
}
