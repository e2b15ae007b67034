//! Base64 as gRPC-Web's text form uses it: a sequence of segments, each with its own padding.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};

/// Encodes one segment.
pub(crate) fn encode(bytes: &[u8]) -> Bytes {
    Bytes::from(STANDARD.encode(bytes))
}

/// The text is not base64.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Decodes a text that arrives in pieces of any size.
#[derive(Default)]
pub(crate) struct Decoder {
    /// Characters that do not complete a group of four yet.
    rest: BytesMut,
}

impl Decoder {
    /// Decodes all groups that are complete.
    pub(crate) fn decode(&mut self, piece: &[u8]) -> Result<Bytes, Malformed> {
        self.rest.extend_from_slice(piece);
        let whole = self.rest.split_to(self.rest.len() / 4 * 4);
        let mut decoded = BytesMut::with_capacity(whole.len() / 4 * 3);
        // A segment ends with the group that is padded; most texts are one segment.
        let mut segments = &whole[..];
        while !segments.is_empty() {
            let end = segments.iter().position(|b| *b == b'=').map_or(segments.len(), |at| (at / 4 + 1) * 4);
            let (segment, others) = segments.split_at(end);
            decoded.extend_from_slice(&STANDARD.decode(segment).map_err(|_| Malformed)?);
            segments = others;
        }
        Ok(decoded.freeze())
    }

    /// Checks at the end of the text that no characters are left.
    pub(crate) fn finish(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any split of any sequence of segments decodes to the same bytes.
    #[test]
    fn segments_may_be_cut_anywhere() {
        let plain: Vec<u8> = (0..=255).collect();
        let segments = [&plain[..1], &plain[1..3], &plain[3..6], &plain[6..200], &plain[200..]];
        let text: Vec<u8> = segments.iter().flat_map(|s| encode(s)).collect();
        for size in 1..text.len() {
            let mut decoder = Decoder::default();
            let decoded: Vec<u8> = text.chunks(size).flat_map(|piece| decoder.decode(piece).unwrap()).collect();
            assert_eq!(decoded, plain, "pieces of {size}");
            assert_eq!(decoder.finish(), Ok(()));
        }
    }

    #[test]
    fn a_text_that_is_not_base64_is_refused() {
        for bad in ["a$b=", "====", "=abc", "ab=c", "QQ==QQ=a"] {
            assert_eq!(Decoder::default().decode(bad.as_bytes()), Err(Malformed), "{bad}");
        }
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(b"QUFBQQ").unwrap(), "AAA");
        assert_eq!(decoder.finish(), Err(Malformed));
    }
}
