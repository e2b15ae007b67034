//! The body of a request to an upstream. Frames are forwarded as they arrive; no body is buffered whole.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock, Weak},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tonic::Status;

use super::replay::Replay;
use crate::{
    io::{Inbound, Lost, ReceiveBuffer},
    protocol::{
        RequestDecoder,
        framing::{FrameMeter, Refused},
        status::{body_cut_off, request_refused},
    },
};

/// The body of a request to an upstream: the caller's messages, as they arrive.
pub(crate) struct RequestBody {
    inner: Inbound,
    decoder: RequestDecoder,
    meter: FrameMeter,
    request_error: RequestBodyError,
    replay: Replay,
}

/// Reports, once a call has failed, that the caller's own body was the reason.
#[derive(Clone, Default)]
pub(crate) struct RequestBodyError(Arc<OnceLock<Box<Status>>>);

impl RequestBodyError {
    /// The status that the caller receives; `None`: its body is valid so far.
    pub(crate) fn get(&self) -> Option<Status> {
        self.0.get().map(|status| Status::clone(status))
    }

    fn set(&self, status: Status) -> Cut {
        let message = status.message().to_owned();
        // The first error counts.
        self.0.set(Box::new(status)).ok();
        Cut::Invalid(message)
    }
}

impl RequestBody {
    /// Decodes the body of a client's request. Refuses messages of more than `limit` bytes, and keeps up to `room` bytes
    /// for a retry.
    pub(crate) fn new(
        inner: Inbound,
        decoder: RequestDecoder,
        limit: usize,
        room: usize,
        request_error: RequestBodyError,
    ) -> Self {
        Self { inner, decoder, meter: FrameMeter::new(limit), request_error, replay: Replay::new(room) }
    }

    /// The body of a request of the gateway itself. It can be sent again.
    pub(crate) fn whole(body: Bytes) -> Self {
        let room = body.len();
        let (inner, error) = (Inbound::whole(body), RequestBodyError::default());
        Self::new(inner, RequestDecoder::Frames, room, room, error)
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
            if self.decoder.has_more() {
                match self.decoder.decode(Bytes::new()) {
                    Ok(frames) if frames.is_empty() => {}
                    Ok(frames) => return Poll::Ready(Some(self.pass(frames))),
                    Err(status) => return Poll::Ready(Some(Err(self.request_error.set(*status)))),
                }
            }
            let (passed, is_last) = match ready!(self.inner.poll_piece(cx)) {
                Some(Ok(piece)) => (self.decoder.decode(piece), false),
                Some(Err(error)) => {
                    self.request_error.set(body_cut_off());
                    return Poll::Ready(Some(Err(Cut::Caller(error))));
                }
                None => (self.decoder.finish(), true),
            };
            match passed {
                Ok(frames) if frames.is_empty() && is_last => return Poll::Ready(None),
                // The piece does not complete what the decoder needs.
                Ok(frames) if frames.is_empty() => {}
                Ok(frames) => return Poll::Ready(Some(self.pass(frames))),
                Err(status) => return Poll::Ready(Some(Err(self.request_error.set(*status)))),
            }
        }
    }

    /// Checks decoded frames, and keeps them for a retry.
    fn pass(&mut self, frames: Bytes) -> Result<Bytes, Cut> {
        self.meter.pass(&frames).map_err(|Refused { why, .. }| self.request_error.set(request_refused(why)))?;
        self.replay.keep(&frames);
        Ok(frames)
    }
}

/// Why a request's body ended early.
#[derive(Debug)]
pub(crate) enum Cut {
    /// The caller's connection or stream ended.
    Caller(Lost),
    /// The caller sent invalid data, for this reason.
    Invalid(String),
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Caller(Lost(why)) => write!(f, "the caller's body was cut off: {why}"),
            Self::Invalid(why) => write!(f, "the caller's body is invalid: {why}"),
        }
    }
}

impl std::error::Error for Cut {}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.get_mut().poll_piece(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.replay.is_forwarded() && self.inner.is_end() && self.decoder.is_complete()
    }
}
