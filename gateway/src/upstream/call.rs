//! One call on a connection to an upstream: the request goes up, the answer comes down. It speaks to h2 itself, so that
//! the request's head and what of its body is there leave in one write, and a unary call needs no task of its own.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use http_body::{Body as _, Frame};
use tokio::task::AbortHandle;

use super::{Failure, Place};
use crate::body::Request;

/// A call that came back without an answer.
pub(super) struct Unanswered {
    pub(super) failure: Failure,
    /// For another try: see [`Request::rewind`].
    pub(super) body: Request,
    pub(super) place: Place,
}

/// Sends a request and waits for the answer's head. Whoever stops waiting, or drops the answer before its end, takes
/// the call back: the upstream is told (`CANCEL`).
pub(super) async fn send(
    place: Place,
    head: http::Request<()>,
    body: Request,
) -> Result<http::Response<Reply>, Box<Unanswered>> {
    let mut sender = place.sender();
    let is_whole = body.is_end_stream();
    let (mut answer, stream) = match sender.send_request(head, is_whole) {
        Ok(sent) => sent,
        Err(error) => return Err(Box::new(Unanswered { failure: Failure::unsent(error), body, place })),
    };
    let mut upload = Upload { body, stream, waiting: None, begun: false, ended: is_whole };
    let answered = poll_fn(|cx| {
        // Whether it waits is its own affair.
        let _ = upload.advance(cx);
        Pin::new(&mut answer).poll(cx)
    });
    match answered.await {
        Ok(response) => {
            place.answered();
            Ok(response.map(|body| Reply { body, data_ended: false, upload: upload.go_on(), _place: place }))
        }
        Err(error) => Err(Box::new(Unanswered { failure: Failure::sent(error), body: upload.body, place })),
    }
}

/// An answer's body.
pub(crate) struct Reply {
    body: RecvStream,
    data_ended: bool,
    /// The rest of a request that was not at its end when its answer began.
    upload: Option<AbortHandle>,
    /// Held until the answer has ended.
    _place: Place,
}

impl Reply {
    /// The next frame. What is handed out makes room for as much from the upstream.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_ended {
            match ready!(self.body.poll_data(cx)) {
                Some(Ok(piece)) => {
                    // An Err would say that more is released than came.
                    self.body.flow_control().release_capacity(piece.len()).ok();
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Some(Err(error)) => return Poll::Ready(unless_done(error)),
                None => self.data_ended = true,
            }
        }
        match ready!(self.body.poll_trailers(cx)) {
            Ok(trailers) => Poll::Ready(trailers.map(|trailers: HeaderMap| Ok(Frame::trailers(trailers)))),
            Err(error) => Poll::Ready(unless_done(error)),
        }
    }

    /// Nothing more will come, not even trailers.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// A server that has answered may say that it does not care for the rest of the request: no failure.
fn unless_done<T>(error: h2::Error) -> Option<Result<T, h2::Error>> {
    (error.reason() != Some(Reason::NO_ERROR)).then_some(Err(error))
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(upload) = &self.upload {
            upload.abort();
        }
    }
}

/// A request's body on its way up.
struct Upload {
    body: Request,
    stream: SendStream<Bytes>,
    /// A piece that waits for room in the upstream's window.
    waiting: Option<Bytes>,
    begun: bool,
    ended: bool,
}

impl Upload {
    /// Sends what there is and what there is room for. When the upstream wants no more, or is told that no more will
    /// come, that shows in the answer.
    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.ended {
            if let Some(piece) = self.waiting.take() {
                match self.has_room(cx) {
                    Poll::Ready(true) => self.pass(piece),
                    Poll::Ready(false) => self.ended = true,
                    Poll::Pending => {
                        self.waiting = Some(piece);
                        return Poll::Pending;
                    }
                }
                continue;
            }
            match ready!(self.body.poll_piece(cx)) {
                // The first leaves with the head: h2 keeps what there is no room for, which is one piece.
                Some(Ok(piece)) if !self.begun => self.pass(piece),
                Some(Ok(piece)) => {
                    // Room is asked for only now that it can be used: what one stream reserves others lack.
                    self.stream.reserve_capacity(1);
                    self.waiting = Some(piece);
                }
                Some(Err(_)) => {
                    self.stream.send_reset(Reason::CANCEL);
                    self.ended = true;
                }
                None => self.finish(Bytes::new(), true),
            }
        }
        Poll::Ready(())
    }

    /// Whether the upstream takes more; false: never again.
    fn has_room(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        while self.stream.capacity() == 0 {
            if !matches!(ready!(self.stream.poll_capacity(cx)), Some(Ok(_))) {
                return Poll::Ready(false);
            }
        }
        Poll::Ready(true)
    }

    fn pass(&mut self, piece: Bytes) {
        self.begun = true;
        let is_last = self.body.is_end_stream();
        self.finish(piece, is_last);
    }

    fn finish(&mut self, piece: Bytes, is_last: bool) {
        // An Err says that the stream has been reset.
        self.ended = self.stream.send_data(piece, is_last).is_err() || is_last;
    }

    /// Sends the rest while the answer comes.
    fn go_on(mut self) -> Option<AbortHandle> {
        self.body.keep_no_more();
        let going_on = |mut upload: Self| async move { poll_fn(|cx| upload.advance(cx)).await };
        (!self.ended).then(|| tokio::spawn(going_on(self)).abort_handle())
    }
}
