//! The body of a response in any dialect.

use bytes::Bytes;

use super::{
    Dialect, Received, Request,
    events::Events,
    frames::{Frames, Stamp},
};

pub(super) enum Body {
    /// Messages in gRPC's framing.
    Frames(Frames),
    /// One message, which is the whole body.
    Whole(Vec<u8>),
    /// Server-sent events.
    Events(Events),
}

/// The parts of a response that its head determines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// From the headers or the trailers.
    pub(super) grpc_status: Option<u32>,
    /// The content type is the dialect's.
    pub(super) is_typed: bool,
    /// The server closes the connection after this response.
    pub(super) closes: bool,
}

impl Body {
    pub(super) fn new(request: &Request) -> Self {
        match (request.dialect, &request.document) {
            (Dialect::Events, Some(document)) => Self::Events(Events::new(document.clone())),
            (Dialect::Connect | Dialect::Json, _) => Self::Whole(Vec::new()),
            (dialect, _) => Self::Frames(Frames::new(dialect)),
        }
    }

    /// Parses the next bytes. Calls `on_message` for each message that they complete.
    pub(super) fn feed(&mut self, piece: &[u8], on_message: &mut impl FnMut(Stamp)) -> Result<(), String> {
        match self {
            Self::Frames(frames) => frames.feed(piece, on_message),
            Self::Whole(whole) => {
                whole.extend_from_slice(piece);
                Ok(())
            }
            Self::Events(events) => events.feed(piece, on_message),
        }
    }

    /// The response, after the end of its body.
    pub(super) fn received(self, head: &Head) -> Result<Received, String> {
        let (is_whole, grpc_status, messages, bytes, text) = match self {
            Self::Frames(frames) => {
                let status = frames.status().or(head.grpc_status);
                (frames.is_whole(), status, frames.messages, frames.bytes, Bytes::new())
            }
            Self::Whole(whole) => (true, head.grpc_status, 1, whole.len() as u64, whole.into()),
            Self::Events(events) => (events.is_whole(), head.grpc_status, events.messages, events.bytes, Bytes::new()),
        };
        // The body of another HTTP status is no message.
        if !is_whole && head.status == 200 {
            return Err("the body ends in the middle of a message".to_owned());
        }
        let (http_status, is_typed, closes) = (head.status, head.is_typed, head.closes);
        Ok(Received { http_status, grpc_status, is_typed, messages, bytes, text, closes })
    }
}
