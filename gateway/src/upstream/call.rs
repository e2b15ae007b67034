//! One call on a connection to an upstream: the request goes up, the answer comes down. It speaks to h2 itself, so that
//! the request's head and what of its body is there leave in one write, and a unary call needs no task of its own.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http_body::{Body as _, Frame};
use kit::balance::Outcome;
use tokio::task::AbortHandle;

use super::{Failure, Intake, Place};
use crate::body::{Pipe, Request};

/// A call that came back without an answer.
pub(super) struct Unanswered {
    pub(super) failure: Failure,
    /// For another try: see [`Request::rewind`].
    pub(super) body: Request,
    pub(super) place: Place,
}

/// A call whose answer has begun.
pub(super) struct Answered {
    pub(super) response: http::Response<RecvStream>,
    pipe: Pipe<Request>,
    pub(super) place: Place,
}

impl Answered {
    /// The answer counts: there will be no other try.
    pub(super) fn accept(self) -> http::Response<Reply> {
        let Self { response, pipe, place } = self;
        let upload = go_on(pipe);
        response.map(|body| Reply { intake: Arc::new(Intake::new(body)), data_ended: false, upload, place })
    }

    /// The answer is none: see [`Request::rewind`].
    pub(super) fn body(&mut self) -> &mut Request {
        self.pipe.body_mut()
    }

    /// The request, for another try.
    pub(super) fn into_body(self) -> Request {
        self.pipe.into_body()
    }
}

/// Sends a request and waits for the answer's head. Whoever stops waiting, or drops the answer before its end, takes
/// the call back: the upstream is told (`CANCEL`).
pub(super) async fn send(place: Place, head: http::Request<()>, body: Request) -> Result<Answered, Box<Unanswered>> {
    let mut sender = place.sender();
    let is_whole = body.is_end_stream();
    let (mut answer, stream) = match sender.send_request(head, is_whole) {
        Ok(sent) => sent,
        Err(error) => return Err(Box::new(Unanswered { failure: Failure::unsent(error), body, place })),
    };
    let mut pipe = Pipe::with_head(body, stream);
    let answered = poll_fn(|cx| {
        // Whether it waits is its own affair.
        let _ = pipe.poll(cx);
        Pin::new(&mut answer).poll(cx)
    });
    match answered.await {
        Ok(response) => {
            place.head(response.headers());
            Ok(Answered { response, pipe, place })
        }
        Err(error) => Err(Box::new(Unanswered { failure: Failure::sent(error), body: pipe.into_body(), place })),
    }
}

/// Sends what is left of a request while its answer comes.
fn go_on(mut pipe: Pipe<Request>) -> Option<AbortHandle> {
    pipe.body_mut().keep_no_more();
    (!pipe.has_ended()).then(|| tokio::spawn(async move { poll_fn(|cx| pipe.poll(cx)).await }).abort_handle())
}

/// An answer's body.
pub(crate) struct Reply {
    intake: Arc<Intake>,
    data_ended: bool,
    /// The rest of a request that was not at its end when its answer began.
    upload: Option<AbortHandle>,
    /// Held until the answer has ended.
    place: Place,
}

impl Reply {
    /// The next frame. What is handed out makes room for as much from the upstream.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_ended {
            match ready!(self.intake.poll_data(cx)) {
                Some(Ok(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Some(Err(error)) => return Poll::Ready(Some(Err(self.broken(error)))),
                None => self.data_ended = true,
            }
        }
        match ready!(self.intake.poll_trailers(cx)) {
            Ok(trailers) => Poll::Ready(trailers.map(|trailers: HeaderMap| {
                self.place.report(Outcome::of(&trailers));
                Ok(Frame::trailers(trailers))
            })),
            Err(error) => Poll::Ready(Some(Err(self.broken(error)))),
        }
    }

    /// What reads ahead while nobody asks for frames.
    pub(crate) fn intake(&self) -> Arc<Intake> {
        Arc::clone(&self.intake)
    }

    /// What the break of a stream tells of the server, unless it was the gateway that broke it off.
    fn broken(&self, error: h2::Error) -> h2::Error {
        if super::is_ours(&error) {
            self.place.unused();
        } else {
            self.place.report(super::outcome_of_break(&error));
        }
        error
    }

    /// Nothing more will come, not even trailers.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.intake.is_end_stream()
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(upload) = &self.upload {
            upload.abort();
        }
    }
}
