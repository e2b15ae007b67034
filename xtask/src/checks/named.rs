//! Checks that the tests which documents and lists name exist.

use std::collections::BTreeSet;

use crate::session::Session;

/// The page that names a test for each guarantee.
const SECURITY: &str = "docs/security.md";
/// The page that states where each requirement of the OWASP ASVS stands.
const ASVS: &str = "docs/asvs.md";
/// The states of its requirements.
const STATES: [&str; 4] = ["met", "partly", "missing", "not applicable"];
/// The list that names a module and a test for each policy field.
const ENFORCED: &str = "proto/build/enforced.rs";

/// Checks the tests of `docs/security.md` and `docs/asvs.md`, the paths of tests and modules in the other documents, and the
/// tests and modules of the list of policy fields.
pub(super) fn tests(session: &Session) -> Result<(), String> {
    let files = super::sources::files(session, &["*.rs", "*.py", "*.ts", "docs/*.md"])?;
    let text = |path: &str| files.iter().find(|(name, _)| name == path).map(|(_, text)| text.as_str());
    let declared: Vec<_> = files.iter().map(|(path, text)| TestFile::new(path, text)).collect();
    let mut findings = Vec::new();
    for (guarantee, names) in guarantees(text(SECURITY).ok_or(format!("{SECURITY} is missing"))?) {
        if names.is_empty() {
            findings.push(format!("{SECURITY}: {guarantee:?} names no test"));
        }
        let missing = names.into_iter().filter(|name| !exists(name, &declared));
        findings.extend(missing.map(|name| format!("{SECURITY}: there is no test {name}")));
    }
    findings.extend(requirements(text(ASVS).ok_or(format!("{ASVS} is missing"))?, &declared));
    for (page, text) in files.iter().filter(|(path, _)| path.ends_with(".md") && path != SECURITY) {
        let missing = paths(text).into_iter().filter(|name| !exists(name, &declared));
        findings.extend(missing.map(|name| format!("{page}: there is no module or test {name}")));
    }
    for [field, module, test] in enforced(text(ENFORCED).ok_or(format!("{ENFORCED} is missing"))?) {
        if text(module).is_none() {
            findings.push(format!("{ENFORCED}: {field}: there is no file {module}"));
        }
        if !declared.iter().any(|file| file.names.contains(test)) {
            findings.push(format!("{ENFORCED}: {field}: there is no test {test}"));
        }
    }
    super::none(&findings)
}

/// Whether `name` exists: a folder or file, a crate, a module (`locks::*` for all its tests), or a test, with or
/// without its path.
fn exists(name: &str, files: &[TestFile<'_>]) -> bool {
    if name.contains('/') {
        let is_in = |path: &str| path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        return files.iter().any(|file| is_in(file.path));
    }
    // `…::name` and `…name` shorten the path of the row above.
    let (name, is_short) = match name.strip_prefix('…') {
        Some(rest) => (rest.trim_start_matches("::"), true),
        None => (name, false),
    };
    let whole = name.replace(": ", "::").replace('-', "_");
    let separator = if whole.contains("::") || !whole.starts_with("test_") { "::" } else { "." };
    let steps: Vec<&str> = whole.split(separator).filter(|step| !matches!(*step, "" | "tests" | "*" | "…")).collect();
    let Some((last, parents)) = steps.split_last() else { return false };
    let is_named = |file: &TestFile<'_>| match last.strip_prefix('*') {
        Some(end) => file.names.iter().any(|name| name.ends_with(end)),
        None => file.names.contains(last),
    };
    let is_inside = |file: &TestFile<'_>| match parents {
        // Python's classes stand between the module and the test.
        [module, class] if separator == "." => ends_with(&file.module, &[module]) && file.names.contains(class),
        // A crate exports functions of its modules.
        [name] if file.module.first().is_some_and(|first| first == name) => true,
        _ => is_short || ends_with(&file.module, parents),
    };
    files.iter().any(|file| {
        ends_with(&file.module, &steps)
            || steps.len() == 1 && file.module.first().is_some_and(|first| first == last)
            || is_named(file) && is_inside(file)
    })
}

/// A file, its module path from its crate, and the names of its tests.
struct TestFile<'a> {
    path: &'a str,
    module: Vec<String>,
    names: BTreeSet<&'a str>,
}

impl<'a> TestFile<'a> {
    fn new(path: &'a str, text: &'a str) -> Self {
        Self { path, module: module(path), names: declared(path, text).into_iter().collect() }
    }
}

/// The module path of a file: `services/kit-data/src/store/postgres/tests.rs` is `kit_data::store::postgres`.
fn module(path: &str) -> Vec<String> {
    let stem = path.rsplit_once('.').map_or(path, |(stem, _)| stem);
    let steps = stem.split('/').map(|step| step.trim_end_matches("_tests").replace('-', "_"));
    steps.filter(|step| !matches!(&**step, "services" | "src" | "tests" | "lib" | "main" | "python")).collect()
}

fn ends_with(module: &[String], steps: &[&str]) -> bool {
    module.len() >= steps.len()
        && module[module.len() - steps.len()..].iter().zip(steps).all(|(one, other)| one == other)
}

/// The paths of modules and tests that a page names, such as `locks::*`. Paths of types are not among them.
fn paths(page: &str) -> Vec<&str> {
    let is_path = |name: &&str| {
        let is_step = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:*…".contains(c);
        name.contains("::") && name.chars().all(is_step) && name.chars().any(char::is_alphanumeric)
    };
    quoted(page).filter(is_path).collect()
}

