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
mod encoder;
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
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, uri::PathAndQuery};
use tonic::Status;

use crate::http::reserved::ClientKind;
pub(crate) use codec::{MethodCodec, registry};
use connect::{Connect, ConnectStream};
pub(crate) use decoder::RequestDecoder;
pub(crate) use encoder::ResponseEncoder;
use grpc::Grpc;
use http_json::HttpJson;
pub(crate) use http_json::{HeaderFields, HttpForms, HttpRefusal, HttpRequest, MissingPath};
use status::check_length;
use web::GrpcWeb;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use web::trailer_frame;
use web_text::GrpcWebText;
use websocket::WebSocket;

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
    Http(Arc<HttpJson>),
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

    /// Whether the head of a response depends on what follows.
    pub(crate) fn is_head_late(&self) -> bool {
        self.begins_with_status() || self.begins_with_message()
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

    /// Lets the client store a response of [`Self::complete`] that states a success, if the protocol allows that.
    pub(crate) fn let_store(&self, response: Response<Bytes>) -> Response<Bytes> {
        let stored = match self {
            Self::Connect(connect) => connect.stored(),
            Self::Http(call) => call.stored(),
            _ => None,
        };
        match stored {
            Some(stored) if response.status() == StatusCode::OK => stored.respond(response),
            _ => response,
        }
    }

    /// See [`Protocol::refuse`].
    pub(crate) fn refuse(&self, status: &Status) -> Response<Bytes> {
        each!(self, protocol => protocol.refuse(status))
    }
}

#[cfg(test)]
mod tests;
