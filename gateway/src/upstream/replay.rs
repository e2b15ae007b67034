//! The forwarded part of a request, kept for a retry.

use bytes::Bytes;

/// The pieces already forwarded, kept while a retry may need them: they are shared, not copied.
#[derive(Default)]
pub(super) struct Replay {
    pieces: Vec<Bytes>,
    /// How many more bytes may be kept.
    room: usize,
    /// How many of `pieces` have been forwarded since the last rewind.
    at: usize,
    /// Nothing is kept any more: the response has begun, or the request is too large.
    is_over: bool,
}

impl Replay {
    /// Keeps up to `room` bytes.
    pub(super) fn new(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    /// Keeps a forwarded piece, if there is room.
    pub(super) fn keep(&mut self, piece: &Bytes) {
        match self.room.checked_sub(piece.len()) {
            Some(room) => self.room = room,
            None => self.end(),
        }
        if !self.is_over {
            self.pieces.push(piece.clone());
            self.at += 1;
        }
    }

    /// Starts again from the first piece. False: some pieces are no longer kept.
    pub(super) fn rewind(&mut self) -> bool {
        self.at = 0;
        !self.is_over
    }

    /// The next piece to forward again.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let piece = self.pieces.get(self.at)?.clone();
        self.at += 1;
        Some(piece)
    }

    /// There is no further retry.
    pub(super) fn end(&mut self) {
        // The pieces that a retry has not sent yet are still needed.
        self.pieces.drain(..self.at);
        (self.at, self.is_over) = (0, true);
    }

    /// Whether all kept pieces have been forwarded.
    pub(super) fn is_forwarded(&self) -> bool {
        self.at == self.pieces.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(replay: &mut Replay) -> Vec<Bytes> {
        std::iter::from_fn(|| replay.next()).collect()
    }

    #[test]
    fn forwarded_pieces_are_replayed_up_to_the_limit() {
        let mut replay = Replay::new(8);
        let pieces = [Bytes::from_static(b"one"), Bytes::from_static(b"two")];
        pieces.iter().for_each(|piece| replay.keep(piece));
        assert!(all(&mut replay).is_empty());
        for _ in 0..2 {
            assert!(replay.rewind());
            assert_eq!(all(&mut replay), pieces);
        }
        // Six bytes are kept; three more exceed the limit of eight.
        replay.keep(&Bytes::from_static(b"six"));
        assert!(!replay.rewind());
        assert!(all(&mut replay).is_empty());
    }

    #[test]
    fn pieces_not_yet_replayed_outlast_the_last_retry() {
        let mut replay = Replay::new(8);
        [Bytes::from_static(b"one"), Bytes::from_static(b"two")].iter().for_each(|piece| replay.keep(piece));
        assert!(replay.rewind());
        assert_eq!(replay.next().unwrap(), "one");
        replay.end();
        assert_eq!(all(&mut replay), ["two"]);
    }
}
