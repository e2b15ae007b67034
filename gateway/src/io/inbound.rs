//! A request's body as it arrives from its caller.

use std::{
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use kit::error::chain;
use tokio::sync::mpsc;

use super::{Reading, ReceiveBuffer};

/// The rest of a request.
pub(crate) struct Inbound {
    from: InboundSource,
    ended: bool,
}

enum InboundSource {
    Http1(Reading),
    Http2(Arc<ReceiveBuffer>),
    /// The whole body, of a request that begins in this process.
    Whole(Bytes),
    /// `None` is the end.
    Messages(mpsc::Receiver<Option<Bytes>>),
}

/// Sends the pieces of a body of [`Inbound::messages`]. If it is dropped before the end, the body is cut off.
pub(crate) struct MessageSender(mpsc::Sender<Option<Bytes>>);

impl MessageSender {
    /// Sends a piece once the one before has been read. A piece that the call no longer reads is discarded.
    pub(crate) async fn send(&self, piece: Bytes) {
        self.0.send(Some(piece)).await.ok();
    }

    /// Ends the body.
    pub(crate) async fn end(&self) {
        self.0.send(None).await.ok();
    }
}

/// The caller went away before the end of the body; the text is the reason, if known.
#[derive(Debug)]
pub(crate) struct Lost(pub(crate) String);

impl Inbound {
    pub(crate) fn http1(body: Reading) -> Self {
        Self { from: InboundSource::Http1(body), ended: false }
    }

    pub(crate) fn http2(body: RecvStream) -> Self {
        Self { from: InboundSource::Http2(Arc::new(ReceiveBuffer::new(body))), ended: false }
    }

    /// A body that is complete.
    pub(crate) fn whole(body: Bytes) -> Self {
        Self { ended: body.is_empty(), from: InboundSource::Whole(body) }
    }

    /// A body whose pieces another part of the gateway sends. One piece waits in it at most.
    pub(crate) fn messages() -> (MessageSender, Self) {
        let (sender, receiver) = mpsc::channel(1);
        (MessageSender(sender), Self { from: InboundSource::Messages(receiver), ended: false })
    }

    /// The buffer that reads ahead while the upstream reads nothing.
    pub(crate) fn receive_buffer(&self) -> Weak<ReceiveBuffer> {
        match &self.from {
            InboundSource::Http1(_) | InboundSource::Whole(_) | InboundSource::Messages(_) => Weak::new(),
            InboundSource::Http2(receive_buffer) => Arc::downgrade(receive_buffer),
        }
    }

    /// The next piece. gRPC requests have no trailers, so they are skipped. Over HTTP/2, returning a piece lets the
    /// caller send as many bytes more.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Lost>>> {
        while !self.ended {
            match &mut self.from {
                InboundSource::Http1(body) => match ready!(body.poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        if let Ok(piece) = frame.into_data() {
                            return Poll::Ready(Some(Ok(piece)));
                        }
                    }
                    Some(Err(error)) => return Poll::Ready(Some(Err(Lost(chain(&error))))),
                    None => self.ended = true,
                },
                InboundSource::Http2(body) => match ready!(body.poll_data(cx)) {
                    Some(Ok(piece)) => return Poll::Ready(Some(Ok(piece))),
                    Some(Err(error)) => return Poll::Ready(Some(Err(Lost(chain(&error))))),
                    None => self.ended = true,
                },
                InboundSource::Whole(body) => {
                    let body = std::mem::take(body);
                    self.ended = true;
                    return Poll::Ready(Some(Ok(body)));
                }
                InboundSource::Messages(receiver) => match ready!(receiver.poll_recv(cx)) {
                    Some(Some(piece)) => return Poll::Ready(Some(Ok(piece))),
                    Some(None) => self.ended = true,
                    None => return Poll::Ready(Some(Err(Lost("the client has left".to_owned())))),
                },
            }
        }
        Poll::Ready(None)
    }

    /// No more pieces follow, as far as that is known without polling.
    pub(crate) fn is_end(&self) -> bool {
        self.ended
            || match &self.from {
                InboundSource::Http1(body) => body.is_end_stream(),
                InboundSource::Http2(body) => body.is_end_stream(),
                InboundSource::Whole(body) => body.is_empty(),
                InboundSource::Messages(_) => false,
            }
    }
}
