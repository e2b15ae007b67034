//! An upstream's response on its way to the caller, in the caller's protocol.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame};
use kit::{
    error,
    limiter::Hold,
    record::{Call, code_of},
    shutdown::DrainGuard,
};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Code, Status};

use super::{
    RequestBodyError,
    meter::{Meter, Refused, Why},
    text,
};
use crate::{
    headers,
    protocol::Protocol,
    rpc::{bare, cut, is_over_time, too_late},
    upstream::{Reply, code_of_break},
    watchdog::{Wait, Watched},
};

/// The clock is looked at once in so many frames.
const FRAMES_A_LOOK: u32 = 16;
/// The flag of the frame that carries trailers in gRPC-Web.
const TRAILERS_FLAG: u8 = 0x80;

/// Where the frames come from.
pub(crate) enum Source {
    /// Another process.
    Remote(Reply),
    /// This process: health and reflection.
    Here(tonic::body::Body),
}

impl Source {
    /// Nothing comes after the head.
    fn is_end(&self) -> bool {
        match self {
            Self::Remote(reply) => reply.is_end_stream(),
            Self::Here(body) => body.is_end_stream(),
        }
    }
}

/// How a response is to reach its caller.
pub(crate) struct Terms {
    pub(crate) protocol: Protocol,
    pub(crate) deadline: Option<Instant>,
    /// Bytes of one message at most.
    pub(crate) limit: usize,
    /// Bytes of the trailers at most.
    pub(crate) header_bytes: usize,
    /// The upstream is none of the mesh's: it may not say everything.
    pub(crate) is_external: bool,
    /// What was wrong with the request, if the upstream gives up because of it.
    pub(crate) fault: RequestBodyError,
    /// The place of a stream among its caller's; free when the response has ended.
    #[expect(dead_code, reason = "held, not read")]
    pub(crate) hold: Option<Hold>,
    /// Of a stream without an end that may be opened again: it is ended when the process stops.
    pub(crate) stay: Option<DrainGuard>,
}

/// See the module.
pub(crate) struct ResponseBody {
    source: Source,
    terms: Terms,
    /// The status of a head that is the whole response.
    whole: Option<Code>,
    /// What a head said of the status that was not the whole response: it counts if nothing follows.
    early: HeaderMap,
    /// The caller is being told that the response is torn.
    is_torn: bool,
    /// Why it ends after what was handed out last.
    end_with: Option<Status>,
    /// Frames that came, for a look at the clock now and then.
    frames: u32,
    /// Made when the response lets wait for the first time: most answers do not.
    timer: Option<Pin<Box<Sleep>>>,
    meter: Meter,
    leaving: Option<Leaving>,
    ended: bool,
    /// Reports how the response ended.
    call: Call,
    /// RateLimitHeaders whether the caller takes what is handed out.
    watched: Watched,
}

impl ResponseBody {
    /// The response after its head, from which what is said there of the status is taken unless it is all (Trailers-Only).
    pub(crate) fn new(source: Source, head: &mut HeaderMap, mut terms: Terms, call: Call, watched: Watched) -> Self {
        let (mut whole, mut early) = (code_of(head), HeaderMap::new());
        if whole.is_some() && !source.is_end() {
            (whole, early) = (None, headers::take_status(head));
        }
        let meter = Meter::new(terms.limit);
        let leaving = terms.stay.take().map(Leaving::new);
        if let Source::Remote(reply) = &source {
            watched.comes_from(reply.receive_buffer());
        }
        let mut response = Self {
            source,
            terms,
            whole,
            early,
            is_torn: false,
            end_with: None,
            frames: 0,
            timer: None,
            meter,
            leaving,
            ended: false,
            call,
            watched,
        };
        if let Some(code) = whole {
            // Nobody asks a body that is at its end.
            response.call.end(code);
        }
        response
    }

    pub(super) fn wait(&self) -> Arc<Wait> {
        self.watched.wait()
    }

