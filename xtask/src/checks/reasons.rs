//! The gateway states the reasons of its errors as constants of `gateway/src/reason.rs`, which a test compares with the
//! documentation. A reason as a literal elsewhere would be undocumented.

use crate::session::Session;

/// The only file with reasons.
const HOME: &str = "gateway/src/reason.rs";
/// Its errors have codes of GraphQL, which docs/protocols.md lists with it.
const GRAPHQL: &str = "gateway/src/graphql";

pub(super) fn check(session: &Session) -> Result<(), String> {
    let files = super::sources::files(session, &["gateway/src/*.rs"])?;
    let is_checked = |path: &str| {
        let is_test = path.split('/').any(|part| part == "tests" || part.ends_with("tests.rs"));
        !is_test && path != HOME && !path.starts_with(GRAPHQL)
    };
    let mut findings = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| is_checked(path)) {
        let found = literals(text).into_iter();
        findings.extend(found.map(|(line, reason)| format!("{path}:{line}: \"{reason}\" is not in {HOME}")));
    }
    super::none(&findings)
}

/// The lines with a reason as a literal, outside of tests.
fn literals(text: &str) -> Vec<(usize, &str)> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().enumerate();
    // `env!` names variables of cargo.
    let lines = lines.filter(|(_, line)| !line.trim_start().starts_with("//") && !line.contains("env!("));
    lines.flat_map(|(at, line)| quoted(line).filter(|text| is_reason(text)).map(move |text| (at + 1, text))).collect()
}

fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).step_by(2)
}

/// Whether a text has the form of a reason: UPPER_SNAKE, of at least two words.
fn is_reason(text: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    text.contains('_') && text.split('_').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_reasons_are_found() {
        let text = "fn a() {\n    error::status(Code::Aborted, \"SHOP_CLOSED\", \"no\")\n}\n// \"IN_COMMENTS\"\n\
                    let version = env!(\"CARGO_PKG_VERSION\");\nlet name = \"Shop_closed\";\n\
                    #[cfg(test)]\nmod tests { const A: &str = \"SHOP_OPEN\"; }";
        assert_eq!(literals(text), [(2, "SHOP_CLOSED")]);
        assert!(is_reason("HTTP2_REQUIRED") && !is_reason("POST") && !is_reason("_") && !is_reason("A_"));
    }
}
