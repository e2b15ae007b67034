//! JSON text: a reader that finds tokens without building a tree, and a writer of strings.

mod scan;
mod skip;
mod unescape;
mod write;

pub(crate) use scan::is_number;
pub(crate) use write::{put_string, quote};

use std::borrow::Cow;

use scan::LONGEST_NUMBER;

use crate::{
    error::{ErrorKind, Fallible, Fault},
    options::Limits,
};

/// Reads JSON text. RFC 8259, without extensions: no comments, no trailing commas, no byte order mark.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// How deep skipped values may be nested.
    depth: usize,
    /// How many elements and members may still follow.
    elements: usize,
}

impl<'a> Reader<'a> {
    /// Starts to read a text.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are too long or not UTF-8.
    pub(crate) fn new(json: &'a [u8], limits: &Limits) -> Fallible<Self> {
        let longest = limits.usable_input();
        if json.len() > longest {
            let message = format!("the JSON text is longer than {longest} bytes");
            return Err(Fault::new(ErrorKind::TooLong, longest, message));
        }
        if json.starts_with(b"\xEF\xBB\xBF") {
            return Err(Fault::new(ErrorKind::Syntax, 0, "the JSON text starts with a byte order mark: remove it"));
        }
        let text = std::str::from_utf8(json)
            .map_err(|e| Fault::new(ErrorKind::Syntax, e.valid_up_to(), "the JSON text is not valid UTF-8"))?;
        Ok(Self { text, at: 0, depth: limits.usable_depth(), elements: limits.elements })
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Goes back to an earlier position.
    pub(crate) fn rewind(&mut self, position: usize) {
        self.at = position;
    }

    /// The next byte after white space, or 0 at the end.
    #[inline]
    pub(crate) fn peek(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return *byte;
            }
            self.at += 1;
        }
        0
    }

    /// Takes the next byte if it is `byte`.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        if found {
            self.at += 1;
        }
        found
    }

    /// Takes `byte`, or fails with what was expected.
    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, expected: &str) -> Fallible<()> {
        if self.take(byte) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    /// Fails unless only white space is left.
    pub(crate) fn end(&mut self) -> Fallible<()> {
        if self.peek() == 0 && self.at == self.text.len() {
            Ok(())
        } else {
            Err(self.syntax("bytes follow the JSON value: send one value only"))
        }
    }

    /// Moves to the next element of an array; false at its end. `is_first` is true before the first one.
    #[inline]
    pub(crate) fn next_element(&mut self, is_first: bool) -> Fallible<bool> {
        self.next_item(is_first, b']', "',' or ']'")
    }

    /// Moves to the next member of an object; false at its end. `is_first` is true before the first one.
    #[inline]
    pub(crate) fn next_member(&mut self, is_first: bool) -> Fallible<bool> {
        self.next_item(is_first, b'}', "',' or '}'")
    }

    #[inline]
    fn next_item(&mut self, is_first: bool, close: u8, expected: &str) -> Fallible<bool> {
        match self.peek() {
            byte if byte == close => {
                self.at += 1;
                return Ok(false);
            }
            b',' if !is_first => {
                self.at += 1;
                if self.peek() == close {
                    return Err(self.syntax("a comma precedes the closing bracket: remove it"));
                }
            }
            _ if is_first => {}
            _ => return Err(self.unexpected(expected)),
        }
        match self.elements.checked_sub(1) {
            Some(left) => self.elements = left,
            None => return Err(Fault::new(ErrorKind::Limit, self.at, "the message has too many elements and members")),
        }
        Ok(true)
    }

    /// The key of a member, with the colon behind it.
    #[inline]
    pub(crate) fn key(&mut self) -> Fallible<Cow<'a, str>> {
        if self.peek() != b'"' {
            return Err(self.unexpected("a member name in double quotes"));
        }
        let key = self.string()?;
        self.expect(b':', "':'")?;
        Ok(key)
    }

    /// A string.
    #[inline]
    pub(crate) fn string(&mut self) -> Fallible<Cow<'a, str>> {
        match self.plain_string()? {
            Some(text) => Ok(Cow::Borrowed(text)),
            None => {
                let mut decoded = Vec::new();
                self.unescape_into(&mut decoded)?;
                // The text is UTF-8, and escapes yield whole characters.
                String::from_utf8(decoded).map(Cow::Owned).map_err(|_| self.syntax("the string is not valid UTF-8"))
            }
        }
    }

    /// A string without escapes. With escapes, `None`; the reader then stands at the string's opening quote.
    #[inline]
    pub(crate) fn plain_string(&mut self) -> Fallible<Option<&'a str>> {
        if self.peek() != b'"' {
            return Err(self.unexpected("a string"));
        }
        let start = self.at + 1;
        let end = start + scan::plain(&self.text.as_bytes()[start..]);
        match self.text.as_bytes().get(end) {
            Some(b'"') => {
                self.at = end + 1;
                Ok(Some(&self.text[start..end]))
            }
            Some(b'\\') => Ok(None),
            Some(_) => Err(Fault::new(ErrorKind::Syntax, end, "a string contains a control character: escape it")),
            None => Err(Fault::new(ErrorKind::Syntax, self.at, "a string has no end")),
        }
    }

    /// A number, as its text. It follows the grammar of JSON.
    #[inline]
    pub(crate) fn number(&mut self) -> Fallible<&'a str> {
        self.peek();
        let start = self.at;
        let length = scan::number(&self.text.as_bytes()[start..]).ok_or_else(|| self.unexpected("a number"))?;
        if length > LONGEST_NUMBER {
            let message = format!("a number is longer than {LONGEST_NUMBER} characters");
            return Err(Fault::new(ErrorKind::Limit, start, message));
        }
        self.at += length;
        Ok(&self.text[start..self.at])
    }

    /// A short integer, in quotes or not: its sign and magnitude. `None` for everything else; the reader then stands where
    /// it was.
    #[inline(always)]
    pub(crate) fn short_integer(&mut self) -> Option<(bool, u64)> {
        let rest = &self.text.as_bytes()[self.at..];
        let quote = usize::from(rest.first() == Some(&b'"'));
        let sign = usize::from(rest.get(quote) == Some(&b'-'));
        let (value, digits) = scan::short_integer(&rest[quote + sign..])?;
        let end = quote + sign + digits;
        let behind = rest.get(end);
        let ends = if quote == 1 { behind == Some(&b'"') } else { !matches!(behind, Some(b'.' | b'e' | b'E')) };
        if !ends {
            return None;
        }
        self.at += end + quote;
        Some((sign == 1, value))
    }

    /// A short decimal. `None` for everything else; the reader then stands where it was.
    #[inline]
    pub(crate) fn short_decimal(&mut self) -> Option<f64> {
        let (value, length) = scan::short_decimal(&self.text.as_bytes()[self.at..])?;
        self.at += length;
        Some(value)
    }

    /// Takes `true`, `false` or `null`.
    pub(crate) fn literal(&mut self, literal: &str) -> Fallible<()> {
        self.peek();
        let rest = &self.text.as_bytes()[self.at..];
        let follows = rest.get(literal.len()).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        if !rest.starts_with(literal.as_bytes()) || follows {
            return Err(self.unexpected(literal));
        }
        self.at += literal.len();
        Ok(())
    }

    /// An error at the next token: it is something else than expected. A value of another type is an error of the value,
    /// not of the syntax.
    #[cold]
    pub(crate) fn unexpected(&mut self, expected: &str) -> Box<Fault> {
        let (kind, found) = match self.peek() {
            0 if self.at == self.text.len() => (ErrorKind::Syntax, "the end of the text"),
            b'{' => (ErrorKind::Value, "an object"),
            b'[' => (ErrorKind::Value, "an array"),
            b'"' => (ErrorKind::Value, "a string"),
            b't' | b'f' if self.starts_with_one_of(&["true", "false"]) => (ErrorKind::Value, "a boolean"),
            b'n' if self.starts_with_one_of(&["null"]) => (ErrorKind::Value, "null"),
            b'-' | b'0'..=b'9' => (ErrorKind::Value, "a number"),
            _ => (ErrorKind::Syntax, "an unexpected character"),
        };
        Fault::new(kind, self.at, format!("expected {expected}, found {found}"))
    }

    fn starts_with_one_of(&self, literals: &[&str]) -> bool {
        literals.iter().any(|literal| self.text[self.at..].starts_with(literal))
    }

    #[cold]
    pub(crate) fn syntax(&self, message: &str) -> Box<Fault> {
        Fault::new(ErrorKind::Syntax, self.at, message)
    }
}
