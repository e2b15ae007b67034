//! The protocols of clients. All speak of the same thing, gRPC frames and a status, in different ways; one file for each
//! protocol states how. The pipeline calls them through [`ClientProtocol`], a closed enum, so that no frame costs a
//! dynamic call.
//!
//! A new protocol is a file with a type that implements [`Protocol`], a variant of [`ClientProtocol`], and, where it
//! changes bodies, a variant of [`RequestDecoder`] and [`ResponseEncoder`].
//!
//! A request is read in two steps. [`ClientProtocol::detect`] only finds its protocol. [`ClientProtocol::read`] reads
//! the rest of the head after authentication and the rate limits: a stranger cannot make the gateway parse.

pub(crate) mod base64;
mod caching;
mod codec;
pub(crate) mod compression;
mod connect;
mod content_type;
mod decoder;
pub(crate) mod framing;
mod grpc;
mod http_json;
pub(crate) mod in_process;
mod json_frames;
mod metadata;
mod private;
pub(crate) mod status;
mod unary;
mod web;
mod web_text;
pub(crate) mod websocket;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version, uri::PathAndQuery};
use http_body::Frame;
use tonic::Status;

use crate::http::reserved::ClientKind;
pub(crate) use codec::{MethodCodec, registry};
use connect::{Connect, ConnectStream};
pub(crate) use decoder::RequestDecoder;
use grpc::Grpc;
pub(crate) use http_json::{HeaderFields, HttpForms, HttpRefusal, HttpRequest};
use http_json::{HttpBodyEncoder, HttpJson, StreamEncoder};
use json_frames::JsonFramesEncoder;
use status::check_length;
use unary::MessageEncoder;
use web::GrpcWeb;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use web::trailer_frame;
use web_text::GrpcWebText;
use websocket::{WebSocket, WebSocketEncoder};

use crate::http::controls::HttpControls;

/// The prefix of trailers in a response that begins with its status (Connect).
const TRAILER: &str = "trailer-";

/// What a protocol of clients must be able to do.
trait Protocol: Sized {
    /// Detects the protocol by the request's method, path and headers. `media_type` is the content type without
    /// parameters.
    fn detect<B>(request: &Request<B>, media_type: &str) -> Option<Self>;

    /// Refuses a request that the protocol does not allow for the method: for example, the version of HTTP cannot carry
    /// the protocol's responses.
    fn check(&self, version: Version, codec: Option<&Arc<MethodCodec>>) -> Result<(), Status>;

    /// Reads the rest of the request's head, of which the protocol allows only some values.
    fn read<B>(&mut self, _: &Request<B>) -> Result<(), Status> {
        Ok(())
    }

    /// The largest body, if it is one message of at most `limit` bytes; `None`: it has no bound.
    fn body_limit(&self, _codec: Option<&Arc<MethodCodec>>, _limit: usize) -> Option<usize> {
        None
    }

    /// The time that the client allows for the call; `None`: it states none.
    fn timeout(&self, headers: &HeaderMap) -> Result<Option<Duration>, Status>;

    /// The content type of the request to the upstream, which speaks gRPC.
    fn upstream_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/grpc+proto")
    }

    /// The content type of the response to the client.
    fn response_type(&self) -> HeaderValue;

    /// Replaces the protocol's own headers of a request by those of gRPC.
    fn translate_request(&self, _: &mut HeaderMap) {}

    /// Replaces gRPC's headers of a response by those of the protocol. The status is not among them.
    fn translate_response(&self, _: &mut HeaderMap) {}

    /// Decodes the body of a request into gRPC frames. `limit` is the size of the largest message in bytes.
    fn decoder(&self, codec: Option<&Arc<MethodCodec>>, limit: usize) -> RequestDecoder;

    /// Encodes the gRPC frames and the end of a response.
    fn encoder(&self, codec: Option<&Arc<MethodCodec>>) -> ResponseEncoder;

    /// The whole response to a call that has failed before its response began.
    fn refuse(&self, status: &Status) -> Response<Bytes>;
}

