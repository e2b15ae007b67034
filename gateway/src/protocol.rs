//! The protocols of clients. All speak of the same thing, gRPC frames and a status, in different ways; one file for each
//! protocol states how. The pipeline calls them through [`ClientProtocol`], a closed enum, so that no frame costs a
//! dynamic call.
//!
//! A new protocol is a file with a type that implements [`Protocol`], a variant of [`ClientProtocol`], and, where it
//! changes bodies, a variant of [`RequestDecoder`] and [`ResponseEncoder`].

pub(crate) mod base64;
mod content_type;
pub(crate) mod framing;
mod grpc;
pub(crate) mod status;
mod web;
mod web_text;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body::Frame;
use prost_reflect::MethodDescriptor;
use tonic::Status;

use self::base64::Malformed;
use grpc::Grpc;
use web::GrpcWeb;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use web::trailer_frame;
use web_text::GrpcWebText;

/// What a protocol of clients must be able to do.
trait Protocol: Sized {
    /// Detects the protocol by the request's method, path and headers. `media_type` is the content type without
    /// parameters.
    fn detect<B>(request: &Request<B>, media_type: &str) -> Option<Self>;

    /// Refuses a version of HTTP that cannot carry the protocol's responses.
    fn check_version(&self, version: Version) -> Result<(), Status>;

    /// The time that the client allows for the call; `None`: it states none.
    fn timeout(&self, headers: &HeaderMap) -> Result<Option<Duration>, Status>;

    /// The content type of the request to the upstream, which speaks gRPC.
    fn upstream_type(&self) -> HeaderValue;

    /// The content type of the response to the client.
    fn response_type(&self) -> HeaderValue;

    /// Decodes the body of a request into gRPC frames.
    fn decoder(&self, method: Option<&MethodDescriptor>) -> RequestDecoder;

    /// Encodes the gRPC frames and the end of a response.
    fn encoder(&self, method: Option<&MethodDescriptor>) -> ResponseEncoder;

    /// The whole response to a call that has failed before its response began.
    fn refuse(&self, status: &Status) -> Response<Bytes>;
}

/// The protocol of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClientProtocol {
    /// gRPC over HTTP/2.
    Grpc(Grpc),
    /// gRPC-Web with binary bodies.
    Web(GrpcWeb),
    /// gRPC-Web whose response, and mostly the request too, is base64: for clients that cannot stream binary bodies.
    WebText(GrpcWebText),
}

/// Calls a function of [`Protocol`] on the variant's own type.
macro_rules! each {
    ($self:ident, $protocol:ident => $call:expr) => {
        match $self {
            Self::Grpc($protocol) => $call,
            Self::Web($protocol) => $call,
            Self::WebText($protocol) => $call,
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
    }

    /// Whether web pages can speak it: browsers do not expose HTTP/2's trailers.
    pub(crate) fn is_for_browsers(&self) -> bool {
        !matches!(self, Self::Grpc(_))
    }

    /// See [`Protocol::check_version`].
    pub(crate) fn check_version(&self, version: Version) -> Result<(), Status> {
        each!(self, protocol => protocol.check_version(version))
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

    /// See [`Protocol::decoder`].
    pub(crate) fn decoder(&self, method: Option<&MethodDescriptor>) -> RequestDecoder {
        each!(self, protocol => protocol.decoder(method))
    }

    /// See [`Protocol::encoder`].
    pub(crate) fn encoder(&self, method: Option<&MethodDescriptor>) -> ResponseEncoder {
        each!(self, protocol => protocol.encoder(method))
    }

    /// See [`Protocol::refuse`].
    pub(crate) fn refuse(&self, status: &Status) -> Response<Bytes> {
        each!(self, protocol => protocol.refuse(status))
    }
}

/// Decodes the body of one request into gRPC frames, in pieces of any size.
pub(crate) enum RequestDecoder {
    /// The body is gRPC frames: each piece passes uncopied.
    Frames,
    /// The body is gRPC frames in base64.
    Base64(base64::Decoder),
}

impl RequestDecoder {
    /// Decodes the next piece. The result may be empty: more of the body is needed.
    pub(crate) fn decode(&mut self, piece: Bytes) -> Result<Bytes, Malformed> {
        match self {
            Self::Frames => Ok(piece),
            Self::Base64(decoder) => decoder.decode(&piece),
        }
    }

    /// Ends the body. Returns the frames that only its end completes; empty: none. Later calls return none.
    pub(crate) fn finish(&mut self) -> Result<Bytes, Malformed> {
        match self {
            Self::Frames => Ok(Bytes::new()),
            Self::Base64(decoder) => decoder.finish().map(|()| Bytes::new()),
        }
    }

    /// Whether the body may end here, and [`Self::finish`] would return no frames.
    pub(crate) fn is_complete(&self) -> bool {
        match self {
            Self::Frames => true,
            Self::Base64(decoder) => decoder.finish().is_ok(),
        }
    }
}

/// Encodes the gRPC frames of one response for its client.
#[derive(Debug)]
pub(crate) enum ResponseEncoder {
    /// Frames pass uncopied, and trailers end the response.
    Grpc,
    /// Frames pass uncopied, and a frame with the trailers ends the response.
    Web,
    /// Like `Web`, in base64.
    WebText,
}

impl ResponseEncoder {
    /// Encodes a piece of the response's frames.
    pub(crate) fn encode(&mut self, piece: Bytes) -> Bytes {
        match self {
            Self::Grpc | Self::Web => piece,
            Self::WebText => web_text::encode(&piece),
        }
    }

    /// Ends the response with its trailers, which state its status.
    pub(crate) fn end(&mut self, trailers: HeaderMap) -> Frame<Bytes> {
        match self {
            Self::Grpc => grpc::end(trailers),
            Self::Web => web::end(&trailers),
            Self::WebText => web_text::end(&trailers),
        }
    }

    /// Whether the client can read the status of a response that ends within a message.
    pub(crate) fn can_end_within_message(&self) -> bool {
        matches!(self, Self::Grpc)
    }
}

#[cfg(test)]
mod tests;
