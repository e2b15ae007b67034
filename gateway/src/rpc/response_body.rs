//! An upstream's response on its way to the caller, in the caller's protocol.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use kit::{error, grpc::code_of, record::Call, shutdown::DrainGuard};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tonic::{Code, Status};

use super::admission::Holds;
use crate::{
    http::{headers, reserved::Ends},
    protocol::{
        ResponseEncoder,
        framing::{FrameMeter, Refused},
        status::{bare, cut, is_over_time, no_status, refused, response_malformed, status_in, trailers_too_large},
    },
    server::{Wait, Watched},
    upstream::{Reply, RequestBodyError, code_of_break},
};

/// The size of the pieces in which converted messages are handed over: what the connection buffers stays small.
pub(super) const PIECE: usize = 64 * 1024;
/// The deadline is checked once in so many frames.
const FRAMES_PER_CHECK: u32 = 16;

/// The source of the frames.
pub(crate) enum ResponseSource {
    /// An upstream.
    Remote(Reply),
    /// This process: health and reflection.
    Local(tonic::body::Body),
}

impl ResponseSource {
    /// Nothing follows the head.
    pub(super) fn is_end(&self) -> bool {
        match self {
            Self::Remote(reply) => reply.is_end_stream(),
            Self::Local(body) => body.is_end_stream(),
        }
    }
}

/// A frame of the source, or why there is none: the code that it states, and the error.
type SourceFrame = Result<Frame<Bytes>, (Code, String)>;

/// The conditions under which a response is sent to its caller.
pub(crate) struct ResponseTerms {
    /// The client's protocol.
    pub(crate) encoder: ResponseEncoder,
    pub(crate) deadline: Option<Instant>,
    /// How long the response may be silent, for protocols that can send a sign of life.
    pub(crate) heartbeat: Duration,
    /// The largest message, in bytes.
    pub(crate) limit: usize,
    /// The largest trailers, in bytes.
    pub(crate) header_bytes: usize,
    /// From an upstream outside the mesh, some headers and details are removed.
    pub(crate) ends: Ends,
    /// Why the request's body failed, if the upstream gives up because of it.
    pub(crate) request_error: RequestBodyError,
    #[expect(dead_code, reason = "held, not read")]
    pub(crate) holds: Holds,
    /// Set for an endless stream that the caller may open again: it ends when the process stops.
    pub(crate) drain_guard: Option<DrainGuard>,
}

/// The body of a response: see the module.
pub(crate) struct ResponseBody {
    source: ResponseSource,
    terms: ResponseTerms,
    /// The status of a response without a body (Trailers-Only).
    whole: Option<Code>,
    /// The status in the head, if it is not the whole response: it counts if nothing follows. Without a body, the
    /// trailers too (Trailers-Only).
    early: HeaderMap,
    /// The message was truncated: the next poll returns the error.
    is_truncated: bool,
    /// The first bytes, which have been read before the head was sent.
    first: Bytes,
    /// The rest of a converted message that has been handed over in part.
    rest: Bytes,
    /// The status that ends the response after the last frame.
    end_with: Option<Status>,
    /// The number of frames, for checking the deadline now and then.
    frames: u32,
    /// Created when the response waits for the first time: most responses do not.
    timer: Option<Pin<Box<Sleep>>>,
    /// Ends when the response has been silent for too long.
    silence: Option<Pin<Box<Sleep>>>,
    meter: FrameMeter,
    drain: Option<DrainWait>,
    ended: bool,
    /// Reports how the response ended.
    call: Call,
    /// Records whether the caller takes the frames.
    watched: Watched,
}

impl ResponseBody {
    /// Reads the status from the head, and removes it unless it is the whole response (Trailers-Only).
    pub(crate) fn new(
        source: ResponseSource,
        head: &mut HeaderMap,
        mut terms: ResponseTerms,
        call: Call,
        watched: Watched,
    ) -> Self {
        let (mut whole, mut early) = (code_of(head), HeaderMap::new());
        if whole.is_some() && !(source.is_end() && terms.encoder.can_end_in_head()) {
            let take = if source.is_end() { headers::take_trailers } else { headers::take_status };
            (whole, early) = (None, take(head));
        }
        let meter = FrameMeter::new(terms.limit);
        let drain = terms.drain_guard.take().map(DrainWait::new);
        if let ResponseSource::Remote(reply) = &source {
            watched.set_source(reply.receive_buffer());
        }
        let mut response = Self {
            source,
            terms,
            whole,
            early,
            is_truncated: false,
            first: Bytes::new(),
            rest: Bytes::new(),
            end_with: None,
            frames: 0,
            timer: None,
            silence: None,
            meter,
            drain,
            ended: false,
            call,
            watched,
        };
        if let Some(code) = whole {
            // hyper and h2 do not poll a body that is at its end.
            response.call.end(code);
        }
        response
    }

