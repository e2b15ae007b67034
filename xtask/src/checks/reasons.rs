//! The gateway states the reasons of its errors as constants of `gateway/src/reason.rs`, which a test compares with the
//! documentation. A reason as a literal elsewhere would be undocumented. The codes of GraphQL are literals:
//! docs/protocols.md lists them.

use crate::session::Session;

/// The only file with reasons.
const HOME: &str = "gateway/src/reason.rs";
/// The page that lists the codes of GraphQL.
const PAGE: &str = "docs/protocols.md";

pub(super) fn check(session: &Session) -> Result<(), String> {
    let files = super::sources::files(session, &["gateway/src/*.rs", "graphql/src/*.rs", PAGE])?;
    let page = files.iter().find(|(path, _)| path == PAGE).map(|(_, text)| text.as_str());
    let page = page.ok_or(format!("{PAGE} is missing"))?;
    let mut findings = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| is_checked(path)) {
        for (line, reason) in literals(text) {
            if !is_graphql(path) {
                findings.push(format!("{path}:{line}: \"{reason}\" is not in {HOME}"));
            } else if !page.contains(&format!("`{reason}`")) {
                findings.push(format!("{path}:{line}: \"{reason}\" is not in {PAGE}"));
            }
        }
    }
    super::none(&findings)
}

fn is_checked(path: &str) -> bool {
    let is_test = path.split('/').any(|part| part == "tests" || part.ends_with("tests.rs"));
    path.ends_with(".rs") && !is_test && path != HOME
}

/// Whether the errors of a file have codes of GraphQL.
fn is_graphql(path: &str) -> bool {
    path == "gateway/src/graphql.rs" || ["gateway/src/graphql/", "graphql/src/"].iter().any(|of| path.starts_with(of))
}

/// The lines with a reason as a literal, outside of tests.
fn literals(text: &str) -> Vec<(usize, &str)> {
    let lines = code(text).into_iter().filter(|(_, line)| !line.trim_start().starts_with("//"));
    lines.flat_map(|(at, line)| quoted(line).filter(|text| is_reason(text)).map(move |text| (at, text))).collect()
}

/// The numbered lines without the items under `#[cfg(test)]`. As rustfmt writes it, an item ends in its first line, or
/// with the next bracket at its own indentation.
fn code(text: &str) -> Vec<(usize, &str)> {
    let (mut lines, mut kept) = ((1..).zip(text.lines()), Vec::new());
    while let Some((at, line)) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push((at, line));
            continue;
        }
        let indentation = &line[..line.len() - line.trim_start().len()];
        let first = lines.by_ref().find(|(_, line)| !line.trim_start().starts_with(['#', '/']));
        if first.is_some_and(|(_, line)| !line.ends_with([';', '}', ','])) {
            let is_end =
                |line: &str| line.strip_prefix(indentation).is_some_and(|rest| rest.starts_with(['}', ')', ']']));
            lines.by_ref().find(|(_, line)| is_end(line));
        }
    }
    kept
}

/// The literals of a line, without the variables of cargo that `env!` names.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    let parts: Vec<_> = line.split('"').collect();
    let texts = (1..parts.len()).step_by(2).filter(|at| !parts[at - 1].ends_with("env!(")).map(|at| parts[at]);
    texts.collect::<Vec<_>>().into_iter()
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
                    let version = (env!(\"CARGO_PKG_VERSION\"), \"SHOP_LATE\");\nlet name = \"Shop_closed\";\n\
                    #[cfg(test)]\nmod tests { const A: &str = \"SHOP_OPEN\"; }";
        assert_eq!(literals(text), [(2, "SHOP_CLOSED"), (5, "SHOP_LATE")]);
        assert!(is_reason("HTTP2_REQUIRED") && !is_reason("POST") && !is_reason("_") && !is_reason("A_"));
    }

    #[test]
    fn only_items_of_tests_are_skipped() {
        let text = "#[cfg(test)]\nmod tests;\nconst A: &str = \"A_1\";\nimpl A {\n    #[cfg(test)]\n    #[must_use]\n    \
                    fn b() {\n        \"B_1\"\n    }\n\n    fn c() {\n        \"C_1\"\n    }\n}\n#[cfg(test)]\n\
                    const D: [&str; 1] = [\n    \"D_1\",\n];\n#[cfg(test)]\nmod more {\n    fn e() {\n        \"E_1\"\n    }\n}\n\
                    const F: &str = \"F_1\";\n#[cfg(test)]";
        assert_eq!(literals(text), [(3, "A_1"), (12, "C_1"), (25, "F_1")]);
    }

    #[test]
    fn only_files_of_graphql_state_its_codes() {
        for path in ["gateway/src/graphql.rs", "gateway/src/graphql/calls.rs", "graphql/src/reply.rs"] {
            assert!(is_graphql(path) && is_checked(path), "{path}");
        }
        for path in ["gateway/src/graphql_policies.rs", "gateway/src/config/graphql.rs", "gateway/src/front.rs"] {
            assert!(!is_graphql(path) && is_checked(path), "{path}");
        }
        assert!(!is_checked(HOME) && !is_checked(PAGE) && !is_checked("gateway/src/rpc/tests/graphql.rs"));
    }
}
