//! The bodies of requests as gRPC frames.

use bytes::Bytes;
use tonic::Status;

use super::{
    base64, http_json::HttpBodyDecoder, json_frames::FramesDecoder, status::not_base64, unary::MessageDecoder,
};

/// Decodes the body of one request into gRPC frames, in pieces of any size. Those that convert messages are boxed: the
/// state of other calls stays small.
pub(crate) enum RequestDecoder {
    /// The body is gRPC frames: each piece passes uncopied.
    Frames,
    /// The body is gRPC frames in base64.
    Base64(base64::Decoder),
    /// The body is one message.
    Message(Box<MessageDecoder>),
    /// The body is frames whose messages are JSON, or compressed.
    Converted(Box<FramesDecoder>),
    /// The body is bytes, whose pieces become messages.
    HttpBody(Box<HttpBodyDecoder>),
}

impl RequestDecoder {
    /// Decodes the next piece. The result may be empty: more of the body is needed.
    pub(crate) fn decode(&mut self, piece: Bytes) -> Result<Bytes, Box<Status>> {
        match self {
            Self::Frames => Ok(piece),
            Self::Base64(decoder) => decoder.decode(&piece).map_err(|base64::Malformed| not_base64()),
            Self::Message(decoder) => decoder.decode(&piece).map(|()| Bytes::new()),
            Self::Converted(decoder) => decoder.decode(piece),
            Self::HttpBody(decoder) => Ok(decoder.decode(&piece)),
        }
    }

    /// Whether [`Self::decode`] has more to return without another piece.
    pub(crate) fn has_more(&self) -> bool {
        matches!(self, Self::Converted(decoder) if decoder.has_more())
    }

    /// Whether the decoder keeps the beginning of a message, of which there may be many in one body. The deadline of the
    /// call bounds the time of a body that is one message.
    pub(crate) fn is_within_message(&self) -> bool {
        matches!(self, Self::Converted(decoder) if !decoder.is_complete())
    }

    /// Ends the body. Returns the frames that only its end completes; empty: none. Later calls return none.
    pub(crate) fn finish(&mut self) -> Result<Bytes, Box<Status>> {
        match self {
            Self::Frames => Ok(Bytes::new()),
            Self::Converted(decoder) => decoder.finish(),
            Self::Base64(decoder) => decoder.finish().map(|()| Bytes::new()).map_err(|base64::Malformed| not_base64()),
            Self::Message(decoder) => decoder.finish(),
            Self::HttpBody(decoder) => Ok(decoder.finish()),
        }
    }

    /// Whether the body may end here, and [`Self::finish`] would return no frames.
    pub(crate) fn is_complete(&self) -> bool {
        match self {
            Self::Frames => true,
            Self::Base64(decoder) => decoder.finish().is_ok(),
            Self::Message(decoder) => decoder.is_complete(),
            Self::Converted(decoder) => decoder.is_complete(),
            Self::HttpBody(decoder) => decoder.is_complete(),
        }
    }
}
