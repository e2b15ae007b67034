//! The body of a response to a client.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use super::{
    complete::CompleteBody,
    response_body::{ResponseBody, TruncatedMessage},
    stream_body::StreamBody,
};
use crate::server::{ResponseStream, Wait, Watched};

/// The body of a response to a caller. A failure becomes trailers of the caller's protocol where it has them.
#[expect(clippy::large_enum_variant, reason = "nearly all are responses, and a box would be an allocation for each")]
pub(crate) enum Outgoing {
    /// A complete body.
    Full(Full<Bytes>),
    /// From an upstream.
    Response(ResponseBody),
    /// From an upstream, and complete before it is sent.
    Complete(CompleteBody),
    /// A stream of bytes that this process makes.
    Stream(Box<StreamBody>),
}

impl Outgoing {
    /// A complete body, whose client is monitored.
    pub(crate) fn complete(message: Bytes, watched: Watched) -> Self {
        Self::Complete(CompleteBody::new(message, watched))
    }

    /// A stream of bytes, whose client is monitored.
    pub(crate) fn stream(pieces: BoxStream<'static, Bytes>, watched: Watched) -> Self {
        Self::Stream(Box::new(StreamBody::new(pieces, watched)))
    }
}

impl ResponseStream for Outgoing {
    fn wait(&self) -> Option<Arc<Wait>> {
        match self {
            Self::Full(_) => None,
            Self::Response(response) => Some(response.wait()),
            Self::Complete(complete) => Some(complete.wait()),
            Self::Stream(stream) => Some(stream.wait()),
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = TruncatedMessage;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, TruncatedMessage>>> {
        match self.get_mut() {
            Self::Full(full) => Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
            Self::Response(response) => response.poll(cx),
            Self::Complete(complete) => complete.poll(),
            Self::Stream(stream) => stream.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(full) => full.is_end_stream(),
            Self::Response(response) => response.is_end(),
            Self::Complete(complete) => complete.is_end(),
            Self::Stream(stream) => stream.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(full) => full.size_hint(),
            Self::Response(_) | Self::Stream(_) => SizeHint::default(),
            Self::Complete(complete) => complete.size(),
        }
    }
}
