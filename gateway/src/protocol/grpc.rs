//! gRPC over HTTP/2: the body is frames, and trailers hold the status.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version, header::CONTENT_TYPE};
use http_body::Frame;
use kit::{
    error,
    grpc::{TIMEOUT, parse_timeout},
};
use tonic::{Code, Status};

use super::{Protocol, RequestDecoder, ResponseEncoder, codec::MethodCodec, content_type::Suffix};

/// The content type of the protocol.
const NAME: &str = "application/grpc";

/// A request in gRPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grpc {
    suffix: Suffix,
}

impl Protocol for Grpc {
    fn detect<B>(request: &Request<B>, media_type: &str) -> Option<Self> {
        Suffix::of(request, media_type, NAME).map(|suffix| Self { suffix })
    }

    fn check(&self, version: Version, _: Option<&Arc<MethodCodec>>) -> Result<(), Status> {
        if version == Version::HTTP_2 {
            return Ok(());
        }
        let message = "gRPC requires HTTP/2, because HTTP/1.1 loses its trailers; use gRPC-Web";
        Err(error::status(Code::Unimplemented, crate::reason::HTTP2_REQUIRED, message))
    }

    fn timeout(&self, headers: &HeaderMap) -> Result<Option<Duration>, Status> {
        timeout(headers)
    }

    fn upstream_type(&self) -> HeaderValue {
        upstream_type(&self.suffix)
    }

    fn response_type(&self) -> HeaderValue {
        self.suffix.content_type(NAME)
    }

    fn decoder(&self, _: Option<&Arc<MethodCodec>>, _: usize) -> RequestDecoder {
        RequestDecoder::Frames
    }

    fn encoder(&self, _: Option<&Arc<MethodCodec>>) -> ResponseEncoder {
        ResponseEncoder::Grpc
    }

    fn refuse(&self, status: &Status) -> Response<Bytes> {
        trailers_only(status, self.response_type())
    }
}

/// Reads `grpc-timeout`, which gRPC-Web has too.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    match headers.get(TIMEOUT).map(|value| parse_timeout(value.as_bytes())) {
        Some(None) => Err(error::malformed_timeout()),
        // The deadline has passed before the call begins.
        Some(Some(Duration::ZERO)) => Err(error::deadline_exceeded()),
        stated => Ok(stated.flatten()),
    }
}

/// The content type of gRPC for messages in this encoding.
pub(super) fn upstream_type(suffix: &Suffix) -> HeaderValue {
    suffix.content_type(NAME)
}

/// Ends a response.
pub(super) fn end(trailers: HeaderMap) -> Frame<Bytes> {
    Frame::trailers(trailers)
}

/// A response whose head states the status, without a body (Trailers-Only).
pub(super) fn trailers_only(status: &Status, content_type: HeaderValue) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    // An Err would mean that the message does not fit into a header; these messages do.
    status.add_header(headers).ok();
    headers.insert(CONTENT_TYPE, content_type);
    response
}
