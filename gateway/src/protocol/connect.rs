//! The Connect protocol (<https://connectrpc.com/docs/protocol>): a unary call is a plain HTTP request, with POST or,
//! for methods without side effects, with GET. Streams are frames like those of gRPC, and the last one holds the status.

mod error;
pub(super) mod get;
mod stream;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING},
};
use kit::error::{deadline_exceeded, status};
use tonic::{Code, Status};

use super::{
    Protocol, RequestDecoder, ResponseEncoder,
    caching::StoredTags,
    codec::MethodCodec,
    compression::ContentEncoding,
    unary::{MessageDecoder, MessageEncoder, MessageForm},
};
use crate::http::reserved::{clean_translated_request, clean_translated_response};
pub(super) use stream::{ConnectStream, end};

/// The encoding of messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Encoding {
    #[default]
    Proto,
    Json,
}

impl Encoding {
    /// The encoding that the last part of a content type names.
    fn of(media_type: &str, prefix: &str) -> Option<Self> {
        let (head, name) = media_type.split_at_checked(prefix.len())?;
        match name {
            _ if !head.eq_ignore_ascii_case(prefix) => None,
            _ if name.eq_ignore_ascii_case("proto") => Some(Self::Proto),
            _ if name.eq_ignore_ascii_case("json") => Some(Self::Json),
            _ => None,
        }
    }

    /// The content type of this encoding in unary calls.
    fn unary_type(self) -> &'static str {
        match self {
            Self::Proto => "application/proto",
            Self::Json => "application/json",
        }
    }

    /// The content type of this encoding in streams.
    fn stream_type(self) -> &'static str {
        match self {
            Self::Proto => "application/connect+proto",
            Self::Json => "application/connect+json",
        }
    }

    /// The converter of the method's messages; `None`: they are not converted.
    fn converter(self, codec: Option<&Arc<MethodCodec>>) -> Option<Arc<MethodCodec>> {
        codec.filter(|_| self == Self::Json).cloned()
    }

    /// Refuses JSON for a method whose messages are unknown.
    fn check(self, codec: Option<&Arc<MethodCodec>>) -> Result<(), Status> {
        if self == Self::Json && codec.is_none() {
            let message = "the gateway has no descriptors of this method (gateway.external); send protobuf";
            return Err(status(Code::Unimplemented, crate::reason::JSON_UNAVAILABLE, message));
        }
        Ok(())
    }
}

/// The first part of the content type of unary calls.
const UNARY: &str = "application/";
/// The version of the protocol, which a request may state.
const VERSION: HeaderName = HeaderName::from_static("connect-protocol-version");
/// The time that the client allows, in milliseconds.
const TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");
/// The maximum number of digits of a timeout.
const TIMEOUT_DIGITS: usize = 10;

/// A unary call in Connect.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connect {
    encoding: Encoding,
    compression: ContentEncoding,
    /// The message of a GET request, and the responses that its client has stored.
    get: Option<Box<Get>>,
    /// The status of HTTP of a refusal, if it is not that of the code.
    refused_as: Option<StatusCode>,
}

/// A unary call with GET.
#[derive(Debug, Clone)]
struct Get {
    message: Bytes,
    stored: StoredTags,
}

impl Protocol for Connect {
    fn detect<B>(request: &Request<B>, media_type: &str) -> Option<Self> {
        match *request.method() {
            Method::POST => Some(Self { encoding: Encoding::of(media_type, UNARY)?, ..Self::default() }),
            // The response to HEAD is that to GET without its body.
            Method::GET | Method::HEAD if get::is_call(request.uri().query()?) => {
                let get = Get { message: Bytes::new(), stored: StoredTags::of(request.headers()) };
                Some(Self { get: Some(Box::new(get)), ..Self::default() })
            }
            _ => None,
        }
    }

    fn check(&self, _: Version, codec: Option<&Arc<MethodCodec>>) -> Result<(), Status> {
        self.encoding.check(codec)?;
        let method = codec.map(|codec| codec.descriptor());
        if method.is_some_and(|method| method.is_client_streaming() || method.is_server_streaming()) {
            let message = "the method is a stream; call it with content-type application/connect+json (or \
                           application/connect+proto), in its HTTP form, or over a WebSocket";
            return Err(status(Code::Unimplemented, crate::reason::METHOD_IS_STREAM, message));
        }
        if self.get.is_some() { get::check(method) } else { Ok(()) }
    }

