//! Writes all HTTP/2 frames of one turn in one system call, and reads with as few.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::read_buffer::ReadBuffer;

/// How many bytes are buffered before they are written. A frame that does not fit is not copied: it is written from
/// where it is, behind the buffered bytes.
const BUFFER_BYTES: usize = 32 * 1024;
/// A longer frame is not copied either: copying costs more than a write of its own.
const LARGE: usize = 16 * 1024;

thread_local! {
    /// The buffer: a turn that has been written leaves it to the next turn of any connection.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A stream for h2. h2 writes each frame with a payload by itself, and a write costs far more than copying some
/// kilobytes. It has two owners: h2, which reads and writes, and the task that drives h2, which ends the turn.
pub(crate) struct Coalescing<S>(Arc<Mutex<CoalescingState<S>>>);

struct CoalescingState<S> {
    stream: S,
    unread: ReadBuffer,
    /// The bytes that the stream has not taken yet start at `written`.
    buffered: Vec<u8>,
    written: usize,
    /// Why a turn could not be written. h2 reads the error and reports it to all streams.
    failed: Option<io::Error>,
}

impl<S> Clone for Coalescing<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: AsyncWrite + Unpin> Coalescing<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self(Arc::new(Mutex::new(CoalescingState {
            stream,
            unread: ReadBuffer::default(),
            buffered: Vec::new(),
            written: 0,
            failed: None,
        })))
    }

    /// Ends a turn: writes the buffered bytes. The stream wakes the task when it takes more.
    pub(crate) fn end_turn(&self, cx: &mut Context<'_>) {
        let state = &mut *self.lock();
        if let Poll::Ready(Err(error)) = state.poll_write_all(cx) {
            state.failed = Some(error);
            cx.waker().wake_by_ref();
        }
    }

    fn lock(&self) -> MutexGuard<'_, CoalescingState<S>> {
        // Only one task uses it; the state is valid even after a panic.
        self.0.lock()
    }
}

