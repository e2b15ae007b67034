//! An incremental parser of gRPC's framing. It counts messages and keeps trailer frames, but buffers no messages.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::Dialect;

/// The first bytes of a message, into which [`crate::echo`] writes the send time.
pub(super) type Stamp = [u8; 8];

/// The state of a body.
#[derive(Default)]
pub(super) struct Frames {
    /// The incomplete group of a body in base64. `None`: the body is binary.
    text: Option<Vec<u8>>,
    head: [u8; 5],
    head_length: usize,
    /// The missing bytes of the current frame.
    left: usize,
    stamp: Stamp,
    stamped: usize,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    trailers: Vec<u8>,
}

impl Frames {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { text: (dialect == Dialect::WebText).then(Vec::new), ..Self::default() }
    }

    /// Parses the next bytes. Calls `on_message` for each message that they complete.
    pub(super) fn feed(&mut self, piece: &[u8], on_message: &mut impl FnMut(Stamp)) -> Result<(), String> {
        let Some(text) = &mut self.text else {
            self.feed_binary(piece, on_message);
            return Ok(());
        };
        text.extend_from_slice(piece);
        let whole = text.len() / 4 * 4;
        let binary = decode(&text[..whole])?;
        text.drain(..whole);
        self.feed_binary(&binary, on_message);
        Ok(())
    }

    fn feed_binary(&mut self, mut piece: &[u8], on_message: &mut impl FnMut(Stamp)) {
        while !piece.is_empty() {
            if self.head_length < self.head.len() {
                piece = self.feed_head(piece);
                if self.head_length < self.head.len() || self.left > 0 {
                    continue;
                }
            } else {
                piece = self.feed_content(piece);
            }
            if self.left == 0 {
                self.end_frame(on_message);
            }
        }
    }

    fn feed_head<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        let (taken, rest) = piece.split_at(piece.len().min(self.head.len() - self.head_length));
        self.head[self.head_length..][..taken.len()].copy_from_slice(taken);
        self.head_length += taken.len();
        if let [_, length @ ..] = self.head
            && self.head_length == self.head.len()
        {
            self.left = u32::from_be_bytes(length) as usize;
            (self.stamp, self.stamped) = (Stamp::default(), 0);
        }
        rest
    }

    fn feed_content<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        let (taken, rest) = piece.split_at(piece.len().min(self.left));
        self.left -= taken.len();
        if self.is_trailers() {
            self.trailers.extend_from_slice(taken);
        } else {
            self.bytes += taken.len() as u64;
            let start = taken.len().min(self.stamp.len() - self.stamped);
            self.stamp[self.stamped..][..start].copy_from_slice(&taken[..start]);
            self.stamped += start;
        }
        rest
    }

    fn end_frame(&mut self, on_message: &mut impl FnMut(Stamp)) {
        if !self.is_trailers() {
            self.messages += 1;
            on_message(self.stamp);
        }
        self.head_length = 0;
    }

    fn is_trailers(&self) -> bool {
        self.head[0] & 0x80 != 0
    }

    /// Whether the body may end here.
    pub(super) fn is_whole(&self) -> bool {
        self.head_length == 0 && self.text.as_ref().is_none_or(Vec::is_empty)
    }

    /// The status in the trailer frame.
    pub(super) fn status(&self) -> Option<u32> {
        let text = std::str::from_utf8(&self.trailers).ok()?;
        let value = |line: &str| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("grpc-status").then(|| value.trim().parse().ok())?
        };
        text.split("\r\n").find_map(value)
    }
}

/// Decodes base64 of whole groups. Padding may stand inside, at the end of each encoded part.
fn decode(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut binary = Vec::with_capacity(text.len() / 4 * 3);
    let mut rest = text;
    while !rest.is_empty() {
        let padding = rest.iter().position(|byte| *byte == b'=');
        let (part, later) = rest.split_at(padding.map_or(rest.len(), |at| (at / 4 + 1) * 4));
        STANDARD.decode_vec(part, &mut binary).map_err(|e| format!("the body is not base64: {e}"))?;
        rest = later;
    }
    Ok(binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"\x00\x00\x00\x00\x0aABCDEFGHIJ\x00\x00\x00\x00\x00\x80\x00\x00\x00\x10grpc-status: 0\r\n";

    #[test]
    fn frames_are_parsed_from_pieces_of_any_size() {
        for size in 1..=BODY.len() {
            let mut frames = Frames::default();
            let mut stamps = Vec::new();
            for piece in BODY.chunks(size) {
                frames.feed(piece, &mut |stamp| stamps.push(stamp)).expect("binary");
            }
            assert_eq!((frames.messages, frames.bytes, frames.status()), (2, 10, Some(0)), "pieces of {size}");
            assert_eq!(stamps, [*b"ABCDEFGH", [0; 8]]);
            assert!(frames.is_whole());
        }
    }

    #[test]
    fn text_is_parsed_from_pieces_of_any_size() {
        let (message, trailers) = BODY.split_at(BODY.len() - 21);
        let text = STANDARD.encode(message) + &STANDARD.encode(trailers);
        for size in 1..=text.len() {
            let mut frames = Frames::new(Dialect::WebText);
            for piece in text.as_bytes().chunks(size) {
                frames.feed(piece, &mut |_| {}).expect("base64");
            }
            assert_eq!((frames.messages, frames.bytes, frames.status()), (2, 10, Some(0)), "pieces of {size}");
            assert!(frames.is_whole());
        }
    }

    #[test]
    fn truncated_body_is_not_whole() {
        for cut in [3, 8, BODY.len() - 1] {
            let mut frames = Frames::default();
            frames.feed(&BODY[..cut], &mut |_| {}).expect("binary");
            assert!(!frames.is_whole(), "{cut}");
        }
    }
}
