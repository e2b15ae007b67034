//! The gRPC frames of calls that begin in the gateway itself, on behalf of a client.

use bytes::Bytes;
use tonic::Status;

use super::framing::{FrameReader, check_flags};

/// Takes the messages of a response out of its frames.
#[derive(Debug, Default)]
pub(crate) struct MessageReader(FrameReader);

impl MessageReader {
    /// Adds the next piece. All messages of the piece before must have been taken.
    pub(crate) fn push(&mut self, piece: Bytes) {
        self.0.push(piece);
    }

    /// Takes the next message; `None`: the next piece is needed.
    pub(crate) fn next(&mut self) -> Option<Result<Bytes, Box<Status>>> {
        let (flags, message) = self.0.next()?;
        Some(check_flags(flags).map(|()| message))
    }

    /// The bytes of the next message, as far as its frame states them.
    pub(crate) fn awaited(&self) -> usize {
        self.0.awaited()
    }
}
