//! The body of a response to a client.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use super::{
    complete::CompleteBody,
    response_body::{ResponseBody, TruncatedMessage},
};
use crate::server::{ResponseStream, Wait};

/// The body of a response to a caller. A failure becomes trailers of the caller's protocol where it has them.
#[expect(clippy::large_enum_variant, reason = "nearly all are responses, and a box would be an allocation for each")]
pub(crate) enum Outgoing {
    /// A complete body.
    Full(Full<Bytes>),
    /// From an upstream.
    Response(ResponseBody),
    /// From an upstream, and complete before it is sent.
    Complete(CompleteBody),
}

impl ResponseStream for Outgoing {
    fn wait(&self) -> Option<Arc<Wait>> {
        match self {
            Self::Full(_) => None,
            Self::Response(response) => Some(response.wait()),
            Self::Complete(complete) => Some(complete.wait()),
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
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(full) => full.is_end_stream(),
            Self::Response(response) => response.is_end(),
            Self::Complete(complete) => complete.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(full) => full.size_hint(),
            Self::Response(_) => SizeHint::default(),
            Self::Complete(complete) => complete.size(),
        }
    }
}