    fn read<B>(&mut self, request: &Request<B>) -> Result<(), Status> {
        check_version(request.headers())?;
        let Some(get) = &mut self.get else {
            self.compression = ContentEncoding::parse(request.headers().get(CONTENT_ENCODING))?;
            return Ok(());
        };
        let query = get::read(request.uri().query().unwrap_or_default()).map_err(|refused| {
            self.refused_as = refused.code;
            *refused.status
        })?;
        (self.encoding, self.compression, get.message) = (query.encoding, query.compression, query.message);
        Ok(())
    }

    fn body_limit(&self, _: Option<&Arc<MethodCodec>>, limit: usize) -> Option<usize> {
        Some(limit)
    }

    fn timeout(&self, headers: &HeaderMap) -> Result<Option<Duration>, Status> {
        timeout(headers)
    }

    fn response_type(&self) -> HeaderValue {
        HeaderValue::from_static(self.encoding.unary_type())
    }

    /// The upstream does not compress the response: see [`MessageEncoder`].
    fn translate_request(&self, headers: &mut HeaderMap) {
        clean_translated_request(headers);
        headers.remove(CONTENT_ENCODING);
        headers.remove(ACCEPT_ENCODING);
    }

    fn translate_response(&self, headers: &mut HeaderMap) {
        clean_translated_response(headers);
    }

    fn decoder(&self, codec: Option<&Arc<MethodCodec>>, limit: usize) -> RequestDecoder {
        let decoder = MessageDecoder::new(self.compression, self.form(codec), limit);
        RequestDecoder::Message(Box::new(match &self.get {
            Some(get) => decoder.with(&get.message),
            None => decoder,
        }))
    }

    fn encoder(&self, codec: Option<&Arc<MethodCodec>>) -> ResponseEncoder {
        ResponseEncoder::Message(Box::new(MessageEncoder::new(self.form(codec))))
    }

    fn refuse(&self, status: &Status) -> Response<Bytes> {
        let mut response = error::response(status, status.metadata().clone().into_headers());
        if let Some(code) = self.refused_as {
            *response.status_mut() = code;
        }
        response
    }
}

impl Connect {
    /// Whether the request can be nothing but a call: JSON and GET are also those of other APIs and pages.
    pub(super) fn is_certain(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(VERSION) || self.get.is_none() && self.encoding == Encoding::Proto
    }

    fn form(&self, codec: Option<&Arc<MethodCodec>>) -> MessageForm {
        self.encoding.converter(codec).map_or(MessageForm::Proto, MessageForm::Json)
    }

    /// The response to a call that its upstream has ended. `head` is its metadata.
    pub(super) fn complete(&self, head: HeaderMap, message: Bytes, status: &Status) -> Response<Bytes> {
        if status.code() != Code::Ok {
            return error::response(status, head);
        }
        let mut response = Response::new(message);
        *response.headers_mut() = head;
        response
    }

    /// The responses that the client has stored; `None`: it may store none.
    pub(super) fn stored(&self) -> Option<&StoredTags> {
        self.get.as_ref().map(|get| &get.stored)
    }
}

fn check_version(headers: &HeaderMap) -> Result<(), Status> {
    match headers.get(VERSION) {
        None => Ok(()),
        Some(version) if version == "1" => Ok(()),
        Some(_) => {
            Err(status(Code::InvalidArgument, crate::reason::VERSION_UNSUPPORTED, "connect-protocol-version must be 1"))
        }
    }
}

fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(None) };
    let text = value.as_bytes();
    let is_number = (1..=TIMEOUT_DIGITS).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    let millis = value.to_str().ok().filter(|_| is_number).and_then(|text| text.parse().ok());
    match millis.map(Duration::from_millis) {
        None => {
            let message = "connect-timeout-ms is not a number of milliseconds of at most 10 digits";
            Err(status(Code::InvalidArgument, crate::reason::TIMEOUT_MALFORMED, message))
        }
        // The deadline has passed before the call begins.
        Some(Duration::ZERO) => Err(deadline_exceeded()),
        timeout => Ok(timeout),
    }
}
