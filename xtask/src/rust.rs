//! `cargo test`, with the full output of failed test binaries only.

use crate::{
    environment::Environment,
    session::Session,
    tally::{self, Tally},
};

/// Runs the tests of the workspace. `arguments` are arguments of cargo test.
pub(crate) fn test(session: &Session, environment: &Environment, arguments: &[String]) -> Result<Tally, String> {
    let mut cargo = session.cargo();
    cargo.args(["test", "--no-fail-fast"]);
    if !arguments.iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package")) {
        cargo.arg("--workspace");
    }
    cargo.args(arguments);
    environment.apply(&mut cargo);
    let mut shown = Shown::default();
    let output = session.step_with("cargo test", &mut cargo, |line| shown.line(line))?;
    if !output.success {
        shown.print_rest();
    }
    Ok(shown.tally.with_exit(output.success))
}

/// Filters cargo's output: one line per test binary, and the full output of a binary that failed.
#[derive(Default)]
struct Shown {
    tally: Tally,
    binary: String,
    block: Vec<String>,
}

impl Shown {
    fn line(&mut self, line: &str) {
        if let Some(binary) = binary_name(line) {
            self.binary = binary;
            self.block.clear();
        } else if let Some(tally) = tally::cargo_line(line) {
            self.tally.add(tally);
            if tally.failed > 0 {
                eprintln!("    {}: {} FAILED, {} passed", self.binary, tally.failed, tally.passed);
                self.print_rest();
            } else if tally.passed > 0 {
                eprintln!("    {}: {} passed", self.binary, tally.passed);
            }
            self.block.clear();
        } else {
            self.block.push(line.to_owned());
        }
    }

    /// Prints the collected lines: the output of a failed binary or of the compiler.
    fn print_rest(&mut self) {
        for line in self.block.drain(..).filter(|line| is_relevant(line)) {
            eprintln!("      {line}");
        }
    }
}

/// `Running tests/api.rs (target/debug/deps/api-0123456789abcdef)` → `api tests/api.rs`.
fn binary_name(line: &str) -> Option<String> {
    let line = line.trim_start();
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{name} docs"));
    }
    let (source, path) = line.strip_prefix("Running ")?.strip_suffix(')')?.split_once(" (")?;
    let file = path.rsplit('/').next()?;
    let name = file.rsplit_once('-').map_or(file, |(name, _)| name);
    Some(format!("{name} {}", source.trim_start_matches("unittests ")))
}

fn is_relevant(line: &str) -> bool {
    let start = line.trim_start();
    let progress = ["Compiling ", "Downloaded ", "Downloading ", "Fresh ", "Checking ", "Updating ", "Blocking "];
    !(start.ends_with("... ok") || progress.iter().any(|word| start.starts_with(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_name_has_no_hash() {
        let unit = "     Running unittests src/lib.rs (target/debug/deps/kit-0123456789abcdef)";
        assert_eq!(binary_name(unit).as_deref(), Some("kit src/lib.rs"));
        let test = "     Running tests/api.rs (target/debug/deps/api-0123456789abcdef)";
        assert_eq!(binary_name(test).as_deref(), Some("api tests/api.rs"));
        assert_eq!(binary_name("   Doc-tests kit").as_deref(), Some("kit docs"));
        assert_eq!(binary_name("running 3 tests"), None);
    }

    #[test]
    fn compiler_errors_are_kept() {
        let mut shown = Shown::default();
        for line in ["   Compiling kit v0.1.0", "error: expected `;`"] {
            shown.line(line);
        }
        assert_eq!(shown.block.iter().filter(|line| is_relevant(line)).count(), 1);
    }
}
