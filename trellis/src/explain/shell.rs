//! Text in a POSIX shell.

/// The text as one word.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Joins the arguments of a command, and breaks the line before those that begin with an option.
pub(super) fn command(arguments: &[String]) -> String {
    let mut text = String::new();
    for argument in arguments {
        if !text.is_empty() {
            text.push_str(if argument.starts_with('-') { " \\\n  " } else { " " });
        }
        text.push_str(argument);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_is_one_word() {
        assert_eq!(quoted(r#"{"a": "$b"}"#), r#"'{"a": "$b"}'"#);
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
