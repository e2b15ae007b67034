//! The Connect protocol (<https://connectrpc.com/docs/protocol>): a unary call is a plain HTTP request, with POST or,
//! for methods without side effects, with GET. Streams are frames like those of gRPC, and the last one holds the status.

mod error;
mod get;
mod stream;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING},
};
use kit::error::{deadline_exceeded, status};
use tonic::{Code, Status};

use super::{
    Protocol, RequestDecoder, ResponseEncoder,
    codec::MethodCodec,
    compression::ContentEncoding,
    unary::{MessageDecoder, MessageEncoder, MessageForm},
};
use get::Get;
pub(super) use stream::{ConnectStream, end};

/// The encoding of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
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

    /// The converter of the method's messages; `None`: they are not converted.
    fn converter(self, codec: Option<&Arc<MethodCodec>>) -> Option<Arc<MethodCodec>> {
        codec.filter(|_| self == Self::Json).cloned()
    }

    /// Refuses JSON for a method whose messages are unknown.
    fn check(self, codec: Option<&Arc<MethodCodec>>) -> Result<(), Status> {
        if self == Self::Json && codec.is_none() {
            let message = "the gateway has no descriptors of this method (gateway.external); send protobuf";
            return Err(status(Code::Unimplemented, "JSON_UNAVAILABLE", message));
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
/// gRPC's own headers, which have no meaning in a request of this protocol.
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static(kit::grpc::TIMEOUT);
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// A unary call in Connect.
#[derive(Debug, Clone)]
pub(crate) struct Connect {
    encoding: Encoding,
    compression: ContentEncoding,
    /// A GET request.
    get: Option<Box<Get>>,
    /// Why the request is refused.
    problem: Option<Box<Status>>,
}

impl Protocol for Connect {
    fn detect<B>(request: &Request<B>, media_type: &str) -> Option<Self> {
        let headers = request.headers();
        let read = if *request.method() == Method::GET {
            Get::read(request.uri().query()?, headers)?
        } else {
            let encoding = Encoding::of(media_type, UNARY).filter(|_| *request.method() == Method::POST)?;
            let compression = ContentEncoding::parse(headers.get(CONTENT_ENCODING));
            compression.map(|compression| Self { encoding, compression, get: None, problem: None })
        };
        Some(read.and_then(|read| check_version(headers).map(|()| read)).unwrap_or_else(|problem| Self {
            encoding: Encoding::Proto,
            compression: ContentEncoding::Identity,
            get: None,
            problem: Some(Box::new(problem)),
        }))
    }

    fn check(&self, _: Version, codec: Option<&Arc<MethodCodec>>) -> Result<(), Status> {
        if let Some(problem) = &self.problem {
            return Err(Status::clone(problem));
        }
        self.encoding.check(codec)?;
        let method = codec.map(|codec| codec.descriptor());
        if method.is_some_and(|method| method.is_client_streaming() || method.is_server_streaming()) {
            let message = "the method is a stream; call it with content-type application/connect+proto";
            return Err(status(Code::Unimplemented, "METHOD_IS_STREAM", message));
        }
        if self.get.is_some() { get::check(method) } else { Ok(()) }
    }

    fn timeout(&self, headers: &HeaderMap) -> Result<Option<Duration>, Status> {
        timeout(headers)
    }

    fn upstream_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/grpc+proto")
    }

    fn response_type(&self) -> HeaderValue {
        HeaderValue::from_static(match self.encoding {
            Encoding::Proto => "application/proto",
            Encoding::Json => "application/json",
        })
    }

    /// The upstream does not compress the response: see [`MessageEncoder`].
    fn translate_request(&self, headers: &mut HeaderMap) {
        for name in
            [VERSION, TIMEOUT, CONTENT_ENCODING, ACCEPT_ENCODING, GRPC_TIMEOUT, GRPC_ENCODING, GRPC_ACCEPT_ENCODING]
        {
            headers.remove(name);
        }
    }

    fn translate_response(&self, headers: &mut HeaderMap) {
        headers.remove(GRPC_ENCODING);
        headers.remove(GRPC_ACCEPT_ENCODING);
    }

    fn decoder(&self, codec: Option<&Arc<MethodCodec>>, limit: usize) -> RequestDecoder {
        let decoder = MessageDecoder::new(self.compression, self.form(codec), limit);
        RequestDecoder::Message(Box::new(match &self.get {
            Some(get) => decoder.with(get.message()),
            None => decoder,
        }))
    }

    fn encoder(&self, codec: Option<&Arc<MethodCodec>>) -> ResponseEncoder {
        ResponseEncoder::Message(Box::new(MessageEncoder::new(self.form(codec))))
    }

    fn refuse(&self, status: &Status) -> Response<Bytes> {
        error::response(status, status.metadata().clone().into_headers())
    }
}

impl Connect {
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
        match &self.get {
            Some(get) => get.stored.respond(response),
            None => response,
        }
    }
}

fn check_version(headers: &HeaderMap) -> Result<(), Status> {
    match headers.get(VERSION) {
        None => Ok(()),
        Some(version) if version == "1" => Ok(()),
        Some(_) => Err(status(Code::InvalidArgument, "VERSION_UNSUPPORTED", "connect-protocol-version must be 1")),
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
            Err(status(Code::InvalidArgument, "TIMEOUT_MALFORMED", message))
        }
        // The deadline has passed before the call begins.
        Some(Duration::ZERO) => Err(deadline_exceeded()),
        timeout => Ok(timeout),
    }
}
