//! Strings with escapes.

use super::{Reader, scan};
use crate::error::{ErrorKind, Fallible, Fault};

impl Reader<'_> {
    /// Appends the string at the reader's position, without its quotes and escapes.
    pub(crate) fn unescape_into(&mut self, out: &mut Vec<u8>) -> Fallible<()> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        loop {
            let end = at + scan::plain(&bytes[at..]);
            out.extend_from_slice(&bytes[at..end]);
            match bytes.get(end) {
                Some(b'"') => {
                    self.at = end + 1;
                    return Ok(());
                }
                Some(b'\\') => at = self.escape(end, out)?,
                Some(_) => {
                    return Err(Fault::new(ErrorKind::Syntax, end, "a string contains a control character: escape it"));
                }
                None => return Err(Fault::new(ErrorKind::Syntax, start, "a string has no end")),
            }
        }
    }

    /// Appends the character of the escape at `at`, and returns the position behind it.
    fn escape(&self, at: usize, out: &mut Vec<u8>) -> Fallible<usize> {
        let bytes = self.text.as_bytes();
        let byte = match bytes.get(at + 1) {
            Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0C,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let (character, behind) = self.unicode(at)?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(behind);
            }
            _ => return Err(Fault::new(ErrorKind::Syntax, at, "a string contains an unknown escape")),
        };
        out.push(byte);
        Ok(at + 2)
    }

    /// The character of `\uXXXX`, or of two of them for a surrogate pair, and the position behind it.
    fn unicode(&self, at: usize) -> Fallible<(char, usize)> {
        let lone = || Fault::new(ErrorKind::Syntax, at, "a string contains half of a surrogate pair");
        let first = self.hex(at)?;
        if !(0xD800..0xE000).contains(&first) {
            return char::from_u32(first).map(|character| (character, at + 6)).ok_or_else(lone);
        }
        let follows = self.text.as_bytes()[at + 6..].starts_with(b"\\u");
        let second = if first < 0xDC00 && follows { self.hex(at + 6)? } else { return Err(lone()) };
        let low = second.checked_sub(0xDC00).filter(|low| *low < 0x400).ok_or_else(lone)?;
        let character = char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + low).ok_or_else(lone)?;
        Ok((character, at + 12))
    }

    /// The number of the `\uXXXX` at `at`.
    fn hex(&self, at: usize) -> Fallible<u32> {
        let digits = self.text.as_bytes().get(at + 2..at + 6);
        let number = digits.and_then(|digits| {
            digits.iter().try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
        });
        number.ok_or_else(|| Fault::new(ErrorKind::Syntax, at, "a string contains a \\u without four hex digits"))
    }
}
