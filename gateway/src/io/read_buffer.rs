//! Reads as much as has arrived in one system call.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

/// How many bytes are read at once, at most.
const BUFFER_BYTES: usize = 32 * 1024;
/// A reader with this much room reads into it directly: copying costs more than it saves.
const LARGE: usize = 16 * 1024;

thread_local! {
    /// The buffer: a connection that has used all of its bytes leaves it to the next read of any connection.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A read buffer for h2. h2 reads into the rest of a buffer of 8 KiB, however small that rest is: a message of 10 kB
/// takes two reads, and a batch of small frames may take two as well. A connection without bytes of its own holds no
/// buffer.
#[derive(Default)]
pub(super) struct ReadBuffer {
    /// The bytes that the reader has not taken yet are in `from..to`. Empty if there are none.
    room: Vec<u8>,
    from: usize,
    to: usize,
}

impl ReadBuffer {
    /// Fills `buf` from the buffered bytes or else, with one read, from `stream`.
    pub(super) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.from == self.to {
            if buf.remaining() >= LARGE || buf.remaining() == 0 {
                return Pin::new(stream).poll_read(cx, buf);
            }
            ready!(self.poll_fill(stream, cx))?;
        }
        let taken = buf.remaining().min(self.to - self.from);
        buf.put_slice(&self.room[self.from..self.from + taken]);
        self.from += taken;
        if self.from == self.to {
            ROOM.set(std::mem::take(&mut self.room));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_fill<S: AsyncRead + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut room = ROOM.take();
        // Zeroes a new buffer only.
        room.resize(BUFFER_BYTES, 0);
        let mut read = ReadBuf::new(&mut room);
        let polled = Pin::new(stream).poll_read(cx, &mut read);
        let to = read.filled().len();
        match polled {
            Poll::Ready(Ok(())) => *self = Self { room, from: 0, to },
            _ => ROOM.set(room),
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// A stream whose bytes have all arrived. Counts its reads.
    struct Arrived {
        bytes: Vec<u8>,
        reads: usize,
    }

    impl AsyncRead for Arrived {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            self.reads += 1;
            let taken = buf.remaining().min(self.bytes.len());
            buf.put_slice(&self.bytes[..taken]);
            self.bytes.drain(..taken);
            Poll::Ready(Ok(()))
        }
    }

    /// Reads all bytes in pieces of `size`. Returns them and the number of reads, without that of the end.
    fn read(bytes: &[u8], size: usize) -> (Vec<u8>, usize) {
        let mut stream = Arrived { bytes: bytes.to_vec(), reads: 0 };
        let (mut buffer, mut received) = (ReadBuffer::default(), Vec::new());
        let (mut piece, mut cx) = (vec![0; size], Context::from_waker(Waker::noop()));
        loop {
            let mut buf = ReadBuf::new(&mut piece);
            assert!(matches!(buffer.poll_read(&mut stream, &mut cx, &mut buf), Poll::Ready(Ok(()))));
            if buf.filled().is_empty() {
                assert_eq!(buffer.room.capacity(), 0, "the buffer is left to other connections");
                return (received, stream.reads - 1);
            }
            received.extend_from_slice(buf.filled());
        }
    }

    #[test]
    fn small_pieces_share_a_read_and_keep_their_order() {
        let sent: Vec<u8> = (0..=255).cycle().take(BUFFER_BYTES + 10).collect();
        assert_eq!(read(&sent[..10_000], 8 * 1024), (sent[..10_000].to_vec(), 1));
        assert_eq!(read(&sent, 7), (sent, 2));
    }

    #[test]
    fn large_pieces_are_not_copied() {
        let sent = vec![7; BUFFER_BYTES];
        assert_eq!(read(&sent, LARGE), (sent, 2));
    }
}
