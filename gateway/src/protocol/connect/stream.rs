//! Streams in Connect. Their messages are framed like those of gRPC; the last frame of a response is a JSON object with
//! the status and the trailers.

use std::{sync::Arc, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version, header::CONTENT_TYPE};
use http_body::Frame;
use serde_json::json;
use tonic::{Code, Status};

use super::{
    super::{
        Protocol, RequestDecoder, ResponseEncoder,
        codec::MethodCodec,
        compression::ContentEncoding,
        json_frames::{FramesDecoder, JsonFramesEncoder},
        metadata,
    },
    Encoding, check_version, error, timeout,
};
use crate::http::reserved::{clean_translated_request, clean_translated_response};

/// The first part of the content type of streams.
const STREAM: &str = "application/connect+";
/// The flag of the frame that ends a response.
const END_FLAG: u8 = 2;
const CONTENT_ENCODING: HeaderName = HeaderName::from_static("connect-content-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("connect-accept-encoding");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// A stream in Connect. Unary methods may be called so too.
#[derive(Debug, Clone)]
pub(crate) struct ConnectStream {
    encoding: Encoding,
    /// How messages of the request are compressed. The gateway decompresses them: not every upstream could.
    compression: ContentEncoding,
}

impl Protocol for ConnectStream {
    fn detect<B>(request: &Request<B>, media_type: &str) -> Option<Self> {
        let encoding = Encoding::of(media_type, STREAM).filter(|_| *request.method() == Method::POST)?;
        Some(Self { encoding, compression: ContentEncoding::Identity })
    }

    fn check(&self, _: Version, codec: Option<&Arc<MethodCodec>>) -> Result<(), Status> {
        self.encoding.check(codec)
    }

    fn read<B>(&mut self, request: &Request<B>) -> Result<(), Status> {
        check_version(request.headers())?;
        self.compression = ContentEncoding::parse(request.headers().get(CONTENT_ENCODING))?;
        Ok(())
    }

    fn timeout(&self, headers: &HeaderMap) -> Result<Option<Duration>, Status> {
        timeout(headers)
    }

    fn response_type(&self) -> HeaderValue {
        HeaderValue::from_static(self.encoding.stream_type())
    }

    /// Protobuf messages of the response pass as the upstream compresses them; those that become JSON must not be
    /// compressed.
    fn translate_request(&self, headers: &mut HeaderMap) {
        let accepted = headers.remove(ACCEPT_ENCODING).filter(|_| self.encoding == Encoding::Proto);
        clean_translated_request(headers);
        headers.extend(accepted.map(|accepted| (GRPC_ACCEPT_ENCODING, accepted)));
    }

    fn translate_response(&self, headers: &mut HeaderMap) {
        let encoding = headers.remove(GRPC_ENCODING);
        clean_translated_response(headers);
        headers.extend(encoding.map(|encoding| (CONTENT_ENCODING, encoding)));
    }

    fn decoder(&self, codec: Option<&Arc<MethodCodec>>, limit: usize) -> RequestDecoder {
        match self.encoding.converter(codec) {
            None if self.compression == ContentEncoding::Identity => RequestDecoder::Frames,
            codec => RequestDecoder::Converted(Box::new(FramesDecoder::new(codec, self.compression, limit))),
        }
    }

    fn encoder(&self, codec: Option<&Arc<MethodCodec>>) -> ResponseEncoder {
        ResponseEncoder::ConnectStream(
            self.encoding.converter(codec).map(|codec| Box::new(JsonFramesEncoder::new(codec))),
        )
    }

    /// The status of HTTP is that of a success, as for every stream.
    fn refuse(&self, status: &Status) -> Response<Bytes> {
        let mut response = Response::new(end_frame(status, &HeaderMap::new()));
        *response.headers_mut() = status.metadata().clone().into_headers();
        response.headers_mut().insert(CONTENT_TYPE, self.response_type());
        response
    }
}

/// Ends a response with trailers that state its status.
pub(in super::super) fn end(trailers: HeaderMap) -> Frame<Bytes> {
    let status = Status::from_header_map(&trailers).unwrap_or_else(|| Status::unknown("the status is missing"));
    Frame::data(end_frame(&status, &trailers))
}

fn end_frame(status: &Status, trailers: &HeaderMap) -> Bytes {
    let mut end = json!({});
    if status.code() != Code::Ok {
        end["error"] = error::object(status);
    }
    if let Some(metadata) = metadata::object(trailers) {
        end["metadata"] = metadata;
    }
    let json = end.to_string();
    let mut frame = BytesMut::with_capacity(5 + json.len());
    frame.put_u8(END_FLAG);
    // Trailers are bounded by the limit on headers, far below 4 GiB.
    frame.put_u32(u32::try_from(json.len()).unwrap_or(u32::MAX));
    frame.put_slice(json.as_bytes());
    frame.freeze()
}