impl<S: AsyncWrite + Unpin> CoalescingState<S> {
    /// Copies all of `bufs` unless they are large or there is no room.
    fn buffer(&mut self, bufs: &[IoSlice<'_>]) -> Option<usize> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if length > LARGE || self.buffered.len() + length > BUFFER_BYTES {
            return None;
        }
        if self.buffered.capacity() < BUFFER_BYTES {
            let mut room = ROOM.take();
            room.reserve_exact(BUFFER_BYTES);
            room.extend_from_slice(&self.buffered);
            self.buffered = room;
        }
        bufs.iter().for_each(|buf| self.buffered.extend_from_slice(buf));
        Some(length)
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_buffered(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_write_buffered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.buffered.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.buffered[self.written..]) {
                Poll::Ready(written) => self.wrote(written?)?,
                Poll::Pending => {
                    self.wait();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the buffered bytes and `bufs` behind them, and returns how much of `bufs` was taken.
    fn poll_write_behind(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let buffered = &self.buffered[self.written..];
            let before = buffered.len();
            if before == 0 {
                return Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
            }
            // h2 passes a head and a payload; further slices would follow with the next write.
            let mut all = [IoSlice::new(&[]); 3];
            let pieces = [buffered].into_iter().chain(bufs.iter().map(|buf| &**buf));
            all.iter_mut().zip(pieces).for_each(|(place, piece)| *place = IoSlice::new(piece));
            match Pin::new(&mut self.stream).poll_write_vectored(cx, &all) {
                Poll::Ready(written) => {
                    let written = written?;
                    self.wrote(written.min(before))?;
                    if written > before {
                        return Poll::Ready(Ok(written - before));
                    }
                }
                Poll::Pending => {
                    self.wait();
                    return Poll::Pending;
                }
            }
        }
    }

    fn wrote(&mut self, written: usize) -> io::Result<()> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.written += written;
        if self.written == self.buffered.len() {
            self.written = 0;
            let mut room = std::mem::take(&mut self.buffered);
            room.clear();
            ROOM.set(room);
        }
        Ok(())
    }

    /// The stream takes no more for now: a waiting connection keeps only its own bytes, not the whole buffer.
    fn wait(&mut self) {
        if self.buffered.capacity() >= BUFFER_BYTES {
            let rest = self.buffered[self.written..].to_vec();
            self.written = 0;
            let mut room = std::mem::replace(&mut self.buffered, rest);
            room.clear();
            ROOM.set(room);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Coalescing<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.lock();
        match state.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => state.unread.poll_read(&mut state.stream, cx, buf),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Coalescing<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let state = &mut *self.lock();
        match state.buffer(bufs) {
            Some(length) => Poll::Ready(Ok(length)),
            None => state.poll_write_behind(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Does nothing: h2 flushes after every frame, and `end_turn` writes.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.lock();
        ready!(state.poll_write_buffered(cx))?;
        Pin::new(&mut state.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Waker};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    fn write(stream: &mut Coalescing<DuplexStream>, bufs: &[&[u8]]) -> Poll<usize> {
        let bufs: Vec<_> = bufs.iter().map(|buf| IoSlice::new(buf)).collect();
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(stream).poll_write_vectored(&mut cx, &bufs).map(Result::unwrap)
    }

    fn end_turn(stream: &Coalescing<DuplexStream>) {
        stream.end_turn(&mut Context::from_waker(Waker::noop()));
    }

    async fn read(from: &mut DuplexStream, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        from.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn a_turn_is_written_at_its_end_and_in_order() {
        let (near, mut far) = duplex(1024);
        let mut stream = Coalescing::new(near);
        assert_eq!(write(&mut stream, &[b"head", b"payload"]), Poll::Ready(11));
        stream.flush().await.unwrap();
        assert_eq!(write(&mut stream, &[b"trailers"]), Poll::Ready(8));
        let mut byte = [0];
        let mut early = ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut far).poll_read(&mut cx, &mut early).is_pending(), "nothing before the turn's end");
        end_turn(&stream);
        assert_eq!(read(&mut far, 19).await, b"headpayloadtrailers");
    }

    #[tokio::test]
    async fn messages_of_10_kb_share_a_write() {
        let (near, mut far) = duplex(64 * 1024);
        let mut stream = Coalescing::new(near);
        let message = [7; 10_000];
        for _ in 0..3 {
            assert_eq!(write(&mut stream, &[b"head", &message]), Poll::Ready(10_004));
        }
        let mut byte = [0];
        let mut early = ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut far).poll_read(&mut cx, &mut early).is_pending(), "nothing before the turn's end");
        end_turn(&stream);
        assert_eq!(read(&mut far, 3 * 10_004).await.len(), 3 * 10_004);
    }

    #[tokio::test]
    async fn bytes_that_the_stream_refuses_follow_in_order() {
        let (near, mut far) = duplex(100);
        let mut stream = Coalescing::new(near);
        let sent_bytes: Vec<u8> = (0..=255).cycle().take(BUFFER_BYTES * 3).collect();
        let mut sent = 0;
        let mut received = Vec::new();
        for round in 0.. {
            // Lets the reader run although this task never waits.
            tokio::task::yield_now().await;
            let next = &sent_bytes[sent..sent_bytes.len().min(sent + 1 + round * 37 % (BUFFER_BYTES + 500))];
            if let Poll::Ready(taken) = write(&mut stream, &[&next[..next.len() / 3], &next[next.len() / 3..]]) {
                sent += taken;
            }
            end_turn(&stream);
            let there = (sent - received.len()).min(61);
            received.extend(read(&mut far, there).await);
            if received.len() == sent_bytes.len() {
                break;
            }
        }
        assert_eq!(received, sent_bytes);
    }

    #[tokio::test]
    async fn the_reader_receives_a_write_failure_at_the_end_of_a_turn() {
        let (near, far) = duplex(100);
        let mut stream = Coalescing::new(near);
        assert_eq!(write(&mut stream, &[b"no reader"]), Poll::Ready(9));
        drop(far);
        end_turn(&stream);
        let error = stream.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_shutdown_writes_all_buffered_bytes() {
        let (near, mut far) = duplex(8);
        let mut stream = Coalescing::new(near);
        assert_eq!(write(&mut stream, &[b"more than there is room for"]), Poll::Ready(27));
        let closing = poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx));
        let mut received = Vec::new();
        let (closed, _) = tokio::join!(closing, far.read_to_end(&mut received));
        closed.unwrap();
        assert_eq!(received, b"more than there is room for");
    }
}
