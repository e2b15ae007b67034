//! The body of one HTTP/2 stream, of a response from an upstream or of a request from a caller. Small pieces are
//! joined: h2 keeps hundreds of bytes beside each frame that waits in it, and closes a connection on which too many
//! wait, with all its calls.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::HeaderMap;
use parking_lot::{Mutex, MutexGuard};

/// A piece below this size is copied together with other small pieces.
const SMALL: usize = 1_024;
/// Small pieces are joined up to about this size.
const JOINED: usize = 4 * 1024;
/// The overhead that h2 counts for a DATA frame that waits in it (`data_frame_budget`).
const FRAME_OVERHEAD: usize = 256;

/// The budget for h2's overhead of waiting frames: enough for a flow-control window of `bytes`, which a peer may fill
/// with one frame per byte. [`ReceiveBuffer`] bounds the frames that actually wait.
pub(crate) const fn frame_budget(bytes: u32) -> usize {
    (bytes as usize).saturating_mul(FRAME_OVERHEAD)
}

/// See the module.
pub(crate) struct ReceiveBuffer(Mutex<ReceiveState>);

struct ReceiveState {
    stream: RecvStream,
    /// Pieces that were read ahead, and behind them small pieces, joined.
    ahead: VecDeque<Bytes>,
    small: BytesMut,
    /// The bytes in both.
    held: usize,
    ended: bool,
    /// The error that ended the stream, until the pieces before it have been read.
    failed: Option<h2::Error>,
    /// Waits for the next piece, which another task may read ahead.
    reader: Option<Waker>,
}

impl ReceiveBuffer {
    pub(crate) fn new(stream: RecvStream) -> Self {
        let (ahead, small) = (VecDeque::new(), BytesMut::new());
        Self(Mutex::new(ReceiveState { stream, ahead, small, held: 0, ended: false, failed: None, reader: None }))
    }

    pub(crate) fn stream_id(&self) -> u32 {
        self.lock().stream.stream_id().as_u32()
    }

    /// The next piece, never an empty one. Returning it lets the peer send as many bytes more.
    pub(crate) fn poll_data(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let state = &mut *self.lock();
        state.reader = None;
        let piece = match state.next_ahead() {
            Some(piece) => piece,
            None => match state.poll_piece(cx) {
                Poll::Ready(Some(Ok(piece))) => state.join(piece, cx),
                Poll::Ready(end) => return Poll::Ready(end),
                Poll::Pending => {
                    state.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            },
        };
        // An Err would mean that more is released than was received.
        state.stream.flow_control().release_capacity(piece.len()).ok();
        Poll::Ready(Some(Ok(piece)))
    }

    /// The bytes that were read ahead.
    pub(crate) fn held(&self) -> usize {
        self.lock().held
    }

    /// The trailers after the last piece.
    pub(crate) fn poll_trailers(&self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, h2::Error>> {
        self.lock().stream.poll_trailers(cx)
    }

    /// Nothing more follows, not even trailers.
    pub(crate) fn is_end_stream(&self) -> bool {
        let state = self.lock();
        state.ahead.is_empty() && state.small.is_empty() && state.failed.is_none() && state.stream.is_end_stream()
    }

    /// Reads what has arrived, and wakes the task when there is more. It does not enlarge the peer's window: no more is
    /// read than the window allows.
    pub(crate) fn read_ahead(&self, cx: &mut Context<'_>) {
        let state = &mut *self.lock();
        while !state.ended && state.failed.is_none() {
            match state.poll_piece(cx) {
                Poll::Ready(Some(Ok(piece))) => state.keep(piece),
                Poll::Ready(Some(Err(error))) => state.failed = Some(error),
                Poll::Ready(None) => state.ended = true,
                Poll::Pending => return,
            }
            if let Some(reader) = state.reader.take() {
                reader.wake();
            }
        }
    }

    /// Discards the rest of the stream, and does not enlarge the window. Ends with the stream.
    pub(crate) fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<()> {
        let state = &mut *self.lock();
        state.ahead.clear();
        state.small = BytesMut::new();
        state.held = 0;
        while let Some(piece) = ready!(state.poll_piece(cx)) {
            if piece.is_err() {
                return Poll::Ready(());
            }
        }
        state.stream.poll_trailers(cx).map(drop)
    }

    /// Discards what arrives, and lets the peer send as many bytes more. Ends with the stream, or after `room` bytes.
    pub(crate) fn poll_drain(&self, room: &mut u64, cx: &mut Context<'_>) -> Poll<()> {
        let state = &mut *self.lock();
        state.ahead.clear();
        state.small = BytesMut::new();
        let mut bytes = std::mem::take(&mut state.held);
        loop {
            // An Err would mean that more is released than was received.
            state.stream.flow_control().release_capacity(bytes).ok();
            let Some(left) = room.checked_sub(bytes as u64) else { return Poll::Ready(()) };
            *room = left;
            match ready!(state.poll_piece(cx)) {
                Some(Ok(piece)) => bytes = piece.len(),
                Some(Err(_)) | None => return Poll::Ready(()),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, ReceiveState> {
        // A panic while it is locked loses one piece at most, of the call that fails anyway.
        self.0.lock()
    }
}

impl ReceiveState {
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

    /// Joins a small piece with the small ones behind it: otherwise each would be a frame of its own to the next peer.
    fn join(&mut self, first: Bytes, cx: &mut Context<'_>) -> Bytes {
        if first.len() >= SMALL {
            return first;
        }
        let mut joined = BytesMut::new();
        while joined.len() < JOINED {
            match self.poll_piece(cx) {
                Poll::Ready(Some(Ok(piece))) if piece.len() < SMALL => {
                    if joined.is_empty() {
                        joined.extend_from_slice(&first);
                    }
                    joined.extend_from_slice(&piece);
                }
                Poll::Ready(Some(Ok(piece))) => {
                    self.held += piece.len();
                    self.ahead.push_back(piece);
                    break;
                }
                Poll::Ready(Some(Err(error))) => {
                    self.failed = Some(error);
                    break;
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        if joined.is_empty() { first } else { joined.freeze() }
    }

    fn keep(&mut self, piece: Bytes) {
        self.held += piece.len();
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
        let piece = self.ahead.pop_front().or_else(|| small(&mut self.small))?;
        self.held -= piece.len();
        Some(piece)
    }
}
