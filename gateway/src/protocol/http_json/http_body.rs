//! Requests and responses whose HTTP body is a `google.api.HttpBody`: bytes of any content type instead of JSON.
//!
//! A page that a browser shows from the gateway's origin could act for its visitor. So a response gets a
//! `content-security-policy` with `sandbox`, and a script or a style sheet is sent as plain text.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
};
use http_body::Frame;
use kit::error::status;
use tonic::{Code, Status};
use transcode::http_rule::HttpBody;

use super::{HttpJson, content::allows};
use crate::{
    http::headers::take_status,
    protocol::{
        compression::ContentEncoding,
        content_type,
        framing::{FrameReader, HEAD, check_flags, head},
        status::response_malformed,
    },
};

/// The content type of bytes without one (RFC 9110, section 8.3).
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// The content type in place of one that a page of the gateway's origin would run or apply.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// A document gets an origin of its own, runs no scripts and loads nothing.
const POLICY: HeaderValue =
    HeaderValue::from_static("sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:");
/// The largest piece of a streamed request in one message.
const PIECE: usize = 64 * 1024;
/// More than the tags and lengths of a message and its `HttpBody` take.
const OVERHEAD: usize = 64;

impl HttpJson {
    /// Whether the body of a request is an `HttpBody`. A page of any origin can send one without a preflight.
    pub(in super::super) fn takes_http_body(&self) -> bool {
        self.binding().request_http_body().is_some()
    }

    /// Reads the headers of a request that is an `HttpBody`. Its body may have any content type.
    pub(super) fn read_http_body(&mut self, headers: &HeaderMap) -> Result<(), Status> {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        self.content_type = content_type.unwrap_or_default().to_owned();
        if self.binding().method().is_client_streaming() && self.compression != ContentEncoding::Identity {
            let message = "the body is streamed as it is; send it without content-encoding";
            let status = status(Code::Unimplemented, crate::reason::ENCODING_UNSUPPORTED, message);
            return self.refuse_as(StatusCode::UNSUPPORTED_MEDIA_TYPE, status);
        }
        Ok(())
    }

    /// The content type and the bytes of a response that is an `HttpBody`; `None`: it is JSON.
    pub(in super::super) fn http_body(&self, message: &Bytes) -> Option<Result<(HeaderValue, Bytes), Box<Status>>> {
        self.binding().response_http_body().map(|of| read(of, message))
    }

    /// Whether the first message states the content type of the response.
    pub(in super::super) fn begins_with_message(&self) -> bool {
        self.is_stream() && self.binding().response_http_body().is_some()
    }

    /// The response in place of one whose content type the client does not accept. Only a GET has one: other calls have
    /// had their effect.
    pub(in super::super) fn not_acceptable(&self, headers: &HeaderMap) -> Option<Response<Bytes>> {
        let (accept, content_type) = (self.accept.as_ref()?, content_type::media_type(headers));
        if allows(accept, content_type) {
            return None;
        }
        let message = format!("the response is {content_type}, which the header accept does not allow");
        let mut response =
            self.error(&status(Code::InvalidArgument, crate::reason::NOT_ACCEPTABLE, message), HeaderMap::new());
        *response.status_mut() = StatusCode::NOT_ACCEPTABLE;
        Some(response)
    }
}

/// Appends the body of a unary request.
pub(super) fn append(of: HttpBody, call: &HttpJson, body: &[u8], out: &mut Vec<u8>) {
    of.append(&call.content_type, body, out);
}

/// Makes the pieces of a request's body messages. The first message has the content type, and the fields of the path
/// and the query.
#[derive(Debug)]
pub(crate) struct HttpBodyDecoder {
    of: HttpBody,
    content_type: String,
    fields: Vec<u8>,
    /// The largest piece in one message.
    piece: usize,
    has_begun: bool,
}

impl HttpBodyDecoder {
    /// `limit` is the size of the largest message.
    pub(super) fn new(of: HttpBody, call: &HttpJson, limit: usize) -> Self {
        let (content_type, fields) = (call.content_type.clone(), call.fields.clone());
        let rest = limit.saturating_sub(OVERHEAD + content_type.len() + fields.len());
        Self { of, content_type, fields, piece: rest.clamp(1, PIECE), has_begun: false }
    }

    /// Returns the frames of a piece.
    pub(in super::super) fn decode(&mut self, piece: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(piece.len() + OVERHEAD);
        for piece in piece.chunks(self.piece) {
            self.append(piece, &mut out);
        }
        out.into()
    }

