//! What an upstream sends on one stream. While its caller does not read, small pieces are put together: h2 keeps hundreds
//! of bytes beside each frame that waits in it, and ends a connection on which too many do, with every call.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::HeaderMap;

/// A piece below this size is copied to others of its kind.
const SMALL: usize = 1_024;

/// See the module.
pub(crate) struct Intake(Mutex<State>);

struct State {
    stream: RecvStream,
    /// What was taken in before anybody asked for it; and behind it small pieces, put together.
    ahead: VecDeque<Bytes>,
    small: BytesMut,
    ended: bool,
    /// How it ended, once what came before that has been asked for.
    failed: Option<h2::Error>,
}

impl Intake {
    pub(super) fn new(stream: RecvStream) -> Self {
        let (ahead, small) = (VecDeque::new(), BytesMut::new());
        Self(Mutex::new(State { stream, ahead, small, ended: false, failed: None }))
    }

    /// The next piece, never an empty one. What is handed out makes room for as much from the upstream.
    pub(super) fn poll_data(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let state = &mut *self.lock();
        let piece = match state.next_ahead() {
            Some(piece) => piece,
            None => match ready!(state.poll_piece(cx)) {
                Some(Ok(piece)) => piece,
                end => return Poll::Ready(end),
            },
        };
        // An Err would say that more is released than came.
        state.stream.flow_control().release_capacity(piece.len()).ok();
        Poll::Ready(Some(Ok(piece)))
    }

    /// What comes after the last piece.
    pub(super) fn poll_trailers(&self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, h2::Error>> {
        self.lock().stream.poll_trailers(cx)
    }

    /// Nothing more will come, not even trailers.
    pub(super) fn is_end_stream(&self) -> bool {
        let state = self.lock();
        state.ahead.is_empty() && state.small.is_empty() && state.failed.is_none() && state.stream.is_end_stream()
    }

    /// Takes in what has come, and has the task woken when there is more. It makes no room for the upstream: no more is
    /// taken in than its window allows.
    pub(crate) fn read_ahead(&self, cx: &mut Context<'_>) {
        let state = &mut *self.lock();
        while !state.ended && state.failed.is_none() {
            match state.poll_piece(cx) {
                Poll::Ready(Some(Ok(piece))) => state.keep(piece),
                Poll::Ready(Some(Err(error))) => state.failed = Some(error),
                Poll::Ready(None) => state.ended = true,
                Poll::Pending => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked in the middle lost a piece at most, and with it its own call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        while !self.ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(piece) => return Poll::Ready(Some(piece)),
                None => self.ended = true,
            }
        }
        Poll::Ready(None)
    }

    fn keep(&mut self, piece: Bytes) {
        if piece.len() < SMALL {
            self.small.extend_from_slice(&piece);
        } else {
            if !self.small.is_empty() {
                self.ahead.push_back(self.small.split().freeze());
            }
            self.ahead.push_back(piece);
        }
    }

    fn next_ahead(&mut self) -> Option<Bytes> {
        let small = |small: &mut BytesMut| (!small.is_empty()).then(|| std::mem::take(small).freeze());
        self.ahead.pop_front().or_else(|| small(&mut self.small))
    }
}
