//! `trellis accounts import`: imports the accounts of another service.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal as _, Write as _},
    path::Path,
};

use auth::import::{BadLine, Counts, Import, Observer};
use kit::{ClockAndRng, error::chain};
use serde_json::json;

use crate::{beside, cli, config::Config};

/// Runs the command and returns its output.
pub(crate) async fn run(config: &Config, command: cli::Accounts) -> Result<String, String> {
    let cli::Accounts::Import { file, dry_run, json } = command;
    let opened = open(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let store = beside::auth(config).await?;
    let mut printer = Printer { json, shows_progress: io::stderr().is_terminal() };
    let import = Import::new(&config.auth, store, ClockAndRng::system(), dry_run, &mut printer);
    let counts = import.run(opened).await.map_err(|error| format!("{}: {}", file.display(), chain(&error)))?;
    printer.end_progress();
    let text = if json {
        json!({ "dry_run": dry_run, "lines": counts.lines, "imported": counts.imported, "present": counts.present, "bad": counts.bad })
            .to_string()
    } else {
        summary(&counts, dry_run)
    };
    if counts.bad == 0 {
        return Ok(text);
    }
    printer.print(&text);
    let lines = if counts.bad == 1 { "1 line was".to_owned() } else { format!("{} lines were", counts.bad) };
    Err(format!(
        "{lines} not imported; correct them and import the file again: accounts that are present stay as they are"
    ))
}

fn open(file: &Path) -> io::Result<Box<dyn BufRead>> {
    Ok(if file == Path::new("-") { Box::new(io::stdin().lock()) } else { Box::new(BufReader::new(File::open(file)?)) })
}

fn summary(counts: &Counts, is_dry: bool) -> String {
    let Counts { lines, imported, present, bad } = counts;
    let what = if is_dry { "would be imported" } else { "imported" };
    format!("{lines} lines: {imported} {what}, {present} already present, {bad} bad")
}

/// Prints bad lines, and the progress on a terminal.
struct Printer {
    json: bool,
    shows_progress: bool,
}

impl Printer {
    fn print(&self, line: &str) {
        writeln!(io::stdout(), "{line}").ok();
    }

    fn end_progress(&self) {
        if self.shows_progress {
            writeln!(io::stderr()).ok();
        }
    }
}

impl Observer for Printer {
    fn bad_line(&mut self, bad: &BadLine) {
        let BadLine { line, field, reason } = bad;
        if self.json {
            self.print(&json!(bad).to_string());
        } else if field.is_empty() {
            self.print(&format!("line {line}: {reason}"));
        } else {
            self.print(&format!("line {line}: {field}: {reason}"));
        }
    }

    fn progress(&mut self, counts: Counts) {
        if self.shows_progress {
            let Counts { lines, imported, present, bad } = counts;
            write!(io::stderr(), "\r{lines} lines: {imported} new, {present} present, {bad} bad").ok();
        }
    }
}
