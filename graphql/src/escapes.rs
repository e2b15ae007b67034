//! Resolves escapes of strings that the parser does not know: `\u{1F600}`, and pairs of surrogates such as `\ud83d\ude00`
//! (specification of September 2025, section 2.9.4).
//!
//! The character replaces its escape. Spaces behind the string take the place of what is removed, so that what follows
//! keeps its column.

use std::{borrow::Cow, ops::Range};

use crate::{
    pieces::{Piece, pieces},
    refused::Refused,
};

/// The code units that are one half of a character (Unicode, section 3.8).
const HIGH: Range<u32> = 0xD800..0xDC00;
const LOW: Range<u32> = 0xDC00..0xE000;

/// The document with the escapes that the parser knows. An Err states the place of one that means no character.
pub(crate) fn resolve(document: &str) -> Result<Cow<'_, str>, Refused> {
    if !document.contains("\\u") {
        return Ok(Cow::Borrowed(document));
    }
    let (mut out, mut copied) = (String::new(), 0);
    for (_, range) in pieces(document).filter(|(piece, _)| *piece == Piece::String) {
        let place = |(at, problem): (usize, String)| {
            let (line, column) = position(&document[..range.start + at]);
            Refused::new("GRAPHQL_PARSE_FAILED", format!("line {line}, column {column}: {problem}"))
        };
        let Some(string) = string(&document[range.clone()]).map_err(place)? else { continue };
        out.push_str(&document[copied..range.start]);
        out.push_str(&string);
        copied = range.end;
    }
    if copied == 0 {
        return Ok(Cow::Borrowed(document));
    }
    out.push_str(&document[copied..]);
    Ok(Cow::Owned(out))
}

/// A string with the spaces that follow it; `None`: it stays as it is. An Err states a problem and its byte.
fn string(text: &str) -> Result<Option<String>, (usize, String)> {
    let (mut out, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(found) = text[at..].find('\\') {
        let start = at + found;
        let escape = Escape::read(&text[start..]).map_err(|problem| (start, problem))?;
        at = start + escape.bytes;
        if let Some(character) = escape.replaced {
            out.push_str(&text[copied..start]);
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                other => out.push(other),
            }
            copied = at;
        }
    }
    if copied == 0 {
        return Ok(None);
    }
    out.push_str(&text[copied..]);
    let removed = text.chars().count() - out.chars().count();
    out.extend(std::iter::repeat_n(' ', removed));
    Ok(Some(out))
}

/// An escape.
struct Escape {
    bytes: usize,
    /// `None`: the parser knows the escape, or refuses it.
    replaced: Option<char>,
}

impl Escape {
    /// Reads the escape at the beginning of a text, which is a backslash. An Err states the problem.
    fn read(text: &str) -> Result<Self, String> {
        if let Some(digits) = text.strip_prefix("\\u{") {
            return Self::braced(digits);
        }
        let Some(unit) = unit(text) else {
            let next = text[1..].chars().next().map_or(0, char::len_utf8);
            return Ok(Self { bytes: 1 + next, replaced: None });
        };
        if HIGH.contains(&unit)
            && let Some(low) = self::unit(&text[6..]).filter(|low| LOW.contains(low))
        {
            let scalar = 0x1_0000 + ((unit - HIGH.start) << 10) + (low - LOW.start);
            return Ok(Self { bytes: 12, replaced: char::from_u32(scalar) });
        }
        if char::from_u32(unit).is_none() {
            let problem = format!("`{}` is half of a pair of surrogates; write both, or `\\u{{…}}`", &text[..6]);
            return Err(problem);
        }
        Ok(Self { bytes: 6, replaced: None })
    }

    /// `\u{…}`: `text` follows the bracket.
    fn braced(text: &str) -> Result<Self, String> {
        let digits = text.split_once('}').map_or("", |(digits, _)| digits);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("`\\u{` needs hexadecimal digits and `}`".to_owned());
        }
        let scalar = u32::from_str_radix(digits.trim_start_matches('0'), 16);
        let scalar = if digits.bytes().all(|byte| byte == b'0') { Some(0) } else { scalar.ok() };
        let character = scalar.and_then(char::from_u32);
        let character = character.ok_or("`\\u{…}` is no character: from 0 to D7FF and from E000 to 10FFFF are")?;
        Ok(Self { bytes: 3 + digits.len() + 1, replaced: Some(character) })
    }
}

