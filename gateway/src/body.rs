//! The bodies that go through the gateway. Frames are handed on as they come; nothing is gathered whole.

mod answer;
mod text;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;

pub(crate) use answer::{Answer, Source};

/// What is sent to a caller. It has no errors: a failure in the middle becomes the caller's own kind of
/// trailers.
#[expect(clippy::large_enum_variant, reason = "nearly all are answers, and a box would be an allocation for each")]
pub(crate) enum Outgoing {
    /// Known as a whole.
    Full(Full<Bytes>),
    /// From an upstream.
    Answer(Answer),
}

impl Outgoing {
    pub(crate) fn empty() -> Self {
        Self::full(Bytes::new())
    }

    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self::Full(Full::new(bytes.into()))
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Full(full) => Pin::new(full).poll_frame(cx),
            Self::Answer(answer) => answer.poll(cx).map(|frame| frame.map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(full) => full.is_end_stream(),
            Self::Answer(answer) => answer.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(full) => full.size_hint(),
            Self::Answer(_) => SizeHint::default(),
        }
    }
}

/// What is sent to an upstream.
pub(crate) enum Request {
    /// The caller's bytes as they are.
    Binary(Incoming),
    /// The caller's base64, decoded.
    Text(TextRequest),
}

/// See [`Request::Text`].
pub(crate) struct TextRequest {
    inner: Incoming,
    decoder: text::Decoder,
    broken: Broken,
}

/// Tells, once a call has failed, that the caller's own text was the reason.
#[derive(Clone, Default)]
pub(crate) struct Broken(Arc<AtomicBool>);

impl Broken {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Request {
    pub(crate) fn text(inner: Incoming, broken: Broken) -> Self {
        Self::Text(TextRequest { inner, decoder: text::Decoder::default(), broken })
    }
}

/// Why a request's body ended early.
#[derive(Debug)]
pub(crate) enum Cut {
    /// The caller went away.
    Caller(hyper::Error),
    /// The caller's text is no base64.
    Text,
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Caller(error) => write!(f, "the caller's body was cut: {error}"),
            Self::Text => f.write_str("the caller's body is no base64"),
        }
    }
}

impl std::error::Error for Cut {}

impl Body for Request {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Binary(inner) => Pin::new(inner).poll_frame(cx).map_err(Cut::Caller),
            Self::Text(text) => text.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Binary(inner) => inner.is_end_stream(),
            // The end of the text must be checked before it can be told.
            Self::Text(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Binary(inner) => inner.size_hint(),
            Self::Text(_) => SizeHint::default(),
        }
    }
}

impl TextRequest {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        loop {
            let decoded = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.data_ref() {
                    Some(piece) => self.decoder.decode(piece),
                    // A request's trailers mean nothing in gRPC.
                    None => continue,
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(Cut::Caller(error)))),
                None => match self.decoder.finish() {
                    Ok(()) => return Poll::Ready(None),
                    Err(malformed) => Err(malformed),
                },
            };
            match decoded {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Err(text::Malformed) => {
                    self.broken.0.store(true, Ordering::Relaxed);
                    return Poll::Ready(Some(Err(Cut::Text)));
                }
            }
        }
    }
}
