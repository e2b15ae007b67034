//! Percent-decoding (RFC 3986, section 2.1). Malformed input is an error, never passed through.

use std::{borrow::Cow, fmt};

/// The characters that a decoder treats specially.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Decodes everything: a variable of one segment, or a literal.
    Segment,
    /// Leaves `%2F` as it is: a variable of several segments, where `/` separates them.
    Segments,
    /// Decodes everything, and `+` as a space: a part of a query string.
    Query,
}

/// Why a text has no decoded form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// A `%` without two hexadecimal digits.
    Escape,
    /// The decoded bytes are not UTF-8.
    Utf8,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Escape => "a `%` has no two hexadecimal digits after it: encode a percent sign as `%25`",
            Self::Utf8 => "it is not UTF-8 after percent-decoding",
        })
    }
}

/// Decodes `text`. Copies it only if it has something to decode.
pub(super) fn decode(text: &str, mode: Mode) -> Result<Cow<'_, str>, Malformed> {
    let special = |byte: u8| byte == b'%' || (byte == b'+' && mode == Mode::Query);
    let Some(first) = text.bytes().position(special) else { return Ok(Cow::Borrowed(text)) };
    let (plain, rest) = text.as_bytes().split_at(first);
    let mut decoded = Vec::with_capacity(text.len());
    decoded.extend_from_slice(plain);
    let mut rest = rest.iter().copied();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => escape(&mut rest, mode, &mut decoded)?,
            b'+' if mode == Mode::Query => decoded.push(b' '),
            other => decoded.push(other),
        }
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| Malformed::Utf8)
}

/// Decodes the two digits after a `%`.
fn escape(rest: &mut impl Iterator<Item = u8>, mode: Mode, decoded: &mut Vec<u8>) -> Result<(), Malformed> {
    let (Some(high), Some(low)) = (rest.next(), rest.next()) else { return Err(Malformed::Escape) };
    let byte = digit(high)? << 4 | digit(low)?;
    if byte == b'/' && mode == Mode::Segments {
        decoded.extend_from_slice(&[b'%', high, low]);
    } else {
        decoded.push(byte);
    }
    Ok(())
}

fn digit(byte: u8) -> Result<u8, Malformed> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(Malformed::Escape),
    }
}

/// Encodes all characters except those that RFC 3986 leaves unreserved, and `/` if `mode` is [`Mode::Segments`].
#[cfg(test)]
pub(super) fn encode(text: &str, mode: Mode) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte as char),
            b'/' if mode == Mode::Segments => encoded.push('/'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_decodes_what_it_should() {
        for (text, segment, segments, query) in [
            ("plain", "plain", "plain", "plain"),
            ("a%20b", "a b", "a b", "a b"),
            ("a+b", "a+b", "a+b", "a b"),
            ("a%2Bb", "a+b", "a+b", "a+b"),
            ("a%2Fb%2fc", "a/b/c", "a%2Fb%2fc", "a/b/c"),
            ("a%252Fb", "a%2Fb", "a%2Fb", "a%2Fb"),
            ("%00", "\0", "\0", "\0"),
            ("%E2%82%AC", "€", "€", "€"),
            ("€%20", "€ ", "€ ", "€ "),
            ("", "", "", ""),
        ] {
            assert_eq!(decode(text, Mode::Segment).as_deref(), Ok(segment), "{text}");
            assert_eq!(decode(text, Mode::Segments).as_deref(), Ok(segments), "{text}");
            assert_eq!(decode(text, Mode::Query).as_deref(), Ok(query), "{text}");
        }
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in ["%", "%4", "a%", "%zz", "%G0", "%0G", "%+1", "% 1", "%%41", "%u0041"] {
            assert_eq!(decode(text, Mode::Segment), Err(Malformed::Escape), "{text}");
        }
        // A lone continuation byte, overlong encodings of `/` and NUL, a surrogate, a code point past the last one, and
        // a truncated sequence.
        for text in ["%80", "%C0%AF", "%E0%80%AF", "%C0%80", "%ED%A0%80", "%F4%90%80%80", "%E2%82"] {
            assert_eq!(decode(text, Mode::Query), Err(Malformed::Utf8), "{text}");
        }
    }

    #[test]
    fn plain_text_is_not_copied() {
        assert!(matches!(decode("a-b_c", Mode::Segment), Ok(Cow::Borrowed("a-b_c"))));
    }
}
