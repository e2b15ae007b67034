//! Finds the strings and comments of a document before it is parsed. Brackets and quotes in them mean nothing.

use std::{iter, ops::Range};

/// A part of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Up to the end of its line.
    Comment,
    /// A string between three quotes. It has no escapes but `\"""`.
    BlockString,
    /// A string between quotes. One that is not closed ends with its line.
    String,
    /// A byte of anything else.
    Other(u8),
}

/// The pieces of a document, in order, with their bytes.
pub(crate) fn pieces(document: &str) -> impl Iterator<Item = (Piece, Range<usize>)> {
    let bytes = document.as_bytes();
    let mut at = 0;
    iter::from_fn(move || {
        let (&first, after) = bytes.get(at..)?.split_first()?;
        let (piece, rest) = match first {
            b'#' => (Piece::Comment, after_line(after)),
            b'"' if after.starts_with(b"\"\"") => (Piece::BlockString, after_block(&after[2..])),
            b'"' => (Piece::String, after_string(after)),
            other => (Piece::Other(other), after),
        };
        let start = std::mem::replace(&mut at, bytes.len() - rest.len());
        Some((piece, start..at))
    })
}

fn after_line(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(text.len());
    &text[end..]
}

/// What follows a string whose first quote precedes `text`.
fn after_string(mut text: &[u8]) -> &[u8] {
    loop {
        match text {
            [] | [b'\n' | b'\r', ..] => return text,
            [b'"', rest @ ..] => return rest,
            // A line break ends the string also behind a backslash.
            [b'\\', b'"' | b'\\', rest @ ..] | [_, rest @ ..] => text = rest,
        }
    }
}

/// What follows a string whose first three quotes precede `text`.
fn after_block(mut text: &[u8]) -> &[u8] {
    loop {
        match text {
            [] => return text,
            [b'"', b'"', b'"', rest @ ..] => return rest,
            [b'\\', b'"', b'"', b'"', rest @ ..] | [_, rest @ ..] => text = rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_comments_are_pieces() {
        let document = "a#\"b\r\"c\\\"d\\\\\"\"\"\"e\"\\\"\"\" f\"\"\"\"\"\"\"g";
        let found: Vec<_> = pieces(document).map(|(piece, range)| (piece, &document[range])).collect();
        let expected = [
            (Piece::Other(b'a'), "a"),
            (Piece::Comment, "#\"b"),
            (Piece::Other(b'\r'), "\r"),
            (Piece::String, "\"c\\\"d\\\\\""),
            (Piece::BlockString, "\"\"\"e\"\\\"\"\" f\"\"\""),
            (Piece::BlockString, "\"\"\"\"g"),
        ];
        assert_eq!(found, expected);
        let cut: Vec<_> = pieces("\"a\\\n\"").map(|(piece, _)| piece).collect();
        assert_eq!(cut, [Piece::String, Piece::Other(b'\n'), Piece::String]);
    }
}
