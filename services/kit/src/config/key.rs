//! Dotted keys, as in TOML: a part with other characters than letters, digits, `_` and `-` is in quotes.

use serde_path_to_error::{Path, Segment};

/// A part of a key, as TOML writes it. Names that the operator chooses may have dots.
pub fn quoted(part: &str) -> String {
    let is_bare = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_bare { part.to_owned() } else { format!("{part:?}") }
}

/// The parts of a dotted key. The error is a sentence without the key.
pub(super) fn parts(key: &str) -> Result<Vec<String>, String> {
    let (mut parts, mut rest) = (Vec::new(), key);
    loop {
        let quote = rest.chars().next().filter(|first| ['"', '\''].contains(first));
        let (part, after) = match quote {
            Some(quote) => rest[1..].split_once(quote).ok_or("a quotation mark has no partner")?,
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        parts.push(part.to_owned());
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(parts),
            None => return Err(format!("expected a dot before {after}")),
        }
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
        assert!(parts(r#"a."b.c"#).is_err() && parts(r#"a."b"c"#).is_err());
        assert_eq!(["acme", "acme.shop", "a\"b", ""].map(quoted), ["acme", "\"acme.shop\"", "\"a\\\"b\"", "\"\""]);
    }
}
