//! The bodies of responses, from gRPC frames to what the client's protocol has.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tonic::Status;

use super::{
    connect, grpc,
    http_json::{HttpBodyEncoder, StreamEncoder},
    json_frames::JsonFramesEncoder,
    unary::MessageEncoder,
    web, web_text, websocket,
    websocket::WebSocketEncoder,
};

/// Encodes the gRPC frames of one response for its client. Boxed like [`RequestDecoder`](super::RequestDecoder).
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