    fn append(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.has_begun = true;
        let start = out.len();
        out.extend_from_slice(&[0; HEAD]);
        self.of.append(&std::mem::take(&mut self.content_type), piece, out);
        out.append(&mut self.fields);
        let length = out.len() - start - HEAD;
        out[start..start + HEAD].copy_from_slice(&head(length));
    }

    /// Ends the body. Even an empty one is a message.
    pub(in super::super) fn finish(&mut self) -> Bytes {
        let mut out = Vec::new();
        if !self.has_begun {
            self.append(&[], &mut out);
        }
        out.into()
    }

    /// Whether [`Self::finish`] would return no frames.
    pub(in super::super) fn is_complete(&self) -> bool {
        self.has_begun
    }
}

/// A message of a response: its content type, and its bytes, which are not copied.
pub(in super::super) fn read(of: HttpBody, message: &Bytes) -> Result<(HeaderValue, Bytes), Box<Status>> {
    let parts = of.find(message);
    let parts = parts.ok_or_else(|| Box::new(response_malformed("a message of the response is not protobuf")))?;
    Ok((safe_type(&message[parts.content_type]), message.slice(parts.data)))
}

/// The content type, if it is one and a browser takes it for no part of a page.
fn safe_type(content_type: &[u8]) -> HeaderValue {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let Ok(essence) = std::str::from_utf8(essence) else { return BYTES };
    let essence = essence.to_ascii_lowercase();
    let is_named = essence.split_once('/').is_some_and(|(kind, name)| !kind.is_empty() && !name.is_empty());
    // All names of JavaScript (WHATWG MIME Sniffing, section 4.6) contain one of these.
    let is_script = ["javascript", "ecmascript", "jscript", "livescript"].iter().any(|name| essence.contains(name));
    match HeaderValue::from_bytes(content_type) {
        Ok(_) if is_script || essence == "text/css" => TEXT,
        Ok(content_type) if is_named => content_type,
        _ => BYTES,
    }
}

/// Sets the headers of a response with this content type.
pub(in super::super) fn set_headers(content_type: &HeaderValue, headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, content_type.clone());
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
}

/// Returns the bytes of a stream of messages. The first message states the content type.
#[derive(Debug)]
pub(crate) struct HttpBodyEncoder {
    of: HttpBody,
    frames: FrameReader,
    content_type: Option<HeaderValue>,
    /// Some bytes have been returned: the response can no longer state a failure.
    has_begun: bool,
}

impl HttpBodyEncoder {
    pub(super) fn new(of: HttpBody) -> Self {
        Self { of, frames: FrameReader::default(), content_type: None, has_begun: false }
    }

    /// Returns the bytes of the messages that the piece completes, up to one that is invalid.
    pub(in super::super) fn encode(&mut self, piece: Bytes) -> (Bytes, Option<Box<Status>>) {
        self.frames.push(piece);
        let (mut first, mut joined) = (Bytes::new(), Vec::new());
        let mut failure = None;
        while let Some((flags, message)) = self.frames.next() {
            match check_flags(flags).and_then(|()| read(self.of, &message)) {
                Ok((content_type, data)) => {
                    self.content_type.get_or_insert(content_type);
                    if first.is_empty() && joined.is_empty() {
                        first = data;
                    } else {
                        // A piece that completes one message, as most do, is not copied.
                        joined.extend_from_slice(&std::mem::take(&mut first));
                        joined.extend_from_slice(&data);
                    }
                }
                Err(status) => {
                    failure = Some(status);
                    break;
                }
            }
        }
        let out = if joined.is_empty() { first } else { joined.into() };
        self.has_begun |= !out.is_empty();
        (out, failure)
    }

    /// Ends the response with its trailers. Those of a response that has begun hold no status: it is a success.
    pub(in super::super) fn end(&self, mut trailers: HeaderMap) -> Frame<Bytes> {
        if self.has_begun {
            take_status(&mut trailers);
        }
        if trailers.is_empty() { Frame::data(Bytes::new()) } else { Frame::trailers(trailers) }
    }

    /// Whether the response can state a failure.
    pub(in super::super) fn can_state_failure(&self) -> bool {
        !self.has_begun
    }

    pub(in super::super) fn set_headers(&self, headers: &mut HeaderMap) {
        set_headers(self.content_type.as_ref().unwrap_or(&BYTES), headers);
    }
}

#[cfg(test)]
mod tests;