    pub(super) fn wait(&self) -> Arc<Wait> {
        self.watched.wait()
    }

    /// The encoder, which knows whether it has returned the message of a unary response.
    pub(super) fn encoder(&self) -> &ResponseEncoder {
        &self.terms.encoder
    }

    /// Puts back the bytes that the first poll has returned.
    pub(super) fn put_back(&mut self, first: Bytes) {
        self.first = first;
    }

    /// Ends the call with its upstream. What follows comes from this process.
    pub(super) fn into_watched(self) -> Watched {
        self.watched
    }

    /// Nothing more follows, not even trailers.
    pub(super) fn is_end(&self) -> bool {
        self.ended || self.whole.is_some()
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, TruncatedMessage>>> {
        self.watched.polled();
        if self.is_truncated {
            self.ended = true;
            return Poll::Ready(Some(Err(TruncatedMessage)));
        }
        let polled = self.next(cx);
        match polled {
            Poll::Ready(Some(Ok(ref frame))) => self.watched.returned(frame.data_ref().map_or(0, Bytes::len)),
            Poll::Ready(Some(Err(TruncatedMessage))) => {
                // The head and the messages before are sent first: a browser repeats a call whose connection closes
                // without a response.
                self.is_truncated = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            _ => {}
        }
        polled
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, TruncatedMessage>>> {
        if self.is_end() {
            return Poll::Ready(None);
        }
        if !self.first.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.first)))));
        }
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.piece())));
        }
        if let Some(status) = self.end_with.take() {
            return Poll::Ready(Some(self.end(&status)));
        }
        // A response ends only between two messages.
        if self.meter.is_whole() && self.drain.as_ref().is_some_and(|drain| drain.drain_guard.is_over()) {
            return Poll::Ready(Some(self.end(&error::stopping())));
        }
        loop {
            let polled = match &mut self.source {
                ResponseSource::Remote(reply) => reply.poll_frame(cx).map_err(|e| (code_of_break(&e), e.to_string())),
                ResponseSource::Local(body) => Pin::new(body).poll_frame(cx).map_err(|e| (e.code(), e.to_string())),
            };
            if let Some(frame) = ready!(self.frame(polled, cx)) {
                return Poll::Ready(Some(frame));
            }
        }
    }

    /// Translates what the source returned. `None`: the encoder needs more frames.
    fn frame(
        &mut self,
        polled: Poll<Option<SourceFrame>>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TruncatedMessage>>> {
        let frame = match polled {
            Poll::Pending if self.is_late(cx) => self.end(&error::deadline_exceeded()),
            Poll::Pending if self.is_draining(cx) => self.end(&error::stopping()),
            Poll::Pending => return self.poll_heartbeat(cx).map(|frame| Some(Ok(frame))),
            Poll::Ready(Some(Ok(_))) if self.is_overdue() => self.end(&error::deadline_exceeded()),
            Poll::Ready(Some(Ok(frame))) => return Poll::Ready(self.translate(frame)),
            Poll::Ready(Some(Err((code, error)))) => {
                tracing::debug!(error, "a response was cut off");
                let broken =
                    || if is_over_time(code, self.terms.deadline) { error::deadline_exceeded() } else { cut(code) };
                let status = self.terms.request_error.get().unwrap_or_else(broken);
                self.end(&status)
            }
            Poll::Ready(None) if self.frames == 0 && !self.early.is_empty() => {
                let status = std::mem::take(&mut self.early);
                self.trailers(status)
            }
            Poll::Ready(None) => self.end(&no_status()),
        };
        Poll::Ready(Some(frame))
    }

    /// A sign of life, when the response has been silent for too long.
    fn poll_heartbeat(&mut self, cx: &mut Context<'_>) -> Poll<Frame<Bytes>> {
        let Some(heartbeat) = self.terms.encoder.heartbeat() else { return Poll::Pending };
        let period = self.terms.heartbeat;
        ready!(self.silence.get_or_insert_with(|| Box::pin(sleep(period))).as_mut().poll(cx));
        self.silence = None;
        Poll::Ready(Frame::data(heartbeat))
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = self.terms.deadline else { return false };
        self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline))).as_mut().poll(cx).is_ready()
    }

    /// Whether a source that is always ready has passed its deadline.
    fn is_overdue(&mut self) -> bool {
        self.frames = self.frames.wrapping_add(1);
        self.frames.is_multiple_of(FRAMES_PER_CHECK) && self.terms.deadline.is_some_and(|end| Instant::now() >= end)
    }

    fn is_draining(&mut self, cx: &mut Context<'_>) -> bool {
        self.drain.as_mut().is_some_and(|drain| drain.is_over(cx)) && self.meter.is_whole()
    }

    fn translate(&mut self, frame: Frame<Bytes>) -> Option<Result<Frame<Bytes>, TruncatedMessage>> {
        let trailers = match frame.into_data().map_err(Frame::into_trailers) {
            Ok(data) => return self.data(data),
            Err(trailers) => trailers.unwrap_or_default(),
        };
        // h2 would truncate trailers that are too large without reporting it.
        if headers::bytes(&trailers) > self.terms.header_bytes {
            return Some(self.end(&trailers_too_large()));
        }
        Some(match status_in(&trailers) {
            // A success within a message is a failure.
            Some(Code::Ok) if !self.meter.is_whole() => self.end(&cut(Code::Internal)),
            Some(code) if is_over_time(code, self.terms.deadline) => self.end(&error::deadline_exceeded()),
            Some(_) => {
                let mut trailers = trailers;
                headers::sanitize_trailers(&mut trailers, self.terms.ends);
                self.trailers(trailers)
            }
            None => self.end(&no_status()),
        })
    }

    /// Encodes a piece of the frames, up to the first message that must not pass.
    fn data(&mut self, mut data: Bytes) -> Option<Result<Frame<Bytes>, TruncatedMessage>> {
        self.silence = None;
        if let Err(Refused { before, why }) = self.meter.pass(&data) {
            if before == 0 {
                return Some(self.end(&refused(why)));
            }
            self.end_with = Some(refused(why));
            data.truncate(before);
        }
        let (encoded, failure) = self.terms.encoder.encode(data);
        if let Some(status) = failure {
            // The messages before the failure are sent first.
            self.end_with = Some(*status);
        }
        if encoded.is_empty() {
            return self.end_with.take().map(|status| self.end(&status));
        }
        if !self.terms.encoder.converts() {
            return Some(Ok(Frame::data(encoded)));
        }
        self.rest = encoded;
        Some(Ok(self.piece()))
    }

    /// The next piece of a converted message.
    fn piece(&mut self) -> Frame<Bytes> {
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        self.watched.kept(self.rest.len());
        Frame::data(piece)
    }

    fn end(&mut self, status: &Status) -> Result<Frame<Bytes>, TruncatedMessage> {
        let status = bare(status.clone(), self.terms.ends);
        let mut trailers = HeaderMap::new();
        // An Err would mean that the message does not fit into a header; these messages do.
        status.add_header(&mut trailers).ok();
        self.trailers(trailers)
    }

    fn trailers(&mut self, trailers: HeaderMap) -> Result<Frame<Bytes>, TruncatedMessage> {
        let code = code_of(&trailers).unwrap_or(Code::Unknown);
        if code == Code::Ok && self.terms.encoder.lacks_message() {
            return self.end(&response_malformed("the response has no message"));
        }
        self.call.end(code);
        let is_readable = self.terms.encoder.can_end_within_message() || self.meter.is_whole();
        if !is_readable || code != Code::Ok && !self.terms.encoder.can_state_failure() {
            return Err(TruncatedMessage);
        }
        self.ended = true;
        Ok(self.terms.encoder.end(trailers))
    }
}

/// The response ended within a message. gRPC-Web sends trailers where the rest of the message would be, so that a
/// caller would read them as a part of it. Instead, the connection is closed or the stream is reset.
#[derive(Debug)]
pub(crate) struct TruncatedMessage;

impl std::fmt::Display for TruncatedMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the response ended within a message")
    }
}

impl std::error::Error for TruncatedMessage {}

/// Ends a stream without an end when the process stops.
struct DrainWait {
    drain_guard: Arc<DrainGuard>,
    /// Wakes the response; `None` once it has done so.
    wake: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl DrainWait {
    fn new(drain_guard: DrainGuard) -> Self {
        let drain_guard = Arc::new(drain_guard);
        let waiting = Arc::clone(&drain_guard);
        Self { drain_guard, wake: Some(Box::pin(async move { waiting.over().await })) }
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if self.wake.as_mut().is_some_and(|wake| wake.as_mut().poll(cx).is_ready()) {
            self.wake = None;
        }
        self.wake.is_none()
    }
}

#[cfg(test)]
mod tests;
