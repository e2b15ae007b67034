//! `cargo test`, quiet while all is well and complete where it is not.

use crate::{
    session::Session,
    suite::Environment,
    tally::{self, Tally},
};

/// Runs the workspace's tests with `arguments` for cargo test.
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
        shown.rest();
    }
    Ok(shown.tally.with_exit(output.success))
}

/// What of cargo's output the terminal sees: one line a test binary, and all of a binary that failed.
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
                self.rest();
            } else if tally.passed > 0 {
                eprintln!("    {}: {} passed", self.binary, tally.passed);
            }
            self.block.clear();
        } else {
            self.block.push(line.to_owned());
        }
    }

    /// Shows what was held back: a failed binary, or what the compiler said.
    fn rest(&mut self) {
        for line in self.block.drain(..).filter(|line| is_telling(line)) {
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

fn is_telling(line: &str) -> bool {
    let start = line.trim_start();
    let progress = ["Compiling ", "Downloaded ", "Downloading ", "Fresh ", "Checking ", "Updating ", "Blocking "];
    !(start.ends_with("... ok") || progress.iter().any(|word| start.starts_with(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binaries_are_named_for_people() {
        let unit = "     Running unittests src/lib.rs (target/debug/deps/kit-0123456789abcdef)";
        assert_eq!(binary_name(unit).as_deref(), Some("kit src/lib.rs"));
        let test = "     Running tests/api.rs (target/debug/deps/api-0123456789abcdef)";
        assert_eq!(binary_name(test).as_deref(), Some("api tests/api.rs"));
        assert_eq!(binary_name("   Doc-tests kit").as_deref(), Some("kit docs"));
        assert_eq!(binary_name("running 3 tests"), None);
    }

    #[test]
    fn the_rest_of_a_failed_run_is_kept() {
        let mut shown = Shown::default();
        for line in ["   Compiling kit v0.1.0", "error: expected `;`"] {
            shown.line(line);
        }
        assert_eq!(shown.block.iter().filter(|line| is_telling(line)).count(), 1);
    }
}
