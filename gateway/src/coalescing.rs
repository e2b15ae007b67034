//! What is said over HTTP/2 in one turn leaves in one write.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is gathered before it is written, at most. A frame that has no room in it is not copied: it is written from where
/// it is, behind what was gathered.
const GATHERED_BYTES: usize = 16 * 1024;

thread_local! {
    /// The room to gather in: a turn that has been written leaves it to the next, of whatever connection.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A stream for h2, which writes each frame with a payload by itself, and a write costs far more than copying some
/// kilobytes. Two hold it: h2, which reads and writes, and the task that works with h2, which ends the turn.
pub(crate) struct Coalescing<S>(Arc<Mutex<State<S>>>);

struct State<S> {
    stream: S,
    /// What the stream has not taken yet, from `written` on.
    gathered: Vec<u8>,
    written: usize,
    /// Why a turn could not be ended. h2 hears of it when it reads, and tells all streams.
    failed: Option<io::Error>,
}

impl<S> Clone for Coalescing<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: AsyncWrite + Unpin> Coalescing<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self(Arc::new(Mutex::new(State { stream, gathered: Vec::new(), written: 0, failed: None })))
    }

    /// Ends a turn: what was gathered is written. The task is woken when the stream takes more of it.
    pub(crate) fn end_turn(&self, cx: &mut Context<'_>) {
        let state = &mut *self.lock();
        if let Poll::Ready(Err(error)) = state.poll_write_all(cx) {
            state.failed = Some(error);
            cx.waker().wake_by_ref();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        // Only one task works with it; what a panic left is still in order.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncWrite + Unpin> State<S> {
    /// Takes all of `bufs` if there is room.
    fn gather(&mut self, bufs: &[IoSlice<'_>]) -> Option<usize> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if self.gathered.len() + length > GATHERED_BYTES {
            return None;
        }
        if self.gathered.capacity() < GATHERED_BYTES {
            let mut room = ROOM.take();
            room.reserve_exact(GATHERED_BYTES);
            room.extend_from_slice(&self.gathered);
            self.gathered = room;
        }
        bufs.iter().for_each(|buf| self.gathered.extend_from_slice(buf));
        Some(length)
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_gathered(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_write_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.gathered[self.written..]) {
                Poll::Ready(written) => self.wrote(written?)?,
                Poll::Pending => {
                    self.wait();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what was gathered and `bufs` behind it, and tells how much of `bufs` was taken.
    fn poll_write_behind(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let gathered = &self.gathered[self.written..];
            let before = gathered.len();
            if before == 0 {
                return Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
            }
            // h2 brings a head and a payload; of more the rest would follow with the next write.
            let mut all = [IoSlice::new(&[]); 3];
            let pieces = [gathered].into_iter().chain(bufs.iter().map(|buf| &**buf));
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
        if self.written == self.gathered.len() {
            self.written = 0;
            let mut room = std::mem::take(&mut self.gathered);
            room.clear();
            ROOM.set(room);
        }
        Ok(())
    }

    /// The stream takes no more for now: a connection that waits holds what it has to say, and not the whole room.
    fn wait(&mut self) {
        if self.gathered.capacity() >= GATHERED_BYTES {
            let rest = self.gathered[self.written..].to_vec();
            self.written = 0;
            let mut room = std::mem::replace(&mut self.gathered, rest);
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
            None => Pin::new(&mut state.stream).poll_read(cx, buf),
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
        match state.gather(bufs) {
            Some(length) => Poll::Ready(Ok(length)),
            None => state.poll_write_behind(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing: h2 asks for it after every frame, and the turn has an end of its own.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.lock();
        ready!(state.poll_write_gathered(cx))?;
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
        let mut nobody = Context::from_waker(Waker::noop());
        Pin::new(stream).poll_write_vectored(&mut nobody, &bufs).map(Result::unwrap)
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
    async fn a_turn_leaves_when_it_ends_and_in_its_order() {
        let (near, mut far) = duplex(1024);
        let mut stream = Coalescing::new(near);
        assert_eq!(write(&mut stream, &[b"head", b"payload"]), Poll::Ready(11));
        stream.flush().await.unwrap();
        assert_eq!(write(&mut stream, &[b"trailers"]), Poll::Ready(8));
        let mut byte = [0];
        let mut early = ReadBuf::new(&mut byte);
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut far).poll_read(&mut nobody, &mut early).is_pending(), "nothing before the turn's end");
        end_turn(&stream);
        assert_eq!(read(&mut far, 19).await, b"headpayloadtrailers");
    }

    #[tokio::test]
    async fn what_the_stream_does_not_take_follows_and_nothing_overtakes_it() {
        let (near, mut far) = duplex(100);
        let mut stream = Coalescing::new(near);
        let said: Vec<u8> = (0..=255).cycle().take(GATHERED_BYTES * 3).collect();
        let mut sent = 0;
        let mut heard = Vec::new();
        for round in 0.. {
            // A task that never waits is made to.
            tokio::task::yield_now().await;
            let next = &said[sent..said.len().min(sent + 1 + round * 37 % (GATHERED_BYTES + 500))];
            if let Poll::Ready(taken) = write(&mut stream, &[&next[..next.len() / 3], &next[next.len() / 3..]]) {
                sent += taken;
            }
            end_turn(&stream);
            let there = (sent - heard.len()).min(61);
            heard.extend(read(&mut far, there).await);
            if heard.len() == said.len() {
                break;
            }
        }
        assert_eq!(heard, said);
    }

    #[tokio::test]
    async fn a_failure_at_the_end_of_a_turn_is_told_to_the_reader() {
        let (near, far) = duplex(100);
        let mut stream = Coalescing::new(near);
        assert_eq!(write(&mut stream, &[b"to nobody"]), Poll::Ready(9));
        drop(far);
        end_turn(&stream);
        let error = stream.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_stream_that_is_shut_down_has_said_everything() {
        let (near, mut far) = duplex(8);
        let mut stream = Coalescing::new(near);
        assert_eq!(write(&mut stream, &[b"more than there is room for"]), Poll::Ready(27));
        let closing = poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx));
        let mut heard = Vec::new();
        let (closed, _) = tokio::join!(closing, far.read_to_end(&mut heard));
        closed.unwrap();
        assert_eq!(heard, b"more than there is room for");
    }
}
