//! Dotted keys, as in TOML: a part with other characters than letters, digits, `_` and `-` is in quotes. [`parts`] reads
//! what [`quoted`] writes.

use std::fmt::Write as _;

use serde_path_to_error::{Path, Segment};
use toml::{Table, Value};

/// A part of a key, as TOML writes it. Names that the operator chooses may have dots.
pub fn quoted(part: &str) -> String {
    if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) {
        return part.to_owned();
    }
    let mut text = String::from('"');
    for c in part.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            // Writing to a string cannot fail.
            _ if c.is_control() => write!(text, "\\u{:04x}", u32::from(c)).unwrap_or_default(),
            _ => text.push(c),
        }
    }
    text.push('"');
    text
}

/// The parts of a dotted key. The error is a sentence without the key.
pub(super) fn parts(key: &str) -> Result<Vec<String>, String> {
    let (mut parts, mut rest) = (Vec::new(), key);
    loop {
        let after = if rest.starts_with(QUOTES) {
            let length = quoted_length(rest).ok_or("a quotation mark has no partner")?;
            parts.push(unquoted(&rest[..length])?);
            &rest[length..]
        } else {
            let length = rest.find('.').unwrap_or(rest.len());
            parts.push(rest[..length].to_owned());
            &rest[length..]
        };
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(parts),
            None => return Err(format!("expected a dot before {after}")),
        }
    }
}

/// The marks around a part in quotes. Only the first kind has escapes.
pub(super) const QUOTES: [char; 2] = ['"', '\''];

/// The length of the part in quotes with which `text` begins. `None`: its quotation mark has no partner.
pub(super) fn quoted_length(text: &str) -> Option<usize> {
    let (mut characters, mut is_escaped) = (text.char_indices(), false);
    let (_, quote) = characters.next()?;
    for (at, c) in characters {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if quote == '"' => is_escaped = true,
            _ if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The text of a part in quotes.
fn unquoted(part: &str) -> Result<String, String> {
    match format!("part = {part}").parse::<Table>().ok().and_then(|mut table| table.remove("part")) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(format!("{part} is not a string of TOML; write \\ as \\\\")),
    }
}

/// The key of a place in a configuration.
pub(super) fn of(path: &Path) -> String {
    let mut key = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Map { key: part } => {
                let dot = if key.is_empty() { "" } else { "." };
                key += &format!("{dot}{}", quoted(part));
            }
            Segment::Seq { index } => key += &format!("[{index}]"),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_with_dots_are_in_quotes() {
        for (key, expected) in [
            ("a", &["a"][..]),
            ("a.b-c", &["a", "b-c"]),
            (r#"gateway.external."acme.shop".to"#, &["gateway", "external", "acme.shop", "to"]),
            ("'a.b'", &["a.b"]),
        ] {
            assert_eq!(parts(key).unwrap(), expected, "{key}");
        }
        for wrong in [r#"a."b.c"#, r#"a."b"c"#, r#"a."b\"#, r#"a."b\x""#, "a.'b"] {
            assert!(parts(wrong).is_err(), "{wrong}");
        }
        assert_eq!(["acme", "acme.shop", "a\"b", ""].map(quoted), ["acme", "\"acme.shop\"", "\"a\\\"b\"", "\"\""]);
    }

    /// All texts of up to three of the characters that keys treat differently.
    fn texts() -> Vec<String> {
        const CHARACTERS: [char; 14] =
            ['a', 'Z', '0', '_', '-', '.', '"', '\'', '\\', '=', '\n', '\u{7f}', '\u{301}', '🦊'];
        let longer = |text: &String| CHARACTERS.map(|c| format!("{text}{c}"));
        let mut all = vec![String::new()];
        let mut begin = 0;
        for _ in 0..3 {
            let more: Vec<_> = all[begin..].iter().flat_map(longer).collect();
            begin = all.len();
            all.extend(more);
        }
        all
    }

    #[test]
    fn quoted_parts_are_read_as_they_were() {
        let all = texts();
        for (at, part) in all.iter().enumerate() {
            let other = &all[at * 31 % all.len()];
            let key = format!("{}.{}", quoted(part), quoted(other));
            assert_eq!(parts(&key).unwrap(), [part.as_str(), other], "{key}");
            // As TOML itself reads it.
            let table: Table = format!("{key} = 1").parse().unwrap();
            assert_eq!(table[part][other], Value::Integer(1), "{key}");
            assert_eq!(crate::config::split_flag(&format!("{key}=\"=")), Some((key.as_str(), "\"=")));
        }
        assert!(all.len() > 2_000);
    }
}
