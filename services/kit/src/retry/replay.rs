//! A request body that can be sent again.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

/// A body that buffers what was sent of it, as long as it fits. Buffering counts references and copies nothing.
pub struct Replay<B> {
    source: Arc<Mutex<ReplaySource<B>>>,
    /// The attempt that this body belongs to; bodies of older attempts end early.
    attempt: usize,
    /// The number of buffered pieces already sent.
    sent: usize,
}

struct ReplaySource<B> {
    body: B,
    attempt: usize,
    /// `None`: more was sent than fits, or the client's body failed.
    kept: Option<Vec<Bytes>>,
    /// The remaining room in bytes.
    room: usize,
    ended: bool,
}

impl<B> Replay<B> {
    /// Buffers at most `most` bytes.
    pub fn new(body: B, most: usize) -> Self {
        let source = ReplaySource { body, attempt: 0, kept: Some(Vec::new()), room: most, ended: false };
        Self { source: Arc::new(Mutex::new(source)), attempt: 0, sent: 0 }
    }

    /// A handle that restarts the body, while it is buffered.
    pub fn again(&self) -> Again<B> {
        Again(Arc::clone(&self.source))
    }
}

/// Creates further bodies of the same request.
pub struct Again<B>(Arc<Mutex<ReplaySource<B>>>);

impl<B> Again<B> {
    /// A body that starts again at the beginning of the request, and ends the previous one. `None`: the request is longer
    /// than the buffer.
    pub fn body(&self) -> Option<Replay<B>> {
        let mut source = self.0.lock();
        source.kept.as_ref()?;
        source.attempt += 1;
        Some(Replay { source: Arc::clone(&self.0), attempt: source.attempt, sent: 0 })
    }
}

impl<B> Clone for Again<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> ReplaySource<B> {
    fn keep(&mut self, piece: &Bytes) {
        match (&mut self.kept, self.room.checked_sub(piece.len())) {
            (Some(kept), Some(room)) => {
                kept.push(piece.clone());
                self.room = room;
            }
            _ => self.kept = None,
        }
    }

    /// The buffered pieces after the first `sent`.
    fn left(&self, sent: usize) -> &[Bytes] {
        self.kept.as_deref().and_then(|kept| kept.get(sent..)).unwrap_or_default()
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Replay<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let mut source = this.source.lock();
        if source.attempt != this.attempt {
            return Poll::Ready(None);
        }
        if let Some(piece) = source.left(this.sent).first() {
            this.sent += 1;
            return Poll::Ready(Some(Ok(Frame::data(piece.clone()))));
        }
        while !source.ended {
            match ready!(Pin::new(&mut source.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // gRPC requests have no trailers.
                    let Ok(piece) = frame.into_data() else { continue };
                    source.keep(&piece);
                    this.sent += 1;
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Some(Err(error)) => {
                    (source.kept, source.ended) = (None, true);
                    return Poll::Ready(Some(Err(error)));
                }
                None => source.ended = true,
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        let source = self.source.lock();
        source.left(self.sent).is_empty() && (source.ended || source.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let source = self.source.lock();
        let kept: u64 = source.left(self.sent).iter().map(|piece| piece.len() as u64).sum();
        let rest = if source.ended { SizeHint::with_exact(0) } else { source.body.size_hint() };
        let mut hint = SizeHint::new();
        hint.set_lower(kept.saturating_add(rest.lower()));
        if let Some(upper) = rest.upper() {
            hint.set_upper(kept.saturating_add(upper));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, stream};
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    type Pieces = Vec<Result<Frame<Bytes>, std::io::Error>>;

    fn body(pieces: &[&'static str]) -> impl Body<Data = Bytes, Error = std::io::Error> + Unpin + use<> {
        let pieces: Pieces = pieces.iter().map(|p| Ok(Frame::data(Bytes::from_static(p.as_bytes())))).collect();
        StreamBody::new(stream::iter(pieces))
    }

    fn rest<B: Body<Data = Bytes> + Unpin>(body: Replay<B>) -> Bytes
    where
        B::Error: std::fmt::Debug,
    {
        body.collect().now_or_never().unwrap().unwrap().to_bytes()
    }

    fn first<B: Body<Data = Bytes> + Unpin>(body: &mut Replay<B>) -> Bytes
    where
        B::Error: std::fmt::Debug,
    {
        body.frame().now_or_never().unwrap().unwrap().unwrap().into_data().unwrap()
    }

    #[test]
    fn body_restarts_after_any_number_of_pieces() {
        for sent in 0..=3 {
            let mut once = Replay::new(body(&["one", "two", "three"]), 64);
            let again = once.again();
            for _ in 0..sent {
                first(&mut once);
            }
            let twice = again.body().unwrap();
            assert_eq!(rest(once), "", "the previous attempt ends");
            assert_eq!(rest(twice), "onetwothree", "after {sent}");
            assert_eq!(rest(again.body().unwrap()), "onetwothree", "a second retry");
        }
    }

    #[test]
    fn oversized_body_is_sent_but_not_replayed() {
        let mut exact = Replay::new(body(&["1234", "5678"]), 8);
        let again = exact.again();
        first(&mut exact);
        assert_eq!(rest(exact), "5678");
        assert!(again.body().is_some(), "8 of 8 bytes");

        let mut over = Replay::new(body(&["1234", "56789"]), 8);
        let again = over.again();
        first(&mut over);
        assert!(again.body().is_some(), "4 of 8 bytes");
        let over = again.body().unwrap();
        assert_eq!(rest(over), "123456789");
        assert!(again.body().is_none(), "9 of 8 bytes");
    }

    #[test]
    fn failed_body_is_not_replayed() {
        let pieces: Pieces = vec![Ok(Frame::data(Bytes::from_static(b"1"))), Err(std::io::Error::other("gone"))];
        let broken = Replay::new(StreamBody::new(stream::iter(pieces)), 64);
        let again = broken.again();
        broken.collect().now_or_never().unwrap().unwrap_err();
        assert!(again.body().is_none());
    }
}
