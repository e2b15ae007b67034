//! Streams in Connect. Their messages are framed like those of gRPC; the last frame of a response is a JSON object with
//! the status and the trailers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version, header::CONTENT_TYPE};
use http_body::Frame;
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::{
    super::{
        Protocol, RequestDecoder, ResponseEncoder,
        codec::MethodCodec,
        compression::ContentEncoding,
        json_frames::{JsonFramesDecoder, JsonFramesEncoder},
    },
    Encoding, GRPC_ACCEPT_ENCODING, GRPC_ENCODING, GRPC_TIMEOUT, TIMEOUT, VERSION, check_version, error, timeout,
};

/// The first part of the content type of streams.
const STREAM: &str = "application/connect+";
/// The flag of the frame that ends a response.
const END_FLAG: u8 = 2;
const CONTENT_ENCODING: HeaderName = HeaderName::from_static("connect-content-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("connect-accept-encoding");

/// A stream in Connect. Unary methods may be called so too.
#[derive(Debug, Clone)]
pub(crate) struct ConnectStream {
    encoding: Encoding,
    /// How messages of the request that are converted are compressed.
    compression: ContentEncoding,
    /// Why the request is refused.
    problem: Option<Box<Status>>,
}

impl Protocol for ConnectStream {
    fn detect<B>(request: &Request<B>, media_type: &str) -> Option<Self> {
        let encoding = Encoding::of(media_type, STREAM).filter(|_| *request.method() == Method::POST)?;
        let headers = request.headers();
        let compression = match encoding {
            // Messages pass as they are compressed.
            Encoding::Proto => Ok(ContentEncoding::Identity),
            Encoding::Json => ContentEncoding::parse(headers.get(CONTENT_ENCODING)),
        };
        let read = check_version(headers).and(compression);
        Some(match read {
            Ok(compression) => Self { encoding, compression, problem: None },
            Err(problem) => Self { encoding, compression: ContentEncoding::Identity, problem: Some(Box::new(problem)) },
        })
    }

    fn check(&self, _: Version, codec: Option<&Arc<MethodCodec>>) -> Result<(), Status> {
        match &self.problem {
            Some(problem) => Err(Status::clone(problem)),
            None => self.encoding.check(codec),
        }
    }

    fn timeout(&self, headers: &HeaderMap) -> Result<Option<Duration>, Status> {
        timeout(headers)
    }

    fn upstream_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/grpc+proto")
    }

    fn response_type(&self) -> HeaderValue {
        HeaderValue::from_static(match self.encoding {
            Encoding::Proto => "application/connect+proto",
            Encoding::Json => "application/connect+json",
        })
    }

    /// Protobuf messages pass as they are compressed; those that become JSON must not be compressed.
    fn translate_request(&self, headers: &mut HeaderMap) {
        for name in [VERSION, TIMEOUT, GRPC_TIMEOUT] {
            headers.remove(name);
        }
        if self.encoding == Encoding::Json {
            headers.remove(CONTENT_ENCODING);
            headers.remove(ACCEPT_ENCODING);
        }
        rename(headers, CONTENT_ENCODING, GRPC_ENCODING);
        rename(headers, ACCEPT_ENCODING, GRPC_ACCEPT_ENCODING);
    }

    fn translate_response(&self, headers: &mut HeaderMap) {
        rename(headers, GRPC_ENCODING, CONTENT_ENCODING);
        rename(headers, GRPC_ACCEPT_ENCODING, ACCEPT_ENCODING);
    }

    fn decoder(&self, codec: Option<&Arc<MethodCodec>>, limit: usize) -> RequestDecoder {
        match self.encoding.converter(codec) {
            Some(codec) => RequestDecoder::JsonFrames(Box::new(JsonFramesDecoder::new(codec, self.compression, limit))),
            None => RequestDecoder::Frames,
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

/// Moves the value of a header to another name. The other name has no value of its own after that.
fn rename(headers: &mut HeaderMap, from: HeaderName, to: HeaderName) {
    match headers.remove(from) {
        Some(value) => headers.insert(to, value),
        None => headers.remove(to),
    };
}

/// Ends a response with trailers that state its status.
pub(in super::super) fn end(mut trailers: HeaderMap) -> Frame<Bytes> {
    let status = Status::from_header_map(&trailers).unwrap_or_else(|| Status::unknown("the status is missing"));
    for name in crate::http::headers::STATUS {
        trailers.remove(name);
    }
    Frame::data(end_frame(&status, &trailers))
}

fn end_frame(status: &Status, trailers: &HeaderMap) -> Bytes {
    let mut end = json!({});
    if status.code() != Code::Ok {
        end["error"] = error::object(status);
    }
    if !trailers.is_empty() {
        let mut metadata = BTreeMap::<&str, Vec<String>>::new();
        for (name, value) in trailers {
            // Values outside of ASCII are not allowed in gRPC; they must not make the JSON invalid.
            metadata.entry(name.as_str()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
        }
        end["metadata"] = Value::from_iter(metadata);
    }
    let json = end.to_string();
    let mut frame = BytesMut::with_capacity(5 + json.len());
    frame.put_u8(END_FLAG);
    // Trailers are bounded by the limit on headers, far below 4 GiB.
    frame.put_u32(u32::try_from(json.len()).unwrap_or(u32::MAX));
    frame.put_slice(json.as_bytes());
    frame.freeze()
}
