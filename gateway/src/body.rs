//! The bodies that go through the gateway. Frames are handed on as they come; nothing is gathered whole.

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

/// What is sent to a caller. A failure becomes the caller's own kind of trailers, where these can be said.
#[expect(clippy::large_enum_variant, reason = "nearly all are answers, and a box would be an allocation for each")]
pub(crate) enum Outgoing {
    /// Known as a whole.
    Full(Full<Bytes>),
    /// From an upstream.
    Response(ResponseBody),
}

impl Outgoing {
    pub(crate) fn empty() -> Self {
        Self::full(Bytes::new())
    }

    /// What tells that it is to be ended before its end.
    pub(crate) fn wait(&self) -> Option<Arc<Wait>> {
        match self {
            Self::Full(_) => None,
            Self::Response(answer) => Some(answer.wait()),
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
            Self::Response(answer) => answer.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(full) => full.is_end_stream(),
            Self::Response(answer) => answer.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(full) => full.size_hint(),
            Self::Response(_) => SizeHint::default(),
        }
    }
}

/// What is sent to an upstream: the caller's messages, as they come.
pub(crate) struct Request {
    inner: Inbound,
    /// Where the caller's bytes are base64.
    decoder: Option<text::Decoder>,
    meter: Meter,
    fault: RequestBodyError,
    replay: Replay,
}

/// What has been passed on, as long as it may be wanted again: pieces are shared, not copied.
#[derive(Default)]
struct Replay {
    pieces: Vec<Bytes>,
    /// What more may be kept, in bytes.
    room: usize,
    /// How many of `pieces` have been passed on since the last rewind.
    at: usize,
    /// The response has begun, or there is too much.
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
        // What has not been passed on again yet still must be.
        self.pieces.drain(..self.at);
        (self.at, self.is_over) = (0, true);
    }
}

/// Tells, once a call has failed, that the caller's own body was the reason.
#[derive(Clone, Default)]
pub(crate) struct RequestBodyError(Arc<AtomicU8>);

/// What is wrong with a caller's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestBodyErrorKind {
    /// It should be base64.
    Text = 1,
    /// A message is larger than the limit.
    TooLarge,
    /// A message has flags that mean nothing.
    Flags,
    /// It ended before its end.
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
        .find(|wrong| *wrong as u8 == self.0.load(Ordering::Relaxed))
    }

    fn set(&self, wrong: RequestBodyErrorKind) -> Cut {
        self.0.store(wrong as u8, Ordering::Relaxed);
        Cut::RequestBodyErrorKind(wrong)
    }
}

impl Request {
    /// Refuses messages of more than `limit` bytes, and keeps `room` bytes of them all for another try.
    pub(crate) fn new(inner: Inbound, is_text: bool, limit: usize, room: usize, fault: RequestBodyError) -> Self {
        let decoder = is_text.then(text::Decoder::default);
        Self { inner, decoder, meter: Meter::new(limit), fault, replay: Replay { room, ..Replay::default() } }
    }

    /// Begins again. False: not all that has been passed on is known any more.
    pub(crate) fn rewind(&mut self) -> bool {
        self.replay.rewind()
    }

    /// There will be no other try.
    pub(crate) fn keep_no_more(&mut self) {
        self.replay.end();
    }

    /// What reads ahead of the request while the upstream takes nothing.
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
                    self.fault.set(RequestBodyErrorKind::Cut);
                    Err(Cut::Caller(error))
                }
                None => match self.finish() {
                    Ok(()) => return Poll::Ready(None),
                    Err(cut) => Err(cut),
                },
            };
            match passed {
                // Characters that make no whole group yet.
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
                decoder.decode(&piece).map_err(|text::Malformed| self.fault.set(RequestBodyErrorKind::Text))?
            }
            None => piece,
        };
        self.meter.pass(&piece).map_err(|Refused { why, .. }| {
            self.fault.set(match why {
                Why::TooLarge => RequestBodyErrorKind::TooLarge,
                Why::Flags => RequestBodyErrorKind::Flags,
            })
        })?;
        Ok(piece)
    }

    fn finish(&self) -> Result<(), Cut> {
        if self.is_whole() { Ok(()) } else { Err(self.fault.set(RequestBodyErrorKind::Text)) }
    }

    /// A text may end here.
    fn is_whole(&self) -> bool {
        self.decoder.as_ref().is_none_or(|decoder| decoder.finish().is_ok())
    }
}

/// Why a request's body ended early.
#[derive(Debug)]
pub(crate) enum Cut {
    /// The caller went away.
    Caller(Lost),
    /// The caller sent what is wrong.
    RequestBodyErrorKind(RequestBodyErrorKind),
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Caller(Lost(why)) => write!(f, "the caller's body was cut: {why}"),
            Self::RequestBodyErrorKind(RequestBodyErrorKind::Text) => f.write_str("the caller's body is no base64"),
            Self::RequestBodyErrorKind(RequestBodyErrorKind::TooLarge) => {
                f.write_str("the caller's message is too large")
            }
            Self::RequestBodyErrorKind(RequestBodyErrorKind::Flags) => {
                f.write_str("the caller's message has flags that mean nothing")
            }
            Self::RequestBodyErrorKind(RequestBodyErrorKind::Cut) => f.write_str("the caller's body was cut"),
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
    fn what_was_passed_on_comes_again_until_it_is_too_much() {
        let mut replay = Replay { room: 8, ..Replay::default() };
        let pieces = [Bytes::from_static(b"one"), Bytes::from_static(b"two")];
        pieces.iter().for_each(|piece| replay.keep(piece));
        assert!(all(&mut replay).is_empty());
        for _ in 0..2 {
            assert!(replay.rewind());
            assert_eq!(all(&mut replay), pieces);
        }
        // Six bytes are kept, and two more would be.
        replay.keep(&Bytes::from_static(b"six"));
        assert!(!replay.rewind());
        assert!(all(&mut replay).is_empty());
    }

    #[test]
    fn what_is_still_to_come_again_outlasts_the_last_try() {
        let mut replay = Replay { room: 8, ..Replay::default() };
        [Bytes::from_static(b"one"), Bytes::from_static(b"two")].iter().for_each(|piece| replay.keep(piece));
        assert!(replay.rewind());
        assert_eq!(replay.next().unwrap(), "one");
        replay.end();
        assert_eq!(all(&mut replay), ["two"]);
    }
}
