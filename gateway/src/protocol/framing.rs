//! gRPC's message frames, in pieces of any size. [`FrameMeter`] checks them as they pass: it reads the five bytes before
//! each message, and keeps and copies nothing else. [`FrameReader`] takes whole messages out of them.

use bytes::{Bytes, BytesMut};
use tonic::Status;

use super::status::response_malformed;

/// A message that must not pass.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// How many bytes of the piece precede it.
    pub(crate) before: usize,
    pub(crate) why: Why,
}

/// Why a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It is larger than the limit.
    TooLarge,
    /// It has flags other than the compression flag. gRPC-Web marks trailers by a flag: the message could pass for
    /// them.
    Flags,
}

/// The state between two pieces.
#[derive(Debug)]
pub(crate) struct FrameMeter {
    limit: usize,
    /// The flag and length before each message, as far as they have arrived.
    head: [u8; HEAD],
    seen: usize,
    /// How many bytes of the current message are still to come.
    left: usize,
}

/// A byte of flags, and the length in four.
pub(super) const HEAD: usize = 5;
/// The only flag that gRPC defines.
pub(super) const COMPRESSED: u8 = 1;

impl FrameMeter {
    /// Refuses messages of more than `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, head: [0; HEAD], seen: 0, left: 0 }
    }

    /// Checks the next piece. After a refusal, the state is that at the end of the forwarded bytes.
    pub(crate) fn pass(&mut self, piece: &[u8]) -> Result<(), Refused> {
        let mut rest = piece;
        loop {
            if self.left >= rest.len() {
                self.left -= rest.len();
                return Ok(());
            }
            rest = &rest[self.left..];
            self.left = 0;
            let (before, began_before) = (piece.len() - rest.len(), self.seen > 0);
            // Nearly all heads arrive whole, and a piece may hold hundreds of small messages.
            let head = match rest.split_first_chunk() {
                Some((head, after)) if !began_before => {
                    rest = after;
                    *head
                }
                _ => match self.collect_head(&mut rest) {
                    Some(head) => head,
                    None => return Ok(()),
                },
            };
            let (flags, length) = read(head);
            let why = match flags {
                0 | COMPRESSED if length <= self.limit => None,
                0 | COMPRESSED => Some(Why::TooLarge),
                _ => Some(Why::Flags),
            };
            if let Some(why) = why {
                // Some bytes of a head that began in an earlier piece have passed already.
                self.left = if began_before { length.max(1) } else { 0 };
                return Err(Refused { before, why });
            }
            self.left = length;
        }
    }

    /// Joins a head that is split between pieces; returns it once it is complete.
    fn collect_head(&mut self, piece: &mut &[u8]) -> Option<[u8; HEAD]> {
        let (of_head, rest) = piece.split_at((HEAD - self.seen).min(piece.len()));
        self.head[self.seen..self.seen + of_head.len()].copy_from_slice(of_head);
        self.seen = (self.seen + of_head.len()) % HEAD;
        *piece = rest;
        (self.seen == 0).then_some(self.head)
    }

    /// Whether the last message is complete: only here may a success end.
    pub(crate) fn is_whole(&self) -> bool {
        self.seen == 0 && self.left == 0
    }
}

/// Takes whole messages out of frames. The caller bounds their size with a [`FrameMeter`].
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    /// The start of a frame that is not complete.
    partial: BytesMut,
    /// The rest of the last piece. A frame that is complete in it is not copied.
    rest: Bytes,
}

impl FrameReader {
    /// Adds the next piece. All messages of the piece before must have been taken.
    pub(super) fn push(&mut self, piece: Bytes) {
        debug_assert!(self.rest.is_empty(), "messages are left");
        self.rest = piece;
    }

    /// Takes the next whole message, with its flags; `None`: the next piece is needed.
    pub(super) fn next(&mut self) -> Option<(u8, Bytes)> {
        let mut frame = match length(&self.rest).filter(|_| self.partial.is_empty()) {
            Some(length) if length <= self.rest.len() => self.rest.split_to(length),
            _ => {
                // Reserved once, because growing it step by step would take several times as much; and only when more than
                // the first bytes arrive, so that the owner can refuse the frame before: see [`Self::awaited`].
                if let Some(length) = length(&self.partial).filter(|_| !self.rest.is_empty()) {
                    self.partial.reserve(length.saturating_sub(self.partial.len()));
                }
                // The head first: it states how much more belongs to the frame.
                self.take(HEAD);
                self.take(length(&self.partial)?);
                length(&self.partial).filter(|length| *length == self.partial.len())?;
                self.partial.split().freeze()
            }
        };
        let head = frame.split_to(HEAD);
        Some((head[0], frame))
    }

    /// The bytes of the frame that is not complete: as its head states, or as have arrived.
    pub(super) fn awaited(&self) -> usize {
        length(&self.partial).unwrap_or(self.partial.len())
    }

    /// Moves bytes of the piece until the partial frame has `length`.
    fn take(&mut self, length: usize) {
        let missing = length.saturating_sub(self.partial.len());
        self.partial.extend_from_slice(&self.rest.split_to(missing.min(self.rest.len())));
    }
}

