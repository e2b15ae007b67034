//! The bodies that pass through the gateway. Frames are forwarded as they arrive; no body is buffered whole.

mod inbound;
pub(crate) mod meter;
mod pipe;
mod response;
pub(crate) mod text;

use std::{
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

pub(crate) use inbound::{Inbound, Lost};
use meter::{Meter, Refused, Why};
pub(crate) use pipe::Pipe;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use response::trailer_frame;
pub(crate) use response::{ResponseBody, Source, Terms, TruncatedMessage};

use crate::{receive_buffer::ReceiveBuffer, watchdog::Wait};

/// The body of a response to a caller. A failure becomes trailers of the caller's protocol where it has them.
#[expect(clippy::large_enum_variant, reason = "nearly all are responses, and a box would be an allocation for each")]
pub(crate) enum Outgoing {
    /// A complete body.
    Full(Full<Bytes>),
    /// From an upstream.
    Response(ResponseBody),
}

impl Outgoing {
    pub(crate) fn empty() -> Self {
        Self::full(Bytes::new())
    }

    /// The state through which the watchdog ends the response early.
    pub(crate) fn wait(&self) -> Option<Arc<Wait>> {
        match self {
            Self::Full(_) => None,
            Self::Response(response) => Some(response.wait()),
        }
    }

    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self::Full(Full::new(bytes.into()))
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = TruncatedMessage;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, TruncatedMessage>>> {
        match self.get_mut() {
            Self::Full(full) => Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
            Self::Response(response) => response.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(full) => full.is_end_stream(),
            Self::Response(response) => response.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(full) => full.size_hint(),
            Self::Response(_) => SizeHint::default(),
        }
    }
}

/// The body of a request to an upstream: the caller's messages, as they arrive.
pub(crate) struct Request {
    inner: Inbound,
    /// Set when the caller sends base64.
    decoder: Option<text::Decoder>,
    meter: Meter,
    request_error: RequestBodyError,
    replay: Replay,
}

/// The pieces already forwarded, kept while a retry may need them: they are shared, not copied.
#[derive(Default)]
struct Replay {
    pieces: Vec<Bytes>,
    /// How many more bytes may be kept.
    room: usize,
    /// How many of `pieces` have been forwarded since the last rewind.
    at: usize,
    /// Nothing is kept any more: the response has begun, or the request is too large.
    is_over: bool,
}

impl Replay {
    fn keep(&mut self, piece: &Bytes) {
        match self.room.checked_sub(piece.len()) {
            Some(room) => self.room = room,
            None => self.end(),
        }
        if !self.is_over {
            self.pieces.push(piece.clone());
            self.at += 1;
        }
    }

    fn rewind(&mut self) -> bool {
        self.at = 0;
        !self.is_over
    }

    fn next(&mut self) -> Option<Bytes> {
        let piece = self.pieces.get(self.at)?.clone();
        self.at += 1;
        Some(piece)
    }

    fn end(&mut self) {
        // The pieces that a retry has not sent yet are still needed.
        self.pieces.drain(..self.at);
        (self.at, self.is_over) = (0, true);
    }
}

/// Reports, once a call has failed, that the caller's own body was the reason.
#[derive(Clone, Default)]
pub(crate) struct RequestBodyError(Arc<AtomicU8>);

/// Why a caller's body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestBodyErrorKind {
    /// The text is not base64.
    Text = 1,
    /// A message is larger than the limit.
    TooLarge,
    /// A message has unknown flags.
    Flags,
    /// The body was cut off.
    Cut,
}

impl RequestBodyError {
    pub(crate) fn get(&self) -> Option<RequestBodyErrorKind> {
        [
            RequestBodyErrorKind::Text,
            RequestBodyErrorKind::TooLarge,
            RequestBodyErrorKind::Flags,
            RequestBodyErrorKind::Cut,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == self.0.load(Ordering::Relaxed))
    }

    fn set(&self, kind: RequestBodyErrorKind) -> Cut {
        self.0.store(kind as u8, Ordering::Relaxed);
        Cut::Invalid(kind)
    }
}

impl Request {
    /// Refuses messages of more than `limit` bytes, and keeps up to `room` bytes of the body for a retry.
    pub(crate) fn new(
        inner: Inbound,
        is_text: bool,
        limit: usize,
        room: usize,
        request_error: RequestBodyError,
    ) -> Self {
        let decoder = is_text.then(text::Decoder::default);
        Self { inner, decoder, meter: Meter::new(limit), request_error, replay: Replay { room, ..Replay::default() } }
    }