/// The names of the tests in a file: Rust functions, Python functions and classes, and Playwright titles.
pub(super) fn declared<'a>(path: &str, text: &'a str) -> Vec<&'a str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let function = |keyword: &str, line: &'a str| {
        let (_, rest) = line.split_once(keyword)?;
        Some(&rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())])
    };
    let title = |line: &'a str| {
        let rest = line.trim_start().strip_prefix("test")?;
        let quote = rest.find(['"', '\'', '`'])?;
        rest[quote + 1..].split(&rest[quote..=quote]).next()
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
        Some((guarantee.trim(), quoted(tests).collect()))
    })
    .collect()
}

/// The faults of rows about requirements. A row has an id, a state, existing Rust and TypeScript files, and existing
/// tests or `–` for none.
fn requirements(page: &str, files: &[TestFile<'_>]) -> Vec<String> {
    let rows = page.lines().filter_map(|line| line.trim_end().strip_prefix("| ")?.strip_suffix('|'));
    let rows = rows.filter(|row| row.starts_with(|c: char| c.is_ascii_digit()));
    let mut findings = Vec::new();
    for row in rows {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [id, _, state, how, tests] = cells[..] else {
            findings.push(format!("{ASVS}: the row does not have five cells: {row}"));
            continue;
        };
        if !STATES.contains(&state) {
            findings.push(format!("{ASVS}: {id}: {state:?} is none of the states {}", STATES.join(", ")));
        }
        if tests != "–" && quoted(tests).next().is_none() {
            findings.push(format!("{ASVS}: {id} names no test"));
        }
        let is_file = |name: &&str| name.contains('/') && (name.ends_with(".rs") || name.ends_with(".ts"));
        let names = quoted(how).filter(is_file).chain(quoted(tests));
        let missing = names.filter(|name| !exists(name, files));
        findings.extend(missing.map(|name| format!("{ASVS}: {id}: there is no test or file {name}")));
    }
    findings
}

/// The texts between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
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
    fn requirement_has_a_state_files_and_tests() {
        let files = [TestFile::new("gateway/src/lib.rs", "fn it_holds() {")];
        let found = |row: &str| requirements(&format!("| id | a |\n|---|---|\n{row}\n"), &files);
        let right = ["| 1.2.3 | a | met | `gateway/src/lib.rs`, `a.b` | `it_holds` |", "| 1.2.3 | a | missing | | – |"];
        for right in right {
            assert!(found(right).is_empty(), "{right}: {:?}", found(right));
        }
        for wrong in [
            "| 1.2.3 | a | done | | – |",
            "| 1.2.3 | a | met | | |",
            "| 1.2.3 | a | met | | `it_fails` |",
            "| 1.2.3 | a | met | `gateway/src/none.rs` | – |",
            "| 1.2.3 | a | met | – |",
        ] {
            assert_eq!(found(wrong).len(), 1, "{wrong}: {:?}", found(wrong));
        }
    }

    #[test]
    fn tests_are_found_in_all_languages() {
        assert_eq!(declared("a.rs", "async fn it_is_so() {"), ["it_is_so"]);
        assert_eq!(declared("a.py", "    def test_it(self):"), ["test_it"]);
        assert_eq!(declared("a.ts", "test(\"it is so\", async () => {"), ["it is so"]);
        assert_eq!(declared("a.ts", "test(\"it's so\", async () => {"), ["it's so"]);
    }

    fn there(name: &str) -> bool {
        let files = [
            ("gateway/src/lib.rs", ""),
            ("gateway/src/http/headers.rs", "fn only_cookies_pass() {"),
            ("services/auth/tests/auth/locks.rs", "async fn it_holds() {"),
            ("services/kit-data/src/store/tests.rs", "fn a_lock_ends() {"),
            ("tests/python/test_a.py", "class Closed:\n    def test_it(self):"),
        ];
        exists(name, &files.map(|(path, text)| TestFile::new(path, text)))
    }

    #[test]
    fn name_may_be_a_module_folder_or_crate() {
        let found = [
            "gateway",
            "services/auth/tests/auth",
            "locks::*",
            "it_holds",
            "auth::locks",
            "auth: locks::it_holds",
            "kit-data",
        ];
        let found = found.into_iter().chain([
            "test_a.Closed",
            "test_a.Closed.test_it",
            "…test_it",
            "…::it_holds",
            "locks::*_holds",
            "locks::…",
        ]);
        for name in found.chain(["gateway::http::headers::tests::only_cookies_pass", "store::tests::a_lock_ends"]) {
            assert!(there(name), "{name}");
        }
        for missing in ["gate", "auth/tests", "services/aut", "lock::*", "it_hold", "locks::it_hold", "test_b.Closed"] {
            assert!(!there(missing), "{missing}");
        }
    }

    #[test]
    fn path_of_a_test_names_its_module() {
        for wrong in
            ["gateway::headers::only_cookies_pass", "client::tests::only_cookies_pass", "users::locks::it_holds"]
        {
            assert!(!there(wrong), "{wrong}");
        }
    }

    #[test]
    fn paths_are_modules_and_tests_only() {
        let page = "`kit::retry::state`, `kit_data::store::Pool`, `locks::*`, `a.b`, text::more `…::it_holds`";
        assert_eq!(paths(page), ["kit::retry::state", "locks::*", "…::it_holds"]);
    }

    #[test]
    fn list_of_fields_is_parsed() {
        let list = "const A: [(&str, &str, &str); 1] = [\n    (\"P.a\", \"m.rs\", \"t\"),\n];";
        assert_eq!(enforced(list), [["P.a", "m.rs", "t"]]);
    }
}
