//! The progress of long work: one line on the terminal, which the next one replaces. Scripts get none.

use std::io::{self, IsTerminal as _, Write as _};

/// The line.
pub(crate) struct Progress {
    is_terminal: bool,
    shown: String,
}

impl Progress {
    /// Shows nothing yet.
    pub(crate) fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), shown: String::new() }
    }

    /// Replaces the line.
    pub(crate) fn show(&mut self, line: String) {
        if self.is_terminal && line != self.shown {
            write!(io::stderr(), "\r{line}").ok();
            self.shown = line;
        }
    }

    /// Ends the line, if one was shown.
    pub(crate) fn end(&self) {
        if !self.shown.is_empty() {
            writeln!(io::stderr()).ok();
        }
    }
}
