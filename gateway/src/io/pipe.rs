//! A body that is sent over HTTP/2: a request to an upstream, or a response to a caller.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

/// Hands a body's frames to h2 as they arrive and as the flow-control window allows: at most one piece waits. The task
/// that waits for the outcome polls it.
pub(crate) struct Pipe<B> {
    body: B,
    stream: SendStream<Bytes>,
    /// A piece that waits for the peer's flow-control window.
    waiting: Option<Bytes>,
    /// The next piece is sent without waiting for the window: see [`Pipe::with_head`].
    ahead: bool,
    /// The reason of the reset when the body is cut off. `None`: the owner resets the stream later ([`Pipe::reset`]).
    when_cut: Option<Reason>,
    /// The body was cut off, and the stream has not been reset.
    is_cut: bool,
    ended: bool,
}

impl<B> Pipe<B>
where
    B: Body<Data = Bytes, Error: Error> + Unpin,
{
    /// For an open stream, that of a response.
    pub(crate) fn new(body: B, stream: SendStream<Bytes>) -> Self {
        let ended = body.is_end_stream();
        let when_cut = Some(Reason::INTERNAL_ERROR);
        Self { body, stream, waiting: None, ahead: false, when_cut, is_cut: false, ended }
    }

    /// For the stream of a request, which h2 has not opened yet and gives no window: the first piece is handed over at
    /// once, so that it is sent with the head.
    pub(crate) fn with_head(body: B, stream: SendStream<Bytes>) -> Self {
        Self { ahead: true, when_cut: None, ..Self::new(body, stream) }
    }

    /// Sends what is available. Ends with the body, or when the peer resets the stream; the receiver of the response
    /// learns of the reset there.
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
                    tracing::debug!(%error, "a body was cut off");
                    match self.when_cut {
                        Some(reason) => self.stream.send_reset(reason),
                        None => self.is_cut = true,
                    }
                    self.ended = true;
                }
                Poll::Ready(None) => self.finish(None),
                // Only a body that waits can miss that the peer has reset the stream.
                Poll::Pending => {
                    ready!(self.stream.poll_reset(cx)).ok();
                    self.ended = true;
                }
            }
        }
        Poll::Ready(())
    }

    /// Everything has been sent, or the peer wants no more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The body was cut off, and the stream is still to be reset.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Cancels the call whose request was cut off.
    pub(crate) fn reset(&mut self) {
        self.is_cut = false;
        self.stream.send_reset(Reason::CANCEL);
    }

    /// Resets the stream and drops what still waits on it.
    pub(crate) fn end(&mut self, reason: Reason) {
        self.ended = true;
        self.stream.send_reset(reason);
    }

    /// The body, for a retry.
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
            // The window is reserved only now that it can be used: other streams lack what one stream reserves. h2
            // requests the rest of the piece itself.
            self.stream.reserve_capacity(1);
            self.waiting = Some(piece);
        }
    }

    /// Whether the window has room; false: the stream has ended.
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
        // An Err means that the stream has been reset.
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