/// The code unit of `\u` and four digits, at the beginning of a text.
fn unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

/// The line and column behind a text, as the parser counts them.
fn position(before: &str) -> (usize, usize) {
    let line = before.split('\n').count();
    let column = before.rsplit(['\n', '\r']).next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    /// The value of the argument `a` in a document, and the column of what follows.
    fn value(string: &str) -> (String, usize) {
        let document = format!("{{ f(a: {string}) @x }}");
        let resolved = resolve(&document).unwrap_or_else(|refused| panic!("{document}: {}", refused.message));
        let parsed = parse_query(&resolved).unwrap_or_else(|error| panic!("{resolved}: {error}"));
        let (_, operation) = parsed.operations.iter().next().unwrap();
        let async_graphql::parser::types::Selection::Field(field) = &operation.node.selection_set.node.items[0].node
        else {
            panic!("{document}")
        };
        let async_graphql_value::Value::String(value) = &field.node.get_argument("a").unwrap().node else { panic!() };
        (value.clone(), field.node.directives[0].pos.column)
    }

    #[test]
    fn escapes_of_any_character_are_read() {
        for (string, expected) in [
            (r#""\ud83d\ude00""#, "😀"),
            (r#""a\uD83D\uDE00b\u00e4""#, "a😀bä"),
            (r#""\u{1F600}""#, "😀"),
            (r#""\u{0000000000001f600}\u{0}\u{7}""#, "😀\0\u{7}"),
            (r#""\u{22}\u{5c}\u{a}\u{d}\u{5C}u0041""#, "\"\\\n\r\\u0041"),
            (r#""\\ud83d\\u{1F600}""#, r"\ud83d\u{1F600}"),
            (r#""\\\ud83d\ude00\"\u{41}""#, "\\😀\"A"),
            (r#""\u{10FFFF}\u{D7FF}\u{E000}""#, "\u{10FFFF}\u{D7FF}\u{E000}"),
            (r#""""\ud83d \u{1F600}""""#, r"\ud83d \u{1F600}"),
        ] {
            let (is, column) = value(string);
            assert_eq!(is, expected, "{string}");
            assert_eq!(column, 10 + string.chars().count(), "what follows {string} keeps its column");
        }
    }

    #[test]
    fn escape_of_no_character_is_an_error_with_its_place() {
        for (string, problem) in [
            (r#""\ud83d""#, "half of a pair"),
            (r#""\ud83d\u0041""#, "half of a pair"),
            (r#""\ud83d\u{de00}""#, "half of a pair"),
            (r#""\ude00\ud83d""#, "half of a pair"),
            (r#""\u{}""#, "hexadecimal digits"),
            (r#""\u{1F600""#, "hexadecimal digits"),
            (r#""\u{x}""#, "hexadecimal digits"),
            (r#""\u{110000}""#, "no character"),
            (r#""\u{D800}""#, "no character"),
            (r#""\u{FFFFFFFFFFFFFFFFF}""#, "no character"),
        ] {
            let refused = resolve(&format!("{{\n  f(ä: 1, a: \"ü{}", &string[1..])).unwrap_err();
            assert_eq!(refused.code, "GRAPHQL_PARSE_FAILED");
            assert!(refused.message.starts_with("line 2, column 16: "), "{string}: {}", refused.message);
            assert!(refused.message.contains(problem), "{string}: {}", refused.message);
        }
    }

    #[test]
    fn other_documents_stay_as_they_are() {
        for document in
            ["{ f }", r#"{ f(a: "\u00e4\n\\u") }"#, "{ f # \\ud83d\n }", "\"\\u", "\"\\", r#"{ f(a: "\ux") }"#]
        {
            assert!(matches!(resolve(document), Ok(Cow::Borrowed(same)) if same == document), "{document}");
        }
    }
}