/// The protocol of a request.
#[derive(Debug, Clone)]
pub(crate) enum ClientProtocol {
    /// gRPC over HTTP/2.
    Grpc(Grpc),
    /// gRPC-Web with binary bodies.
    Web(GrpcWeb),
    /// gRPC-Web whose response, and mostly the request too, is base64: for clients that cannot stream binary bodies.
    WebText(GrpcWebText),
    /// A unary call in Connect.
    Connect(Connect),
    /// A stream in Connect.
    ConnectStream(ConnectStream),
    /// JSON in the HTTP form of the contract.
    Http(Box<HttpJson>),
    /// JSON over a WebSocket.
    WebSocket(WebSocket),
}

/// Calls a function of [`Protocol`] on the variant's own type.
macro_rules! each {
    ($self:ident, $protocol:ident => $call:expr) => {
        match $self {
            Self::Grpc($protocol) => $call,
            Self::Web($protocol) => $call,
            Self::WebText($protocol) => $call,
            Self::Connect($protocol) => $call,
            Self::ConnectStream($protocol) => $call,
            Self::Http($protocol) => $call,
            Self::WebSocket($protocol) => $call,
        }
    };
}

impl ClientProtocol {
    /// Detects the protocol of a request; `None`: it is not a call.
    pub(crate) fn detect<B>(request: &Request<B>) -> Option<Self> {
        let media_type = content_type::media_type(request.headers());
        GrpcWebText::detect(request, media_type)
            .map(Self::WebText)
            .or_else(|| GrpcWeb::detect(request, media_type).map(Self::Web))
            .or_else(|| Grpc::detect(request, media_type).map(Self::Grpc))
            .or_else(|| ConnectStream::detect(request, media_type).map(Self::ConnectStream))
            .or_else(|| Connect::detect(request, media_type).map(Self::Connect))
    }

    /// Whether web pages can speak it: browsers do not expose HTTP/2's trailers.
    pub(crate) fn is_for_browsers(&self) -> bool {
        self.kind() != ClientKind::Grpc
    }

    /// What the client reads.
    pub(crate) fn kind(&self) -> ClientKind {
        match self {
            Self::Grpc(_) => ClientKind::Grpc,
            Self::Web(_) | Self::WebText(_) => ClientKind::GrpcWeb,
            Self::Connect(_) | Self::ConnectStream(_) | Self::Http(_) | Self::WebSocket(_) => ClientKind::Translated,
        }
    }

