//! Writes strings.

use super::scan;

/// Appends a string in quotes.
#[inline]
pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let length = scan::plain(rest);
        out.extend_from_slice(&rest[..length]);
        let Some(byte) = rest.get(length) else { break };
        put_escape(out, *byte);
        rest = &rest[length + 1..];
    }
    out.push(b'"');
}

#[cold]
fn put_escape(out: &mut Vec<u8>, byte: u8) {
    let letter = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0C => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            const DIGITS: [u8; 16] = *b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
            return;
        }
    };
    out.extend([b'\\', letter]);
}

/// A string in quotes.
pub(crate) fn quote(text: &str) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    put_string(&mut quoted, text);
    quoted
}
