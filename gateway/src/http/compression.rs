//! Compresses bodies that are complete before they are sent.
//!
//! A response is not compressed if a secret or private text may stand in it: an attacker who sees the size of responses
//! and controls a part of them could guess the rest (BREACH). `docs/security.md` states the rule; `protocol::private`
//! decides for messages.

use std::{io::Write as _, sync::OnceLock};

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, VARY},
};
use http_body_util::Full;

use super::{
    content_coding::ContentCoding,
    stored::{is_stored, tag},
};
use crate::config::Compression;

/// The largest window of Brotli, as a power of two: what browsers support (RFC 7932, section 9.1).
const MOST_BROTLI_WINDOW_LOG: u32 = 22;
/// The smallest one that the format has.
const LEAST_BROTLI_WINDOW_LOG: u32 = 10;

/// States that the response depends on `accept-encoding`, for caches.
pub(crate) fn mark(headers: &mut HeaderMap) {
    headers.append(VARY, HeaderValue::from_static("accept-encoding"));
}

/// Compresses the body of a response with these headers, and states it there. Returns the body as it is if the
/// configuration, the client (`coding`) or the response itself excludes it, or if it would not be smaller.
pub(crate) fn apply(
    config: &Compression,
    coding: Option<ContentCoding>,
    headers: &mut HeaderMap,
    body: Bytes,
) -> Bytes {
    let Some(coding) = coding.filter(|_| config.covers(body.len()) && is_compressible(headers)) else { return body };
    match compress(coding, config.level, &body) {
        Some(compressed) => {
            headers.insert(CONTENT_ENCODING, coding.header());
            compressed.into()
        }
        None => body,
    }
}

/// Whether the response has a type that compresses well, and permits it (RFC 9110, section 7.7).
fn is_compressible(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_text = media_type.starts_with("text/") || media_type.ends_with("+json") || media_type.ends_with("+xml");
    let is_known = matches!(&*media_type, "application/json" | "application/proto" | "application/xml");
    let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    let mut directives = lines.flat_map(|line| line.split(',')).map(str::trim);
    (is_text || is_known)
        && !headers.contains_key(CONTENT_ENCODING)
        && !directives.any(|directive| directive.eq_ignore_ascii_case("no-transform"))
}

/// The compressed body; `None`: it would not be smaller.
fn compress(coding: ContentCoding, level: u8, body: &[u8]) -> Option<Vec<u8>> {
    let compressed = match coding {
        ContentCoding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::new(level.into()));
            encoder.write_all(body).and_then(|()| encoder.finish())
        }
        ContentCoding::Brotli => brotli(level, body),
        ContentCoding::Zstd => zstd::bulk::compress(body, level.into()),
    };
    compressed.ok().filter(|compressed| compressed.len() < body.len())
}

fn brotli(level: u8, mut body: &[u8]) -> std::io::Result<Vec<u8>> {
    // A window that covers the body; a larger one would only cost memory.
    let window = (body.len().max(2) - 1).ilog2() + 1;
    let window = window.clamp(LEAST_BROTLI_WINDOW_LOG, MOST_BROTLI_WINDOW_LOG);
    let parameters = brotli::enc::BrotliEncoderParams {
        quality: level.into(),
        lgwin: i32::try_from(window).unwrap_or_default(),
        size_hint: body.len(),
        ..Default::default()
    };
    let mut compressed = Vec::new();
    brotli::BrotliCompress(&mut body, &mut compressed, &parameters)?;
    Ok(compressed)
}

/// A body that many responses share, without secrets. Each coding of it is made when a client first accepts it.
pub(crate) struct SharedBody {
    content_type: HeaderValue,
    identity: Representation,
    /// In the order of [`ContentCoding::ALL`]. `None`: the body as it is would be sent.
    coded: [OnceLock<Option<Representation>>; ContentCoding::ALL.len()],
}

/// A body in one coding.
struct Representation {
    body: Bytes,
    tag: HeaderValue,
}

impl Representation {
    fn new(body: Bytes) -> Self {
        Self { tag: tag(&body), body }
    }
}

impl SharedBody {
    pub(crate) fn new(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            content_type: HeaderValue::from_static(content_type),
            identity: Representation::new(body.into()),
            coded: Default::default(),
        }
    }

    /// The response to a request with GET or HEAD.
    pub(crate) fn respond(&self, request: &HeaderMap, config: &Compression) -> Response<Full<Bytes>> {
        let coded = self.coded(request, config);
        let Representation { body, tag } = coded.map_or(&self.identity, |(_, coded)| coded);
        let mut response = Response::new(Full::default());
        if is_stored(request, tag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            *response.body_mut() = Full::new(body.clone());
            response.headers_mut().insert(CONTENT_TYPE, self.content_type.clone());
            if let Some((coding, _)) = coded {
                response.headers_mut().insert(CONTENT_ENCODING, coding.header());
            }
        }
        response.headers_mut().insert(ETAG, tag.clone());
        mark(response.headers_mut());
        response
    }

    /// The body in the coding that the client prefers, if it is sent compressed.
    fn coded(&self, request: &HeaderMap, config: &Compression) -> Option<(ContentCoding, &Representation)> {
        if !config.covers_shared(self.identity.body.len()) {
            return None;
        }
        let coding = ContentCoding::preferred(request, &ContentCoding::ALL)?;
        let at = ContentCoding::ALL.iter().position(|of| *of == coding)?;
        let made = self.coded[at].get_or_init(|| {
            let compressed = compress(coding, config.level, &self.identity.body)?;
            Some(Representation::new(compressed.into()))
        });
        made.as_ref().map(|representation| (coding, representation))
    }
}

#[cfg(test)]
pub(super) mod tests;