    /// Nothing more will come, not even trailers.
    pub(super) fn is_end(&self) -> bool {
        self.ended || self.whole.is_some()
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, TruncatedMessage>>> {
        self.watched.asked();
        if self.is_torn {
            self.ended = true;
            return Poll::Ready(Some(Err(TruncatedMessage)));
        }
        let polled = self.next(cx);
        match polled {
            Poll::Ready(Some(Ok(ref frame))) => self.watched.handed_out(frame.data_ref().map_or(0, Bytes::len)),
            Poll::Ready(Some(Err(TruncatedMessage))) => {
                // First what there is of the response leaves: a browser repeats a call whose connection was closed without
                // a word.
                self.is_torn = true;
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
        if let Some(status) = self.end_with.take() {
            return Poll::Ready(Some(self.end(&status)));
        }
        // Between two messages: half of one is none.
        if self.meter.is_whole() && self.leaving.as_ref().is_some_and(|leaving| leaving.stay.is_over()) {
            return Poll::Ready(Some(self.end(&error::stopping())));
        }
        let polled = match &mut self.source {
            Source::Remote(reply) => reply.poll_frame(cx).map_err(|e| (code_of_break(&e), e.to_string())),
            Source::Here(body) => Pin::new(body).poll_frame(cx).map_err(|e| (e.code(), e.to_string())),
        };
        let frame = match polled {
            Poll::Pending if self.is_late(cx) => self.end(&too_late()),
            Poll::Pending if self.is_leaving(cx) => self.end(&error::stopping()),
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(_))) if self.is_overdue() => self.end(&too_late()),
            Poll::Ready(Some(Ok(frame))) => self.translate(frame),
            Poll::Ready(Some(Err((code, error)))) => {
                tracing::debug!(error, "a response was cut");
                let broken = || if is_over_time(code, self.terms.deadline) { too_late() } else { cut(code) };
                let status = self.terms.fault.get().map_or_else(broken, Status::from);
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

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = self.terms.deadline else { return false };
        self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline))).as_mut().poll(cx).is_ready()
    }

    /// A source that never lets wait is over its time too.
    fn is_overdue(&mut self) -> bool {
        self.frames = self.frames.wrapping_add(1);
        self.frames.is_multiple_of(FRAMES_A_LOOK) && self.terms.deadline.is_some_and(|end| Instant::now() >= end)
    }

    fn is_leaving(&mut self, cx: &mut Context<'_>) -> bool {
        self.leaving.as_mut().is_some_and(|leaving| leaving.is_over(cx)) && self.meter.is_whole()
    }

    fn translate(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, TruncatedMessage> {
        match frame.into_data() {
            Ok(data) => match self.meter.pass(&data) {
                Err(Refused { before: 0, why }) => self.end(&refused(why)),
                Err(Refused { before, why }) => {
                    self.end_with = Some(refused(why));
                    Ok(self.data(data.slice(..before)))
                }
                Ok(()) => Ok(self.data(data)),
            },
            Err(frame) => match frame.into_trailers() {
                // What is too large h2 would have cut, and not said so.
                Ok(trailers) if headers::bytes(&trailers) > self.terms.header_bytes => self.end(&trailers_too_large()),
                Ok(mut trailers) => match told(&trailers) {
                    // A success with half a message is none.
                    Some(Code::Ok) if !self.meter.is_whole() => self.end(&cut(Code::Internal)),
                    Some(code) if is_over_time(code, self.terms.deadline) => self.end(&too_late()),
                    Some(_) => {
                        headers::sanitize_trailers(&mut trailers, self.terms.is_external);
                        self.trailers(trailers)
                    }
                    None => self.end(&no_status()),
                },
                Err(_) => self.end(&no_status()),
            },
        }
    }

    fn data(&self, data: Bytes) -> Frame<Bytes> {
        Frame::data(if self.terms.protocol == Protocol::WebText { text::encode(&data) } else { data })
    }

    fn end(&mut self, status: &Status) -> Result<Frame<Bytes>, TruncatedMessage> {
        let status = bare(status.clone(), self.terms.is_external);
        let mut trailers = HeaderMap::new();
        // An Err would say that the message does not fit into a header; ours do.
        status.add_header(&mut trailers).ok();
        self.trailers(trailers)
    }

    fn trailers(&mut self, trailers: HeaderMap) -> Result<Frame<Bytes>, TruncatedMessage> {
        self.call.end(code_of(&trailers).unwrap_or(Code::Unknown));
        if self.terms.protocol != Protocol::Grpc && !self.meter.is_whole() {
            return Err(TruncatedMessage);
        }
        self.ended = true;
        match self.terms.protocol {
            Protocol::Grpc => Ok(Frame::trailers(trailers)),
            Protocol::Web => Ok(Frame::data(trailer_frame(&trailers))),
            Protocol::WebText => Ok(Frame::data(text::encode(&trailer_frame(&trailers)))),
        }
    }
}

/// The status in trailers, if it is one: a number.
fn told(trailers: &HeaderMap) -> Option<Code> {
    let is_number = |text: &HeaderValue| !text.is_empty() && text.as_bytes().iter().all(u8::is_ascii_digit);
    code_of(trailers).filter(|_| trailers.get(Status::GRPC_STATUS).is_some_and(is_number))
}

/// The response ended within a message. gRPC-Web has its trailers where the rest of the message would be: a caller would
/// take them for it, and perhaps the end for a good one. The connection has to say it: it is closed, or the stream reset.
#[derive(Debug)]
pub(crate) struct TruncatedMessage;

impl std::fmt::Display for TruncatedMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the response ended within a message")
    }
}

