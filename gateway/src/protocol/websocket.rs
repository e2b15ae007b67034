//! Calls over a WebSocket (RFC 6455), one for each socket: JSON in text frames, so that browsers can send streams.
//!
//! The client sends `{"metadata": …}` first if it has any, `{"message": …}` for each message, and `{"end": true}`. The
//! gateway sends `{"metadata": …}` if there is any, `{"result": …}` for each message, and `{"status": …}` with the
//! `trailers`, if there are any. Within the gateway both directions are frames like those of gRPC.

mod client_frame;
mod handshake;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, Version,
    header::{CONTENT_TYPE, DATE, SET_COOKIE},
};
use http_body::Frame;
use kit::error::status;
use serde_json::json;
use tonic::{Code, Status};

use super::{
    Protocol, RequestDecoder, ResponseEncoder,
    codec::MethodCodec,
    compression::ContentEncoding,
    framing::{FrameReader, HEAD, head},
    grpc,
    json_frames::{FramesDecoder, JsonFramesEncoder},
    metadata,
    status::no_status,
};
use crate::http::reserved::{clean_translated_request, clean_translated_response};
pub(crate) use client_frame::{ClientFrame, Metadata, frame_refused};
pub(crate) use handshake::{
    CALL_SUBPROTOCOL, HandshakeRefusal, handshake, is_handshake, lenient_handshake, names_subprotocol,
};

/// The flag of the frame that ends a response. gRPC defines only the lowest bit.
const END_FLAG: u8 = 0x80;
/// Headers that are in no frame. A browser hides cookies from pages, and stores none that stands in a frame.
const HIDDEN: [HeaderName; 3] = [CONTENT_TYPE, DATE, SET_COOKIE];
/// The prefix of the headers of a handshake.
const HANDSHAKE: &str = "sec-websocket-";

/// A call over a WebSocket.
#[derive(Debug, Clone)]
pub(crate) struct WebSocket {
    /// `None`: the gateway has no descriptors of the method.
    codec: Option<Arc<MethodCodec>>,
}

impl WebSocket {
    pub(crate) fn new(codec: Option<Arc<MethodCodec>>) -> Self {
        Self { codec }
    }

    /// The text frame that ends a call.
    pub(crate) fn end_text(&self, status: &Status) -> String {
        end_text(self.codec.as_deref(), status, &HeaderMap::new())
    }
}

impl Protocol for WebSocket {
    /// The handshake states the protocol: see [`is_handshake`].
    fn detect<B>(_: &Request<B>, _: &str) -> Option<Self> {
        None
    }

    fn check(&self, _: Version, codec: Option<&Arc<MethodCodec>>) -> Result<(), Status> {
        if codec.is_some() {
            return Ok(());
        }
        let message = "the gateway has no descriptors of this method (gateway.external)";
        Err(status(Code::Unimplemented, crate::reason::JSON_UNAVAILABLE, message))
    }

    fn timeout(&self, headers: &HeaderMap) -> Result<Option<Duration>, Status> {
        grpc::timeout(headers)
    }

    fn upstream_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/grpc+proto")
    }

    fn response_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/json")
    }

    fn translate_request(&self, headers: &mut HeaderMap) {
        clean_translated_request(headers);
        let own: Vec<_> = headers.keys().filter(|name| name.as_str().starts_with(HANDSHAKE)).cloned().collect();
        for name in own {
            headers.remove(name);
        }
    }

    fn translate_response(&self, headers: &mut HeaderMap) {
        clean_translated_response(headers);
    }

    fn decoder(&self, codec: Option<&Arc<MethodCodec>>, limit: usize) -> RequestDecoder {
        match codec {
            Some(codec) => {
                let decoder = FramesDecoder::new(Some(Arc::clone(codec)), ContentEncoding::Identity, limit);
                RequestDecoder::Converted(Box::new(decoder))
            }
            None => RequestDecoder::Frames,
        }
    }

    fn encoder(&self, codec: Option<&Arc<MethodCodec>>) -> ResponseEncoder {
        ResponseEncoder::WebSocket(codec.map(|codec| Box::new(WebSocketEncoder::new(codec))))
    }

    fn refuse(&self, status: &Status) -> Response<Bytes> {
        let mut response = Response::new(end_frame(self.end_text(status)));
        *response.headers_mut() = status.metadata().clone().into_headers();
        response.headers_mut().insert(CONTENT_TYPE, self.response_type());
        response
    }
}

/// Makes the gRPC frames of a response JSON frames.
#[derive(Debug)]
pub(crate) struct WebSocketEncoder {
    codec: Arc<MethodCodec>,
    frames: JsonFramesEncoder,
}

impl WebSocketEncoder {
    fn new(codec: &Arc<MethodCodec>) -> Self {
        Self { codec: Arc::clone(codec), frames: JsonFramesEncoder::new(Arc::clone(codec)) }
    }

    pub(super) fn encode(&mut self, piece: Bytes) -> (Bytes, Option<Box<Status>>) {
        self.frames.encode(piece)
    }
}

/// Ends a response with trailers that state its status.
pub(super) fn end(encoder: Option<&WebSocketEncoder>, trailers: &HeaderMap) -> Frame<Bytes> {
    let status = Status::from_header_map(trailers).unwrap_or_else(no_status);
    Frame::data(end_frame(end_text(encoder.map(|encoder| &*encoder.codec), &status, trailers)))
}

/// `{"status": …}`, with the trailers if there are any.
fn end_text(codec: Option<&MethodCodec>, status: &Status, trailers: &HeaderMap) -> String {
    let mut text = b"{\"status\":".to_vec();
    match codec {
        Some(codec) => codec.append_status(status, &mut text),
        None => text.extend_from_slice(
            json!({ "code": status.code() as i32, "message": status.message() }).to_string().as_bytes(),
        ),
    }
    if let Some(trailers) = metadata::object_without(trailers, &HIDDEN) {
        text.extend_from_slice(format!(",\"trailers\":{trailers}").as_bytes());
    }
    text.push(b'}');
    // Both writers write UTF-8.
    String::from_utf8(text).unwrap_or_default()
}

fn end_frame(text: String) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD + text.len());
    frame.put_u8(END_FLAG);
    frame.put_slice(&head(text.len())[1..]);
    frame.put_slice(text.as_bytes());
    frame.freeze()
}

/// The text frame with the metadata of a response; `None`: there is none.
pub(crate) fn metadata_text(headers: &HeaderMap) -> Option<String> {
    let metadata = metadata::object_without(headers, &HIDDEN)?;
    Some(json!({ "metadata": metadata }).to_string())
}

/// Takes the text frames out of the body of a response.
#[derive(Debug, Default)]
pub(crate) struct TextFrames(FrameReader);

/// A text frame of a response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ServerFrame {
    Result(String),
    /// It ends the call.
    Status(String),
}

impl TextFrames {
    /// Adds the next piece. All frames of the piece before must have been taken.
    pub(crate) fn push(&mut self, piece: Bytes) {
        self.0.push(piece);
    }

    /// Takes the next whole frame; `None`: the next piece is needed.
    pub(crate) fn next(&mut self) -> Option<ServerFrame> {
        let (flags, json) = self.0.next()?;
        // The gateway's own JSON is UTF-8.
        let json = std::str::from_utf8(&json).unwrap_or("null");
        Some(match flags {
            END_FLAG => ServerFrame::Status(json.to_owned()),
            _ => ServerFrame::Result(["{\"result\":", json, "}"].concat()),
        })
    }
}