    /// Whether the request can be nothing but a call in this protocol, whatever its path.
    pub(crate) fn is_certain(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Connect(connect) => connect.is_certain(headers),
            _ => true,
        }
    }

    /// Whether the response to a call begins with its status: it is sent when the call has ended.
    pub(crate) fn begins_with_status(&self) -> bool {
        match self {
            Self::Connect(_) => true,
            Self::Http(call) => !call.is_stream(),
            _ => false,
        }
    }

    /// Whether the head of a response needs the first message: it is sent after that.
    pub(crate) fn begins_with_message(&self) -> bool {
        matches!(self, Self::Http(call) if call.begins_with_message())
    }

    /// Whether a browser sends such a request for a page of any origin, without a preflight: the gateway checks the origin.
    pub(crate) fn needs_origin_check(&self) -> bool {
        match self {
            Self::Http(call) => call.takes_http_body(),
            Self::WebSocket(_) => true,
            _ => false,
        }
    }

    /// The response in place of one whose headers the client does not accept.
    pub(crate) fn not_acceptable(&self, headers: &HeaderMap) -> Option<Response<Bytes>> {
        match self {
            Self::Http(call) => call.not_acceptable(headers),
            _ => None,
        }
    }

    /// Whether an upstream may state the status and headers of HTTP.
    pub(crate) fn has_http_controls(&self) -> bool {
        matches!(self, Self::Http(_))
    }

    /// Whether the status of HTTP states the failure of a call, also of a stream that has not begun.
    pub(crate) fn states_failure_in_http(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Http(_))
    }

    /// The path of the method in gRPC, if the request has another one.
    pub(crate) fn path(&self) -> Option<&PathAndQuery> {
        match self {
            Self::Http(call) => Some(call.path()),
            _ => None,
        }
    }

    /// See [`Protocol::check`].
    pub(crate) fn check(&self, version: Version, codec: Option<&Arc<MethodCodec>>) -> Result<(), Status> {
        each!(self, protocol => protocol.check(version, codec))
    }

    /// See [`Protocol::read`]. Refuses a body that announces more than the protocol allows, before any of it is read: a
    /// client that waits for `100 Continue` receives the final status instead.
    pub(crate) fn read<B>(
        &mut self,
        request: &Request<B>,
        codec: Option<&Arc<MethodCodec>>,
        limit: usize,
    ) -> Result<(), Status> {
        each!(self, protocol => protocol.read(request))?;
        let most = each!(self, protocol => protocol.body_limit(codec, limit));
        most.map_or(Ok(()), |most| check_length(request.headers(), most))
    }

    /// See [`Protocol::timeout`].
    pub(crate) fn timeout(&self, headers: &HeaderMap) -> Result<Option<Duration>, Status> {
        each!(self, protocol => protocol.timeout(headers))
    }

    /// See [`Protocol::upstream_type`].
    pub(crate) fn upstream_type(&self) -> HeaderValue {
        each!(self, protocol => protocol.upstream_type())
    }

    /// See [`Protocol::response_type`].
    pub(crate) fn response_type(&self) -> HeaderValue {
        each!(self, protocol => protocol.response_type())
    }

    /// See [`Protocol::translate_request`].
    pub(crate) fn translate_request(&self, headers: &mut HeaderMap) {
        each!(self, protocol => protocol.translate_request(headers));
    }

    /// See [`Protocol::translate_response`].
    pub(crate) fn translate_response(&self, headers: &mut HeaderMap) {
        each!(self, protocol => protocol.translate_response(headers));
    }

    /// See [`Protocol::decoder`].
    pub(crate) fn decoder(&self, codec: Option<&Arc<MethodCodec>>, limit: usize) -> RequestDecoder {
        each!(self, protocol => protocol.decoder(codec, limit))
    }

    /// See [`Protocol::encoder`].
    pub(crate) fn encoder(&self, codec: Option<&Arc<MethodCodec>>) -> ResponseEncoder {
        each!(self, protocol => protocol.encoder(codec))
    }

    /// The whole response to a call that its upstream has ended, for protocols whose responses begin with the status.
    /// `controls` apply to a success.
    pub(crate) fn complete(
        &self,
        mut head: HeaderMap,
        message: Bytes,
        status: &Status,
        trailers: &HeaderMap,
        controls: Option<HttpControls>,
    ) -> Response<Bytes> {
        for (name, value) in trailers {
            if let Ok(name) = HeaderName::try_from(format!("{TRAILER}{name}")) {
                head.append(name, value.clone());
            }
        }
        match self {
            Self::Connect(connect) => connect.complete(head, message, status),
            Self::Http(call) => call.complete(head, message, status, controls),
            _ => self.refuse(status),
        }
    }

    /// See [`Protocol::refuse`].
    pub(crate) fn refuse(&self, status: &Status) -> Response<Bytes> {
        each!(self, protocol => protocol.refuse(status))
    }
}

