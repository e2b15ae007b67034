//! Checks that the tests which documents and lists name exist.

use std::collections::BTreeSet;

use crate::session::Session;

/// The page that names a test for each guarantee.
const SECURITY: &str = "docs/security.md";
/// The list that names a module and a test for each policy field.
const ENFORCED: &str = "proto/build/enforced.rs";

/// Checks the tests of `docs/security.md`, and the tests and modules of the list of policy fields.
pub(super) fn tests(session: &Session) -> Result<(), String> {
    let files = super::sources::files(session, &["*.rs", "*.py", "*.ts", SECURITY])?;
    let text = |path: &str| files.iter().find(|(name, _)| name == path).map(|(_, text)| text.as_str());
    let known: BTreeSet<&str> = files.iter().flat_map(|(path, text)| declared(path, text)).collect();
    let mut findings = Vec::new();
    for (guarantee, names) in guarantees(text(SECURITY).ok_or(format!("{SECURITY} is missing"))?) {
        if names.is_empty() {
            findings.push(format!("{SECURITY}: {guarantee:?} names no test"));
        }
        let paths = || files.iter().map(|(path, _)| path.as_str());
        let missing = names.into_iter().filter(|name| !exists(name, paths(), &known));
        findings.extend(missing.map(|name| format!("{SECURITY}: there is no test {name}")));
    }
    for [field, module, test] in enforced(text(ENFORCED).ok_or(format!("{ENFORCED} is missing"))?) {
        if text(module).is_none() {
            findings.push(format!("{ENFORCED}: {field}: there is no file {module}"));
        }
        if !known.contains(test) {
            findings.push(format!("{ENFORCED}: {field}: there is no test {test}"));
        }
    }
    super::none(&findings)
}

/// Whether `name` exists: a folder or file, a crate, a module (`locks::*` for all its tests), or a test, with or
/// without its path.
fn exists<'a>(name: &str, mut paths: impl Iterator<Item = &'a str>, known: &BTreeSet<&str>) -> bool {
    if name.contains('/') {
        return paths.any(|path| path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    }
    if let Some(module) = name.strip_suffix("::*") {
        let file = format!("/{}.rs", module.rsplit("::").next().unwrap_or(module));
        return paths.any(|path| path.ends_with(&file));
    }
    let test = name.rsplit("::").next().and_then(|last| last.rsplit('.').next()).unwrap_or(name);
    known.contains(name) || known.contains(test) || paths.any(|path| is_in_crate(path, name))
}

fn is_in_crate(path: &str, name: &str) -> bool {
    path.split_once("/src/").is_some_and(|(home, _)| home.rsplit('/').next() == Some(name))
}

/// The names of the tests in a file: Rust functions, Python functions and classes, and Playwright titles.
fn declared<'a>(path: &str, text: &'a str) -> Vec<&'a str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let function = |keyword: &str, line: &'a str| {
        let (_, rest) = line.split_once(keyword)?;
        Some(&rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())])
    };
    let title = |line: &'a str| {
        let (_, rest) = line.trim_start().strip_prefix("test")?.split_once(['"', '\'', '`'])?;
        rest.split(['"', '\'', '`']).next()
    };
    let of_line = |line: &'a str| match path.rsplit('.').next() {
        Some("rs") => function("fn ", line),
        Some("py") => function("def ", line).or_else(|| function("class ", line)),
        Some("ts") => title(line),
        _ => None,
    };
    text.lines().filter_map(of_line).collect()
}

/// The rows of the tables of guarantees: each guarantee and the tests in its last cell.
fn guarantees(text: &str) -> Vec<(&str, Vec<&str>)> {
    let tables = text.split("\n## Guarantees").nth(1).unwrap_or_default();
    let is_head = |line: &str| line.starts_with("| guarantee |") || line.starts_with("|---");
    let rows = tables.lines().filter(|line| line.starts_with('|') && !is_head(line));
    rows.filter_map(|row| {
        let (guarantee, tests) = row.trim_end().trim_matches('|').rsplit_once('|')?;
        let names = tests.split('`').skip(1).step_by(2);
        Some((guarantee.trim(), names.collect()))
    })
    .collect()
}

/// The lines of the list: field, module and test.
fn enforced(text: &str) -> Vec<[&str; 3]> {
    let lines = text.lines().filter(|line| line.trim_start().starts_with("(\""));
    lines.filter_map(|line| line.split('"').skip(1).step_by(2).collect::<Vec<_>>().try_into().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guarantees_take_test_names_from_the_last_cell() {
        let head = "| guarantee | test |\n|---|---|";
        let page = format!(
            "| a | `no` |\n## Guarantees\n\n### One\n\n{head}\n| `x` holds | `one`, `a::two` |\n\n### Two\n\n{head}\n| y | |\n"
        );
        assert_eq!(guarantees(&page), [("`x` holds", vec!["one", "a::two"]), ("y", vec![])]);
    }

    #[test]
    fn tests_are_found_in_all_languages() {
        assert_eq!(declared("a.rs", "async fn it_is_so() {"), ["it_is_so"]);
        assert_eq!(declared("a.py", "    def test_it(self):"), ["test_it"]);
        assert_eq!(declared("a.ts", "test(\"it is so\", async () => {"), ["it is so"]);
    }

    #[test]
    fn name_may_be_a_module_folder_or_crate() {
        let exists = |name| {
            let paths = ["gateway/src/lib.rs", "services/auth/tests/auth/locks.rs", "tests/python/test_a.py"];
            exists(name, paths.into_iter(), &BTreeSet::from(["it_holds", "Closed"]))
        };
        for there in ["gateway", "services/auth/tests/auth", "locks::*", "a::tests::it_holds", "test_a.Closed"] {
            assert!(exists(there), "{there}");
        }
        for missing in ["gate", "auth/tests", "services/aut", "lock::*", "it_hold", "locks::it_hold"] {
            assert!(!exists(missing), "{missing}");
        }
    }

    #[test]
    fn list_of_fields_is_parsed() {
        let list = "const A: [(&str, &str, &str); 1] = [\n    (\"P.a\", \"m.rs\", \"t\"),\n];";
        assert_eq!(enforced(list), [["P.a", "m.rs", "t"]]);
    }
}
