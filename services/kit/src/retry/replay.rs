//! A request's body that can be sent again.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body that keeps what was sent of it, as long as that fits into the buffer; keeping is counting references.
pub struct Replay<B> {
    source: Arc<Mutex<Source<B>>>,
    /// Which attempt this is the body of; an older one ends early.
    attempt: usize,
    /// How many of the kept pieces it has sent.
    sent: usize,
}

struct Source<B> {
    body: B,
    attempt: usize,
    /// `None`: too much was sent, or the caller's body broke.
    kept: Option<Vec<Bytes>>,
    /// What more may be kept.
    room: usize,
    ended: bool,
}

impl<B> Replay<B> {
    /// Keeps at most `most` bytes.
    pub fn new(body: B, most: usize) -> Self {
        let source = Source { body, attempt: 0, kept: Some(Vec::new()), room: most, ended: false };
        Self { source: Arc::new(Mutex::new(source)), attempt: 0, sent: 0 }
    }

    /// What begins the body anew, while it can be.
    pub fn again(&self) -> Again<B> {
        Again(Arc::clone(&self.source))
    }
}

/// Where another body for the same request comes from.
pub struct Again<B>(Arc<Mutex<Source<B>>>);

impl<B> Again<B> {
    /// The body from its beginning; the one before it ends. `None`: more was sent than is kept.
    pub fn body(&self) -> Option<Replay<B>> {
        let mut source = lock(&self.0);
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

fn lock<B>(source: &Mutex<Source<B>>) -> MutexGuard<'_, Source<B>> {
    // A body that panicked is not asked again by anybody who could tell.
    source.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B> Source<B> {
    fn keep(&mut self, piece: &Bytes) {
        match (&mut self.kept, self.room.checked_sub(piece.len())) {
            (Some(kept), Some(room)) => {
                kept.push(piece.clone());
                self.room = room;
            }
            _ => self.kept = None,
        }
    }

    /// What attempt number `sent` pieces in still has to send of what is kept.
    fn left(&self, sent: usize) -> &[Bytes] {
        self.kept.as_deref().and_then(|kept| kept.get(sent..)).unwrap_or_default()
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Replay<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let mut source = lock(&this.source);
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
                    // A request's trailers mean nothing in gRPC.
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
        let source = lock(&self.source);
        source.left(self.sent).is_empty() && (source.ended || source.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let source = lock(&self.source);
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
    fn a_body_begins_anew_wherever_the_last_attempt_stopped() {
        for sent in 0..=3 {
            let mut once = Replay::new(body(&["one", "two", "three"]), 64);
            let again = once.again();
            for _ in 0..sent {
                first(&mut once);
            }
            let twice = again.body().unwrap();
            assert_eq!(rest(once), "", "the attempt before has ended");
            assert_eq!(rest(twice), "onetwothree", "after {sent}");
            assert_eq!(rest(again.body().unwrap()), "onetwothree", "and once more");
        }
    }

    #[test]
    fn what_does_not_fit_passes_but_never_again() {
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
    fn a_body_that_broke_is_not_sent_again() {
        let pieces: Pieces = vec![Ok(Frame::data(Bytes::from_static(b"1"))), Err(std::io::Error::other("gone"))];
        let broken = Replay::new(StreamBody::new(stream::iter(pieces)), 64);
        let again = broken.again();
        broken.collect().now_or_never().unwrap().unwrap_err();
        assert!(again.body().is_none());
    }
}
