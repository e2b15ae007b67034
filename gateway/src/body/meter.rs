//! Counts gRPC's message frames as they pass, in pieces of any size: five bytes of each message are looked at, and
//! nothing is kept or copied.

/// A message that is larger than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// The state between two pieces.
#[derive(Debug)]
pub(crate) struct Meter {
    limit: usize,
    /// The flag and length that stand before each message, as far as they have come.
    head: [u8; HEAD],
    seen: usize,
    /// Of the message that is passing.
    left: usize,
}

/// A flag, and the length in four bytes.
const HEAD: usize = 5;

impl Meter {
    /// Refuses messages of more than `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, head: [0; HEAD], seen: 0, left: 0 }
    }

    /// Takes note of the next piece.
    pub(crate) fn pass(&mut self, mut piece: &[u8]) -> Result<(), TooLarge> {
        loop {
            if self.left >= piece.len() {
                self.left -= piece.len();
                return Ok(());
            }
            piece = &piece[self.left..];
            self.left = 0;
            // Nearly all heads come whole, and a piece may hold hundreds of small messages.
            let head = match piece.split_first_chunk() {
                Some((head, rest)) if self.seen == 0 => {
                    piece = rest;
                    *head
                }
                _ => match self.gather_head(&mut piece) {
                    Some(head) => head,
                    None => return Ok(()),
                },
            };
            self.begin(head)?;
        }
    }

    /// The head that was cut somewhere, once it is whole.
    fn gather_head(&mut self, piece: &mut &[u8]) -> Option<[u8; HEAD]> {
        let (of_head, rest) = piece.split_at((HEAD - self.seen).min(piece.len()));
        self.head[self.seen..self.seen + of_head.len()].copy_from_slice(of_head);
        self.seen = (self.seen + of_head.len()) % HEAD;
        *piece = rest;
        (self.seen == 0).then_some(self.head)
    }

    fn begin(&mut self, [_, length @ ..]: [u8; HEAD]) -> Result<(), TooLarge> {
        self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if self.left > self.limit { Err(TooLarge) } else { Ok(()) }
    }

    /// Whether the last message is whole: only here may a success end.
    pub(crate) fn is_whole(&self) -> bool {
        self.seen == 0 && self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(lengths: &[usize]) -> Vec<u8> {
        let frame =
            |length: &usize| [&[0][..], &u32::try_from(*length).unwrap().to_be_bytes(), &vec![7; *length]].concat();
        lengths.iter().flat_map(frame).collect()
    }

    /// Whatever the cuts, the end of a message is seen where it is, and nowhere else.
    #[test]
    fn frames_may_be_cut_anywhere() {
        let lengths = [0, 1, 5, 0, 300];
        let bytes = frames(&lengths);
        let ends: Vec<usize> = lengths
            .iter()
            .scan(0, |at, length| {
                *at += 5 + length;
                Some(*at)
            })
            .collect();
        for size in 1..bytes.len() {
            let mut meter = Meter::new(300);
            let mut at = 0;
            for piece in bytes.chunks(size) {
                meter.pass(piece).unwrap();
                at += piece.len();
                assert_eq!(meter.is_whole(), ends.contains(&at), "pieces of {size}, at {at}");
            }
        }
    }

    #[test]
    fn a_message_may_be_as_large_as_the_limit() {
        assert_eq!(Meter::new(300).pass(&frames(&[300])), Ok(()));
        assert_eq!(Meter::new(300).pass(&frames(&[10, 301])), Err(TooLarge));
        // A length that lies is refused before a byte of it came.
        assert_eq!(Meter::new(300).pass(&[0, 0xff, 0xff, 0xff, 0xff]), Err(TooLarge));
    }
}
