//! Parses documents.

use async_graphql::parser::{Error, parse_query, types::ExecutableDocument};
use transcode::shorten;

use crate::{escapes, nesting, refused::Refused};

/// The code of a document that cannot be parsed.
const CODE: &str = "GRAPHQL_PARSE_FAILED";

/// Parses a document.
pub(crate) fn document(text: &str) -> Result<ExecutableDocument, Refused> {
    if nesting::is_too_deep(text) {
        let message = format!("the document is nested in more than {} levels", nesting::MOST);
        return Err(Refused::new(CODE, message));
    }
    parse_query(escapes::resolve(text)?).map_err(|error| Refused::new(CODE, describe(&error)))
}

/// The place of an error, and what the parser expects there. The parser's own text repeats the whole line.
fn describe(error: &Error) -> String {
    let problem = match error {
        Error::Syntax { message, .. } => {
            let expected = message.lines().last().and_then(|line| line.trim_start().strip_prefix("= "));
            format!("syntax error: {}", expected.unwrap_or("the document cannot be read"))
        }
        Error::OperationDuplicated { operation: name, .. } => {
            format!("the operation `{}` is defined twice", shorten(name))
        }
        Error::FragmentDuplicated { fragment: name, .. } => {
            format!("the fragment `{}` is defined twice", shorten(name))
        }
        other => other.to_string(),
    };
    match error.positions().next() {
        Some(place) => format!("line {}, column {}: {problem}", place.line, place.column),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_state_their_place_and_repeat_no_line() {
        let long = "a".repeat(5_000);
        for (text, expected) in [
            (format!("{{ {long}(: 1) }}"), "line 1, column 5004: syntax error: expected name"),
            ("{".to_owned(), "line 1, column 2: syntax error: expected selection"),
            (format!("query {long} {{ a }}\nquery {long} {{ a }}"), "line 2, column 1: the operation `aaaa"),
            (
                format!("{{ a }} fragment {long} on A {{ a }} fragment {long} on A {{ a }}"),
                "line 1, column 5028: the fragment `aaaa",
            ),
            ("{ a(b: \"\\ud83d\") }".to_owned(), "line 1, column 9: `\\ud83d` is half"),
        ] {
            let refused = document(&text).unwrap_err();
            assert!(refused.message.starts_with(expected), "{}", refused.message);
            assert!(refused.message.len() < 200, "{}", refused.message);
        }
    }
}