impl std::error::Error for TruncatedMessage {}

/// How a stream without an end learns that the process stops.
struct Leaving {
    stay: Arc<DrainGuard>,
    /// Wakes the response; `None` once it has.
    wake: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Leaving {
    fn new(stay: DrainGuard) -> Self {
        let stay = Arc::new(stay);
        let waiting = Arc::clone(&stay);
        Self { stay, wake: Some(Box::pin(async move { waiting.over().await })) }
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if self.wake.as_mut().is_some_and(|wake| wake.as_mut().poll(cx).is_ready()) {
            self.wake = None;
        }
        self.wake.is_none()
    }
}

fn refused(why: Why) -> Status {
    match why {
        Why::TooLarge => {
            let message = "a message of the response is larger than the gateway lets through (limits.message_bytes)";
            error::status(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", message)
        }
        Why::Flags => {
            let message = "a message of the response has flags that gRPC does not know";
            error::status(Code::Internal, "MESSAGE_MALFORMED", message)
        }
    }
}

fn trailers_too_large() -> Status {
    let message = "the trailers of the response are larger than the gateway lets through (limits.header_bytes)";
    error::status(Code::ResourceExhausted, "HEADERS_TOO_LARGE", message)
}

/// A response without a status is a failure, never a success.
fn no_status() -> Status {
    error::status(Code::Unknown, "STATUS_MISSING", "the response ended without a status")
}

/// Trailers as gRPC-Web carries them: a frame whose message is an HTTP/1.1 header block.
pub(crate) fn trailer_frame(trailers: &HeaderMap) -> Bytes {
    let length: usize = trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let mut frame = BytesMut::with_capacity(5 + length);
    frame.put_u8(TRAILERS_FLAG);
    // Trailers are bounded by the limit on headers, far below 4 GiB.
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    for (name, value) in trailers {
        frame.put_slice(name.as_str().as_bytes());
        frame.put_slice(b": ");
        frame.put_slice(value.as_bytes());
        frame.put_slice(b"\r\n");
    }
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::stream;
    use http_body_util::StreamBody;
    use kit::{record, trace};

    use super::*;
    use crate::watchdog::{Stalls, Watchdog};

    /// The clock is looked at although nothing ever wakes the response.
    #[tokio::test]
    async fn a_stream_that_never_lets_wait_ends_at_its_deadline() {
        let frame = || Ok::<_, Status>(Frame::data(Bytes::from_static(&[0, 0, 0, 0, 0])));
        let endless = StreamBody::new(stream::repeat_with(frame));
        let terms = Terms {
            protocol: Protocol::Grpc,
            deadline: Some(Instant::now()),
            limit: 1,
            header_bytes: 1_024,
            is_external: true,
            fault: RequestBodyError::default(),
            hold: None,
            stay: None,
        };
        let span = tracing::Span::none();
        let began = trace::begin_from_outside(&span, &HeaderMap::new());
        let call = Call::begin(record::Meter::new("seconds", "endless"), span, began);
        let mut response = ResponseBody::new(
            Source::Here(tonic::body::Body::new(endless)),
            &mut HeaderMap::new(),
            terms,
            call,
            Watchdog::new(&Stalls::new(1), true).begin(),
        );
        let mut messages = 0;
        let trailers = loop {
            match poll_fn(|cx| response.poll(cx)).await.unwrap().unwrap().into_trailers() {
                Ok(trailers) => break trailers,
                Err(_) => messages += 1,
            }
            assert!(messages < FRAMES_A_LOOK, "it goes on for ever");
        };
        assert_eq!(code_of(&trailers), Some(Code::DeadlineExceeded));
    }

    #[test]
    fn trailers_become_a_frame() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        trailers.append("x-a", HeaderValue::from_static("1"));
        trailers.append("x-a", HeaderValue::from_static("2"));
        let frame = trailer_frame(&trailers);
        assert_eq!(&frame[..5], [0x80, 0, 0, 0, 32]);
        assert_eq!(&frame[5..], b"grpc-status: 0\r\nx-a: 1\r\nx-a: 2\r\n");
    }
}
