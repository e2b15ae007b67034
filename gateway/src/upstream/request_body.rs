//! The body of a request to an upstream. Frames are forwarded as they arrive; no body is buffered whole.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use kit::error;
use tokio::time::{Sleep, sleep};
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
    /// How long a client may take for the rest of a message, which is kept in the meantime.
    message_time: Duration,
    /// The end of that time, while the rest of a message is awaited.
    late: Option<Pin<Box<Sleep>>>,
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
    /// Decodes the body of a client's request. Refuses messages of more than `limit` bytes, and those of which the rest does
    /// not arrive within `message_time`. Keeps up to `room` bytes for a retry.
    pub(crate) fn new(
        inner: Inbound,
        decoder: RequestDecoder,
        (limit, message_time): (usize, Duration),
        room: usize,
        request_error: RequestBodyError,
    ) -> Self {
        let (meter, replay) = (FrameMeter::new(limit), Replay::new(room));
        Self { inner, decoder, meter, request_error, replay, message_time, late: None }
    }

    /// The body of a request of the gateway itself. It can be sent again.
    pub(crate) fn whole(body: Bytes) -> Self {
        let room = body.len();
        let (inner, error) = (Inbound::whole(body), RequestBodyError::default());
        Self::new(inner, RequestDecoder::Frames, (room, Duration::MAX), room, error)
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
            let Poll::Ready(piece) = self.inner.poll_piece(cx) else {
                ready!(self.poll_late(cx));
                return Poll::Ready(Some(Err(self.request_error.set(error::deadline_exceeded()))));
            };
            let (passed, is_last) = match piece {
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

    /// Ready when the rest of a message has been awaited for too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.decoder.is_within_message() {
            self.late = None;
            return Poll::Pending;
        }
        let time = self.message_time;
        self.late.get_or_insert_with(|| Box::pin(sleep(time))).as_mut().poll(cx)
    }

    /// Checks decoded frames, and keeps them for a retry.
    fn pass(&mut self, frames: Bytes) -> Result<Bytes, Cut> {
        // The next message has its own time.
        self.late = None;
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use kit::policy::Table;
    use prost_reflect::DescriptorPool;
    use tokio::time::{Instant, timeout};
    use tonic::Code;

    use super::*;
    use crate::{
        config::Config,
        io::MessageSender,
        protocol::{ClientProtocol, MethodCodec, framing::frame, registry, websocket::WebSocket},
    };

    const TIME: Duration = Duration::from_secs(30);
    const METHOD: &str = "/trellis.users.v1.UsersService/GetUser";

    /// A body whose messages are JSON, as in a stream of Connect.
    fn body() -> (MessageSender, RequestBody) {
        let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
        let method = Table::from_descriptors(proto::DESCRIPTORS).unwrap().descriptor(METHOD).unwrap();
        let codec = Arc::new(MethodCodec::new(method, &registry(&pool), &Config::default().json).unwrap());
        let protocol = ClientProtocol::WebSocket(WebSocket::new(Some(Arc::clone(&codec))));
        let decoder = protocol.decoder(Some(&codec), 1024);
        let (sender, inner) = Inbound::messages();
        (sender, RequestBody::new(inner, decoder, (1024, TIME), 0, RequestBodyError::default()))
    }

    async fn next(body: &mut RequestBody) -> Option<Result<Bytes, Cut>> {
        poll_fn(|cx| body.poll_piece(cx)).await
    }

    #[tokio::test(start_paused = true)]
    async fn rest_of_a_message_must_arrive_in_time() {
        let (sender, mut body) = body();
        assert!(timeout(TIME * 10, next(&mut body)).await.is_err(), "no message has begun");
        let message = frame(b"{}");
        let two = [&message[..], &message[..3]].concat();
        let (_, first) = tokio::join!(sender.send(two.into()), next(&mut body));
        assert!(first.unwrap().is_ok());
        let begun = Instant::now();
        let late = async {
            // Single bytes extend nothing.
            sleep(TIME / 2).await;
            sender.send(message.slice(3..4)).await;
            std::future::pending::<()>().await;
        };
        let read = tokio::select! {
            read = next(&mut body) => read,
            () = late => panic!("it is pending"),
        };
        assert!(matches!(read, Some(Err(Cut::Invalid(_)))), "{read:?}");
        assert!((TIME..TIME * 5 / 4).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        assert_eq!(body.request_error.get().map(|status| status.code()), Some(Code::DeadlineExceeded));
    }
}
