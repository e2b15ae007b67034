//! A body on its way out over HTTP/2: a request to an upstream, or a response to a caller.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

/// Hands a body's frames to h2 as they come and as there is room for them: one piece waits at most. It is polled by
/// whoever waits for what comes of it.
pub(crate) struct Pipe<B> {
    body: B,
    stream: SendStream<Bytes>,
    /// A piece that waits for room in the other side's window.
    waiting: Option<Bytes>,
    /// The next piece needs no room: see [`Pipe::with_head`].
    ahead: bool,
    /// What the other side hears when the body is cut. `None`: whoever polls the pipe decides when ([`Pipe::reset`]).
    when_cut: Option<Reason>,
    /// The body was cut, and the other side has not been told.
    is_cut: bool,
    ended: bool,
}

impl<B> Pipe<B>
where
    B: Body<Data = Bytes, Error: Error> + Unpin,
{
    /// For a stream that is open: a response's.
    pub(crate) fn new(body: B, stream: SendStream<Bytes>) -> Self {
        let ended = body.is_end_stream();
        let when_cut = Some(Reason::INTERNAL_ERROR);
        Self { body, stream, waiting: None, ahead: false, when_cut, is_cut: false, ended }
    }

    /// For a stream that h2 has not opened yet, a request's, and to which it gives no room therefore: the first piece is
    /// handed over all the same, so that it leaves with the head.
    pub(crate) fn with_head(body: B, stream: SendStream<Bytes>) -> Self {
        Self { ahead: true, when_cut: None, ..Self::new(body, stream) }
    }

    /// Sends what there is. Ends with the body, or when the other side wants no more of it; whoever waits for a response
    /// hears of that there.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.ended {
            if self.waiting.is_some() {
                let is_open = ready!(self.poll_room(cx));
                match self.waiting.take() {
                    Some(piece) if is_open => self.send(piece),
                    _ => self.ended = true,
                }
                continue;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) => self.take(piece),
                    Err(frame) => self.finish(frame.into_trailers().ok()),
                },
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(%error, "a body was cut");
                    match self.when_cut {
                        Some(reason) => self.stream.send_reset(reason),
                        None => self.is_cut = true,
                    }
                    self.ended = true;
                }
                Poll::Ready(None) => self.finish(None),
                // Only a body that waits can miss that nobody wants it any more.
                Poll::Pending => {
                    ready!(self.stream.poll_reset(cx)).ok();
                    self.ended = true;
                }
            }
        }
        Poll::Ready(())
    }

    /// Everything has been sent, or no more is wanted.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The body was cut, and the stream is still to be reset.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Cancels the call whose request was cut.
    pub(crate) fn reset(&mut self) {
        self.is_cut = false;
        self.stream.send_reset(Reason::CANCEL);
    }

    /// Resets the stream, whatever still waits on it.
    pub(crate) fn end(&mut self, reason: Reason) {
        self.ended = true;
        self.stream.send_reset(reason);
    }

    /// What the body is, where it is needed again.
    pub(crate) fn body_mut(&mut self) -> &mut B {
        &mut self.body
    }

    pub(crate) fn into_body(self) -> B {
        self.body
    }

    fn take(&mut self, piece: Bytes) {
        if self.ahead {
            self.ahead = false;
            self.send(piece);
        } else {
            // Room is asked for only now that it can be used: what one stream reserves others lack. h2 asks for the
            // rest of the piece itself.
            self.stream.reserve_capacity(1);
            self.waiting = Some(piece);
        }
    }

    /// Whether there is room; false: there never will be.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        while self.stream.capacity() == 0 {
            if !matches!(ready!(self.stream.poll_capacity(cx)), Some(Ok(_))) {
                return Poll::Ready(false);
            }
        }
        Poll::Ready(true)
    }

    fn send(&mut self, piece: Bytes) {
        let is_last = self.body.is_end_stream();
        // An Err says that the stream has been reset.
        self.ended = self.stream.send_data(piece, is_last).is_err() || is_last;
    }

    fn finish(&mut self, trailers: Option<http::HeaderMap>) {
        match trailers {
            Some(trailers) => self.stream.send_trailers(trailers).ok(),
            None => self.stream.send_data(Bytes::new(), true).ok(),
        };
        self.ended = true;
    }
}