/// Refuses a compressed message of a response that must be converted.
pub(super) fn check_flags(flags: u8) -> Result<(), Box<Status>> {
    match flags {
        0 => Ok(()),
        _ => Err(Box::new(response_malformed("a message is compressed, which the request does not allow"))),
    }
}

/// A message in its frame.
pub(crate) fn frame(message: &[u8]) -> Bytes {
    [&head(message.len())[..], message].concat().into()
}

/// The message of a body that is one frame without flags.
pub(crate) fn only_message(body: Bytes) -> Option<Bytes> {
    let mut frames = FrameReader::default();
    let length = body.len();
    frames.push(body);
    let (flags, message) = frames.next()?;
    (flags == 0 && message.len() + HEAD == length).then_some(message)
}

/// The length of the frame that begins here, with its head, once the head is complete.
fn length(frame: &[u8]) -> Option<usize> {
    let (head, _) = frame.split_first_chunk()?;
    Some(HEAD.saturating_add(read(*head).1))
}

/// The head of a frame without flags. Messages are bounded by a limit far below 4 GiB.
pub(super) fn head(length: usize) -> [u8; HEAD] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [0, a, b, c, d]
}

fn read([flags, length @ ..]: [u8; HEAD]) -> (u8, usize) {
    (flags, usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(lengths: &[usize]) -> Vec<u8> {
        let frame =
            |length: &usize| [&[0][..], &u32::try_from(*length).unwrap().to_be_bytes(), &vec![7; *length]].concat();
        lengths.iter().flat_map(frame).collect()
    }

    /// The end of a message is found where it is, and nowhere else, however the bytes are split.
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
            let mut meter = FrameMeter::new(300);
            let mut at = 0;
            for piece in bytes.chunks(size) {
                meter.pass(piece).unwrap();
                at += piece.len();
                assert_eq!(meter.is_whole(), ends.contains(&at), "pieces of {size}, at {at}");
            }
        }
    }

    #[test]
    fn messages_are_whole_however_frames_are_cut() {
        let lengths = [0, 1, 5, 0, 300];
        let bytes = Bytes::from(frames(&lengths));
        for size in 1..=bytes.len() {
            let (mut reader, mut read) = (FrameReader::default(), Vec::new());
            for at in (0..bytes.len()).step_by(size) {
                reader.push(bytes.slice(at..bytes.len().min(at + size)));
                read.extend(std::iter::from_fn(|| reader.next()).map(|(flags, message)| (flags, message.len())));
            }
            assert_eq!(read, lengths.map(|length| (0, length)), "pieces of {size}");
        }
        let mut reader = FrameReader::default();
        reader.push(bytes.clone());
        let (_, message) = std::iter::from_fn(|| reader.next()).last().unwrap();
        assert_eq!(message.as_ptr_range().end, bytes.as_ptr_range().end, "a whole frame is not copied");
    }

    #[test]
    fn memory_of_a_frame_is_reserved_after_its_owner_may_refuse_it() {
        let message = frames(&[1_000_000]);
        let mut reader = FrameReader::default();
        reader.push(Bytes::copy_from_slice(&message[..50]));
        for _ in 0..2 {
            assert_eq!((reader.next(), reader.awaited()), (None, message.len()));
            assert!(reader.partial.capacity() < 1_000, "{}", reader.partial.capacity());
        }
        reader.push(Bytes::copy_from_slice(&message[50..100]));
        assert_eq!(reader.next(), None);
        assert!(reader.partial.capacity() >= message.len(), "reserved once");
    }

    #[test]
    fn a_message_may_be_as_large_as_the_limit() {
        assert_eq!(FrameMeter::new(300).pass(&frames(&[300])), Ok(()));
        // A wrong length is refused before any byte of the message arrives.
        assert_eq!(
            FrameMeter::new(300).pass(&[0, 0xff, 0xff, 0xff, 0xff]),
            Err(Refused { before: 0, why: Why::TooLarge })
        );
    }

    #[test]
    fn a_message_has_no_flag_but_compression() {
        for flags in 0..=u8::MAX {
            let passed = FrameMeter::new(300).pass(&[flags, 0, 0, 0, 0]);
            let refused = Err(Refused { before: 0, why: Why::Flags });
            assert_eq!(passed, if flags <= 1 { Ok(()) } else { refused }, "{flags}");
        }
    }

    #[test]
    fn bytes_before_a_too_large_message_count() {
        let bytes = frames(&[10, 301]);
        for cut in 0..19 {
            let mut meter = FrameMeter::new(300);
            meter.pass(&bytes[..cut]).unwrap();
            let refused = Refused { before: 15_usize.saturating_sub(cut), why: Why::TooLarge };
            assert_eq!(meter.pass(&bytes[cut..]), Err(refused), "{cut}");
            // The valid bytes end at 15; forwarded bytes of the next head cannot be taken back.
            assert_eq!(meter.is_whole(), cut <= 15, "{cut}");
        }
    }
}
