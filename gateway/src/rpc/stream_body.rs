//! A response whose bytes this process makes, such as the events of a GraphQL subscription.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::BoxStream};
use http_body::Frame;

use super::response_body::{PIECE, TruncatedMessage};
use crate::server::{Wait, Watched};

/// The body of such a response. It makes the next piece when the client is ready for it.
pub(crate) struct StreamBody {
    pieces: BoxStream<'static, Bytes>,
    /// The rest of a piece that has been handed over in part.
    rest: Bytes,
    has_ended: bool,
    watched: Watched,
}

impl StreamBody {
    pub(super) fn new(pieces: BoxStream<'static, Bytes>, watched: Watched) -> Self {
        Self { pieces, rest: Bytes::new(), has_ended: false, watched }
    }

    pub(super) fn wait(&self) -> Arc<Wait> {
        self.watched.wait()
    }

    pub(super) fn is_end(&self) -> bool {
        self.has_ended
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, TruncatedMessage>>> {
        self.watched.polled();
        while self.rest.is_empty() {
            if self.has_ended {
                return Poll::Ready(None);
            }
            match ready!(self.pieces.poll_next_unpin(cx)) {
                Some(piece) => self.rest = piece,
                None => self.has_ended = true,
            }
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        self.watched.returned(piece.len());
        self.watched.kept(self.rest.len());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}
