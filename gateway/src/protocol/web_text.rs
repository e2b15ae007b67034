//! gRPC-Web with bodies in base64, for clients that cannot stream binary bodies.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version, header::ACCEPT};
use http_body::Frame;
use tonic::Status;

use super::{Protocol, RequestDecoder, ResponseEncoder, base64, codec::MethodCodec, content_type::Suffix, grpc, web};

/// The content type of the protocol.
const NAME: &str = "application/grpc-web-text";

/// A request in gRPC-Web whose response is base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GrpcWebText {
    suffix: Suffix,
    /// The request is base64 too. Otherwise only its `accept` header asks for base64.
    is_text_request: bool,
}

impl Protocol for GrpcWebText {
    fn detect<B>(request: &Request<B>, media_type: &str) -> Option<Self> {
        if let Some(suffix) = Suffix::of(request, media_type, NAME) {
            return Some(Self { suffix, is_text_request: true });
        }
        let suffix = Suffix::of(request, media_type, web::NAME)?;
        accepts_text(request.headers()).then_some(Self { suffix, is_text_request: false })
    }

    fn check(&self, _: Version, _: Option<&Arc<MethodCodec>>) -> Result<(), Status> {
        Ok(())
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
        if self.is_text_request { RequestDecoder::Base64(base64::Decoder::default()) } else { RequestDecoder::Frames }
    }

    fn encoder(&self, _: Option<&Arc<MethodCodec>>) -> ResponseEncoder {
        ResponseEncoder::WebText
    }

    fn refuse(&self, status: &Status) -> Response<Bytes> {
        grpc::trailers_only(status, self.response_type())
    }
}

/// Whether a gRPC-Web client requests a response in base64, whatever the encoding of its request.
fn accepts_text(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT).iter().map(HeaderValue::as_bytes);
    lines.into_iter().any(|line| line.windows(NAME.len()).any(|part| part.eq_ignore_ascii_case(NAME.as_bytes())))
}

/// Encodes a piece of a response's frames as one segment.
pub(super) fn encode(piece: &[u8]) -> Bytes {
    base64::encode(piece)
}

/// Ends a response.
pub(super) fn end(trailers: &HeaderMap) -> Frame<Bytes> {
    Frame::data(encode(&web::trailer_frame(trailers)))
}