/// Encodes the gRPC frames of one response for its client. Boxed like [`RequestDecoder`].
#[derive(Debug)]
pub(crate) enum ResponseEncoder {
    /// Frames pass uncopied, and trailers end the response.
    Grpc,
    /// Frames pass uncopied, and a frame with the trailers ends the response.
    Web,
    /// Like `Web`, in base64.
    WebText,
    /// Frames pass uncopied, or with their messages as JSON, and a frame with the status in JSON ends the response.
    ConnectStream(Option<Box<JsonFramesEncoder>>),
    /// The message without its frame; trailers end the response.
    Message(Box<MessageEncoder>),
    /// Messages as JSON; an entry with the status ends the response.
    HttpStream(Box<StreamEncoder>),
    /// The bytes in the messages. A failure within them resets the stream or closes the connection.
    HttpBody(Box<HttpBodyEncoder>),
    /// Frames with JSON; one with the status ends the response.
    WebSocket(Option<Box<WebSocketEncoder>>),
}

impl ResponseEncoder {
    /// Encodes a piece of the response's frames. The result may be empty: more frames are needed. A message that cannot
    /// be encoded ends the response after the messages before it.
    pub(crate) fn encode(&mut self, piece: Bytes) -> (Bytes, Option<Box<Status>>) {
        match self {
            Self::Grpc | Self::Web | Self::ConnectStream(None) | Self::WebSocket(None) => (piece, None),
            Self::ConnectStream(Some(encoder)) => encoder.encode(piece),
            Self::WebText => (web_text::encode(&piece), None),
            Self::Message(encoder) => match encoder.encode(piece) {
                Ok(message) => (message, None),
                Err(status) => (Bytes::new(), Some(status)),
            },
            Self::HttpStream(encoder) => encoder.encode(piece),
            Self::HttpBody(encoder) => encoder.encode(piece),
            Self::WebSocket(Some(encoder)) => encoder.encode(piece),
        }
    }

    /// Whether it converts messages, so that what it returns has another size than the frames.
    pub(crate) fn converts(&self) -> bool {
        matches!(
            self,
            Self::ConnectStream(Some(_)) | Self::HttpStream(_) | Self::HttpBody(_) | Self::WebSocket(Some(_))
        )
    }

    /// Ends the response with its trailers, which state its status.
    pub(crate) fn end(&mut self, trailers: HeaderMap) -> Frame<Bytes> {
        match self {
            Self::Grpc | Self::Message(_) => grpc::end(trailers),
            Self::Web => web::end(&trailers),
            Self::WebText => web_text::end(&trailers),
            Self::ConnectStream(_) => connect::end(trailers),
            Self::HttpStream(encoder) => encoder.end(&trailers),
            Self::HttpBody(encoder) => encoder.end(trailers),
            Self::WebSocket(encoder) => websocket::end(encoder.as_deref(), &trailers),
        }
    }

    /// A sign of life between two messages; `None`: the protocol has none.
    pub(crate) fn heartbeat(&self) -> Option<Bytes> {
        match self {
            Self::HttpStream(encoder) => encoder.heartbeat(),
            _ => None,
        }
    }

    /// Sets the headers that the message of a response states.
    pub(crate) fn set_headers(&self, headers: &mut HeaderMap) {
        match self {
            Self::Message(encoder) => encoder.set_headers(headers),
            Self::HttpBody(encoder) => encoder.set_headers(headers),
            _ => {}
        }
    }

    /// Whether the client can read the status of a failure.
    pub(crate) fn can_state_failure(&self) -> bool {
        !matches!(self, Self::HttpBody(encoder) if !encoder.can_state_failure())
    }

    /// Whether the head of a response can state its status: a response without messages then has no body.
    pub(crate) fn can_end_in_head(&self) -> bool {
        matches!(self, Self::Grpc | Self::Web | Self::WebText)
    }

    /// Whether a unary response has had no message so far. A success needs one.
    pub(crate) fn lacks_message(&self) -> bool {
        matches!(self, Self::Message(encoder) if !encoder.has_message())
    }

    /// Whether the client can read the status of a response that ends within a message.
    pub(crate) fn can_end_within_message(&self) -> bool {
        // The others send no part of a message.
        !matches!(self, Self::Web | Self::WebText | Self::ConnectStream(None) | Self::WebSocket(None))
    }
}

#[cfg(test)]
mod tests;
