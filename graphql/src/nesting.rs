//! Bounds the nesting of a document before it is parsed: each level uses stack of the parser.

use crate::pieces::{Piece, pieces};

/// The maximum number of open brackets.
pub(crate) const MOST: usize = 64;

/// Whether the brackets of a document are nested too deeply. Brackets in strings and comments do not count.
pub(crate) fn is_too_deep(query: &str) -> bool {
    let mut open = 0_usize;
    pieces(query).any(|(piece, _)| {
        match piece {
            Piece::Other(b'{' | b'[' | b'(') => open += 1,
            Piece::Other(b'}' | b']' | b')') => open = open.saturating_sub(1),
            _ => {}
        }
        open > MOST
    })
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
