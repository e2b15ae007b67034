//! Bounds the nesting of a document before it is parsed: each level uses stack of the parser.

/// The maximum number of open brackets.
pub(crate) const MOST: usize = 64;

/// Whether the brackets of a document are nested too deeply. Brackets in strings and comments do not count.
pub(crate) fn is_too_deep(query: &str) -> bool {
    let mut rest = query.as_bytes();
    let mut open = 0_usize;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'{' | b'[' | b'(' => open += 1,
            b'}' | b']' | b')' => open = open.saturating_sub(1),
            b'#' => rest = after_line(after),
            b'"' => rest = after_string(after),
            _ => {}
        }
        if open > MOST {
            return true;
        }
    }
    false
}

fn after_line(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(text.len());
    &text[end..]
}

/// What follows a string whose first quote precedes `text`.
fn after_string(text: &[u8]) -> &[u8] {
    let is_block = text.starts_with(b"\"\"");
    let (end, mut rest): (&[u8], _) = if is_block { (b"\"\"\"", &text[2..]) } else { (b"\"", text) };
    loop {
        if rest.is_empty() || rest.starts_with(end) {
            return rest.get(end.len()..).unwrap_or_default();
        }
        let is_escape = if is_block { rest.starts_with(b"\\\"\"\"") } else { rest.starts_with(b"\\") };
        let length = if !is_escape {
            1
        } else if is_block {
            4
        } else {
            2
        };
        rest = rest.get(length..).unwrap_or_default();
        // A line break ends a string that is not closed.
        if !is_block && rest.starts_with(b"\n") {
            return rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_and_comments_do_not_count() {
        let deep = "[".repeat(MOST);
        assert!(!is_too_deep(&deep));
        assert!(is_too_deep(&format!("{{{deep}")));
        for text in [
            format!("{{ a(b: \"{deep}\") #{deep}\n {deep}"),
            format!("\"\"\"{deep}\\\"\"\" \" {deep}\"\"\"{deep}"),
            format!("\"\\\"{deep}\"{deep}"),
            format!("\"\"{deep}"),
            format!("{deep}{}{deep}", "]".repeat(MOST)),
        ] {
            assert!(!is_too_deep(&text.replacen('{', "", 1).replacen('(', "", 1)), "{text}");
        }
        assert!(is_too_deep(&format!("\"\" {{{deep}")));
        assert!(is_too_deep(&format!("\"\"\"a\"\"\" {{{deep}")));
        assert!(is_too_deep(&format!("\"a\n{{{deep}")));
    }
}