    /// Starts again from the first piece. False: some forwarded pieces are no longer kept.
    pub(crate) fn rewind(&mut self) -> bool {
        self.replay.rewind()
    }

    /// There is no further retry.
    pub(crate) fn keep_no_more(&mut self) {
        self.replay.end();
    }

    /// The buffer that reads ahead while the upstream reads nothing.
    pub(crate) fn receive_buffer(&self) -> Weak<ReceiveBuffer> {
        self.inner.receive_buffer()
    }

    /// The next piece, never an empty one.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        if let Some(piece) = self.replay.next() {
            return Poll::Ready(Some(Ok(piece)));
        }
        loop {
            let passed = match ready!(self.inner.poll_piece(cx)) {
                Some(Ok(piece)) => self.pass(piece),
                Some(Err(error)) => {
                    self.request_error.set(RequestBodyErrorKind::Cut);
                    Err(Cut::Caller(error))
                }
                None => match self.finish() {
                    Ok(()) => return Poll::Ready(None),
                    Err(cut) => Err(cut),
                },
            };
            match passed {
                // The characters do not complete a group yet.
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => {
                    self.replay.keep(&bytes);
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Err(cut) => return Poll::Ready(Some(Err(cut))),
            }
        }
    }

    fn pass(&mut self, piece: Bytes) -> Result<Bytes, Cut> {
        let piece = match &mut self.decoder {
            Some(decoder) => {
                decoder.decode(&piece).map_err(|text::Malformed| self.request_error.set(RequestBodyErrorKind::Text))?
            }
            None => piece,
        };
        self.meter.pass(&piece).map_err(|Refused { why, .. }| {
            self.request_error.set(match why {
                Why::TooLarge => RequestBodyErrorKind::TooLarge,
                Why::Flags => RequestBodyErrorKind::Flags,
            })
        })?;
        Ok(piece)
    }

    fn finish(&self) -> Result<(), Cut> {
        if self.is_whole() { Ok(()) } else { Err(self.request_error.set(RequestBodyErrorKind::Text)) }
    }

    /// Whether a base64 text may end here.
    fn is_whole(&self) -> bool {
        self.decoder.as_ref().is_none_or(|decoder| decoder.finish().is_ok())
    }
}

/// Why a request's body ended early.
#[derive(Debug)]
pub(crate) enum Cut {
    /// The caller's connection or stream ended.
    Caller(Lost),
    /// The caller sent invalid data.
    Invalid(RequestBodyErrorKind),
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Caller(Lost(why)) => write!(f, "the caller's body was cut off: {why}"),
            Self::Invalid(RequestBodyErrorKind::Text) => f.write_str("the caller's body is not base64"),
            Self::Invalid(RequestBodyErrorKind::TooLarge) => f.write_str("the caller's message is too large"),
            Self::Invalid(RequestBodyErrorKind::Flags) => f.write_str("the caller's message has unknown flags"),
            Self::Invalid(RequestBodyErrorKind::Cut) => f.write_str("the caller's body was cut off"),
        }
    }
}

impl std::error::Error for Cut {}

impl Body for Request {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.get_mut().poll_piece(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.replay.at == self.replay.pieces.len() && self.inner.is_end() && self.is_whole()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(replay: &mut Replay) -> Vec<Bytes> {
        std::iter::from_fn(|| replay.next()).collect()
    }

    #[test]
    fn forwarded_pieces_are_replayed_up_to_the_limit() {
        let mut replay = Replay { room: 8, ..Replay::default() };
        let pieces = [Bytes::from_static(b"one"), Bytes::from_static(b"two")];
        pieces.iter().for_each(|piece| replay.keep(piece));
        assert!(all(&mut replay).is_empty());
        for _ in 0..2 {
            assert!(replay.rewind());
            assert_eq!(all(&mut replay), pieces);
        }
        // Six bytes are kept; three more exceed the limit of eight.
        replay.keep(&Bytes::from_static(b"six"));
        assert!(!replay.rewind());
        assert!(all(&mut replay).is_empty());
    }

    #[test]
    fn pieces_not_yet_replayed_outlast_the_last_retry() {
        let mut replay = Replay { room: 8, ..Replay::default() };
        [Bytes::from_static(b"one"), Bytes::from_static(b"two")].iter().for_each(|piece| replay.keep(piece));
        assert!(replay.rewind());
        assert_eq!(replay.next().unwrap(), "one");
        replay.end();
        assert_eq!(all(&mut replay), ["two"]);
    }
}
