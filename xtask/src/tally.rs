//! Counts of passed and failed tests, parsed from the output of cargo, unittest and Node's test runner.

/// A count of tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Ignored or skipped tests. The summary lists them, because they prove nothing.
    pub(crate) skipped: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Counts a command as one failure if it failed without a failed test, or succeeded without running a test.
    pub(crate) fn with_exit(mut self, success: bool) -> Self {
        let nothing_ran = self.passed + self.failed == 0;
        if self.failed == 0 && (!success || nothing_ran) {
            self.failed = 1;
        }
        self
    }
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`
pub(crate) fn cargo_line(line: &str) -> Option<Tally> {
    let counts = line.trim().strip_prefix("test result: ")?.split_once(". ")?.1;
    let count = |name: &str| {
        counts.split(';').find_map(|part| part.trim().strip_suffix(name)?.trim().parse().ok()).unwrap_or(0)
    };
    Some(Tally { passed: count("passed"), failed: count("failed"), skipped: count("ignored") })
}

/// `Ran 12 tests in 3.1s`, then `OK (skipped=1)` or `FAILED (failures=1, errors=2)`.
pub(crate) fn unittest(text: &str) -> Tally {
    let mut ran = 0;
    let mut tally = Tally::default();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("Ran ") {
            ran = rest.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
            tally = Tally::default();
        } else if line.starts_with("OK") || line.starts_with("FAILED (") {
            let count = |name: &str| {
                let parts = line.split(['(', ',', ')']).map(str::trim);
                parts.filter_map(|part| part.strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok()).sum::<u64>()
            };
            tally.failed = count("failures") + count("errors") + count("unexpected successes");
            tally.skipped = count("skipped") + count("expected failures");
        }
    }
    // Saturating: several subtests of one test may fail, and an error may occur before any test runs.
    tally.passed = u64::saturating_sub(ran, tally.failed + tally.skipped);
    tally
}

/// `# pass 4` (TAP) or `ℹ pass 4` (spec), and the same for the other counts.
pub(crate) fn node(text: &str) -> Tally {
    let count = |name: &str| -> u64 {
        text.lines()
            .filter_map(|line| line.strip_prefix("# ").or_else(|| line.strip_prefix("ℹ ")))
            .filter_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
            .sum()
    };
    Tally {
        passed: count("pass "),
        failed: count("fail ") + count("cancelled "),
        skipped: count("skipped ") + count("todo "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u64, failed: u64, skipped: u64) -> Tally {
        Tally { passed, failed, skipped }
    }

    #[test]
    fn cargo_output_is_parsed() {
        let ok = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        assert_eq!(cargo_line(ok), Some(tally(12, 0, 1)));
        let bad = "test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s";
        assert_eq!(cargo_line(bad), Some(tally(2, 3, 0)));
        assert_eq!(cargo_line("test a::b ... ok"), None);
    }

    #[test]
    fn unittest_output_is_parsed() {
        assert_eq!(unittest("Ran 12 tests in 3.1s\n\nOK\n"), tally(12, 0, 0));
        assert_eq!(unittest("Ran 1 test in 0s\n\nOK (skipped=1)\n"), tally(0, 0, 1));
        assert_eq!(unittest("Ran 5 tests in 3s\n\nFAILED (failures=1, errors=2)\n"), tally(2, 3, 0));
        assert_eq!(unittest("Ran 0 tests in 0.000s\n\nFAILED (errors=1)\n"), tally(0, 1, 0));
        assert_eq!(unittest("Traceback"), tally(0, 0, 0));
    }

    #[test]
    fn node_output_is_parsed_as_tap_and_spec() {
        assert_eq!(node("# tests 4\n# pass 3\n# fail 1\n# cancelled 0\n# skipped 0\n"), tally(3, 1, 0));
        assert_eq!(node("ℹ tests 4\nℹ pass 2\nℹ fail 0\nℹ cancelled 1\nℹ skipped 1\nℹ todo 0\n"), tally(2, 1, 1));
    }

    #[test]
    fn run_without_tests_is_a_failure() {
        assert_eq!(tally(0, 0, 0).with_exit(true), tally(0, 1, 0));
        assert_eq!(tally(5, 0, 0).with_exit(false), tally(5, 1, 0));
        assert_eq!(tally(5, 2, 0).with_exit(false), tally(5, 2, 0));
        assert_eq!(tally(5, 0, 0).with_exit(true), tally(5, 0, 0));
    }
}
