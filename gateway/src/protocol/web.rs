//! gRPC-Web with binary bodies: gRPC for browsers, which cannot read trailers. The trailers are the last frame of the
//! body.

use std::{sync::Arc, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body::Frame;
use tonic::Status;

use super::{Protocol, RequestDecoder, ResponseEncoder, codec::MethodCodec, content_type::Suffix, framing::HEAD, grpc};

/// The content type of the protocol.
pub(super) const NAME: &str = "application/grpc-web";
/// The flag of the frame that carries trailers.
const TRAILERS_FLAG: u8 = 0x80;

/// A request in gRPC-Web.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GrpcWeb {
    suffix: Suffix,
}

impl Protocol for GrpcWeb {
    fn detect<B>(request: &Request<B>, media_type: &str) -> Option<Self> {
        Suffix::of(request, media_type, NAME).map(|suffix| Self { suffix })
    }

    fn check(&self, _: Version, _: Option<&Arc<MethodCodec>>) -> Result<(), Status> {
        Ok(())
    }

    /// One frame, unless the method reads a stream or is unknown.
    fn body_limit(&self, codec: Option<&Arc<MethodCodec>>, limit: usize) -> Option<usize> {
        codec.filter(|codec| !codec.descriptor().is_client_streaming()).map(|_| limit.saturating_add(HEAD))
    }

    fn timeout(&self, headers: &HeaderMap) -> Result<Option<Duration>, Status> {
        grpc::timeout(headers)
    }

    fn upstream_type(&self) -> HeaderValue {
        grpc::upstream_type(&self.suffix)
    }

    /// Always names the encoding of the messages.
    fn response_type(&self) -> HeaderValue {
        self.suffix.or_proto().content_type(NAME)
    }

    fn decoder(&self, _: Option<&Arc<MethodCodec>>, _: usize) -> RequestDecoder {
        RequestDecoder::Frames
    }

    fn encoder(&self, _: Option<&Arc<MethodCodec>>) -> ResponseEncoder {
        ResponseEncoder::Web
    }

    fn refuse(&self, status: &Status) -> Response<Bytes> {
        grpc::trailers_only(status, self.response_type())
    }
}

/// Ends a response.
pub(super) fn end(trailers: &HeaderMap) -> Frame<Bytes> {
    Frame::data(trailer_frame(trailers))
}

/// Trailers as gRPC-Web carries them: a frame whose message is an HTTP/1.1 header block.
pub(crate) fn trailer_frame(trailers: &HeaderMap) -> Bytes {
    let length: usize = trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let mut frame = BytesMut::with_capacity(5 + length);
    frame.put_u8(TRAILERS_FLAG);
    // Trailers are bounded by the limit on headers, far below 4 GiB.
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    for (name, value) in trailers {
        frame.put_slice(name.as_str().as_bytes());
        frame.put_slice(b": ");
        frame.put_slice(value.as_bytes());
        frame.put_slice(b"\r\n");
    }
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn trailers_become_a_frame() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        trailers.append("x-a", HeaderValue::from_static("1"));
        trailers.append("x-a", HeaderValue::from_static("2"));
        let frame = trailer_frame(&trailers);
        assert_eq!(&frame[..5], [0x80, 0, 0, 0, 32]);
        assert_eq!(&frame[5..], b"grpc-status: 0\r\nx-a: 1\r\nx-a: 2\r\n");
    }
}
