//! Test names have at most 60 characters, so that a report shows them on one line.

use crate::session::Session;

/// The longest name, in characters.
const LONGEST: usize = 60;

/// Checks the names of tests in all languages. In Rust and Python these are the names of all functions: a contract test
/// that runs on two databases is a function without an attribute.
pub(super) fn check(session: &Session) -> Result<(), String> {
    let mut findings = Vec::new();
    for (path, text) in super::sources::files(session, &["*.rs", "*.py", "*.ts", "*.tmpl"])? {
        findings.extend(of_file(&path, &text));
    }
    super::none(&findings)
}

fn of_file(path: &str, text: &str) -> Vec<String> {
    // A template has the ending of its result before its own.
    let names = super::named::declared(path.trim_end_matches(".tmpl"), text);
    let long = names.into_iter().filter(|name| name.chars().count() > LONGEST);
    long.map(|name| format!("{path}: {name:?} has {} characters", name.chars().count())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_found_in_all_languages() {
        let (longest, long) = ("a".repeat(LONGEST), "a".repeat(LONGEST + 1));
        let lines = |name: &str| {
            [
                ("x.rs", format!("    async fn {name}(location: &Location) {{")),
                ("x.rs.tmpl", format!("fn {name}() {{")),
                ("x.py", format!("    def {name}(self):")),
                ("x.ts", format!("test(\"{name}\", async () => {{")),
                ("x.ts", format!("test.skip('{name}', async () => {{")),
            ]
        };
        for (path, line) in lines(&long) {
            assert_eq!(of_file(path, &line), [format!("{path}: {long:?} has 61 characters")]);
        }
        for (path, line) in lines(&longest) {
            assert_eq!(of_file(path, &line), [""; 0], "{path}");
        }
    }
}
