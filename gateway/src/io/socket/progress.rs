//! Whether a client is in the middle of a message. tungstenite does not tell, and keeps what has arrived of it.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Whether a message has begun and is not complete. Shared by the I/O, which sets it, and the reader of the messages.
#[derive(Debug, Clone, Default)]
pub(crate) struct MessageProgress(Arc<AtomicBool>);

impl MessageProgress {
    pub(super) fn is_within_message(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The connection of a socket, which notes the frames that it reads.
#[derive(Debug)]
pub(crate) struct MonitoredSocketIo<T> {
    io: T,
    frames: FrameProgress,
    progress: MessageProgress,
}

impl<T> MonitoredSocketIo<T> {
    pub(super) fn new(io: T) -> (Self, MessageProgress) {
        let progress = MessageProgress::default();
        (Self { io, frames: FrameProgress::default(), progress: progress.clone() }, progress)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for MonitoredSocketIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        self.frames.pass(&buffer.filled()[before..]);
        self.progress.0.store(self.frames.is_within_message(), Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for MonitoredSocketIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The most bytes of a frame's head (RFC 6455, section 5.2): two, eight of the length, and four of the mask.
const HEAD_BYTES: usize = 14;

/// Where the bytes so far end among the frames. It only counts: tungstenite refuses what is invalid.
#[derive(Debug, Default)]
struct FrameProgress {
    /// The head of the current frame, as far as it has arrived.
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    /// The bytes of the payload that are missing.
    left: u64,
    /// A data frame without FIN came before.
    has_fragments: bool,
}

impl FrameProgress {
    fn is_within_message(&self) -> bool {
        self.head_bytes > 0 || self.left > 0 || self.has_fragments
    }

    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                bytes = &bytes[skipped..];
                self.left -= skipped as u64;
                continue;
            }
            self.head[self.head_bytes] = bytes[0];
            self.head_bytes += 1;
            bytes = &bytes[1..];
            if self.head_bytes == self.head_length() {
                self.end_head();
            }
        }
    }

    /// How many bytes the head has, as far as the bytes so far tell.
    fn head_length(&self) -> usize {
        if self.head_bytes < 2 {
            return 2;
        }
        let length = match self.head[1] & 0x7F {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        2 + length + mask
    }

    fn end_head(&mut self) {
        let [first, second, length @ ..] = &self.head;
        self.left = match second & 0x7F {
            126 => u16::from_be_bytes([length[0], length[1]]).into(),
            127 => length[..8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
            short => short.into(),
        };
        let (is_final, is_control) = (first & 0x80 != 0, first & 0x08 != 0);
        // Control frames stand between the frames of a message.
        if !is_control {
            self.has_fragments = !is_final;
        }
        self.head_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTINUATION: u8 = 0;
    const TEXT: u8 = 1;
    const PING: u8 = 9;
    const PONG: u8 = 10;

    /// A frame with a mask of zeros.
    fn frame(length: usize, code: u8, is_final: bool) -> Vec<u8> {
        let first = if is_final { 0x80 | code } else { code };
        let mut bytes = match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short), _) if short < 126 => vec![first, 0x80 | short],
            (_, Ok(middle)) => [&[first, 0x80 | 126][..], &middle.to_be_bytes()].concat(),
            _ => [&[first, 0x80 | 127][..], &(length as u64).to_be_bytes()].concat(),
        };
        bytes.extend([0; 4]);
        bytes.resize(bytes.len() + length, b'a');
        bytes
    }

    #[test]
    fn message_is_complete_with_its_last_byte() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let frame = frame(length, TEXT, true);
            let mut progress = FrameProgress::default();
            for byte in &frame[..frame.len() - 1] {
                progress.pass(&[*byte]);
                assert!(progress.is_within_message(), "{length}");
            }
            progress.pass(&frame[frame.len() - 1..]);
            assert!(!progress.is_within_message(), "{length}");
            // What follows in the same bytes counts.
            progress.pass(&[frame.as_slice(), &frame[..1]].concat());
            assert!(progress.is_within_message(), "{length}");
        }
    }

    #[test]
    fn fragments_are_a_message_until_the_last_one() {
        let mut progress = FrameProgress::default();
        for (code, is_final, is_within) in [
            (TEXT, false, true),
            (PING, true, true),
            (CONTINUATION, false, true),
            (PONG, true, true),
            (CONTINUATION, true, false),
            (PING, true, false),
        ] {
            progress.pass(&frame(10, code, is_final));
            assert_eq!(progress.is_within_message(), is_within, "{code:?} {is_final}");
        }
    }

    #[test]
    fn longest_length_is_no_overflow() {
        let mut progress = FrameProgress::default();
        progress.pass(&[&[0x81, 0xFF][..], &[0xFF; 8], &[0; 4], &[0; 100]].concat());
        assert_eq!(progress.left, u64::MAX - 100);
    }
}
