//! `trellis accounts import`: imports the accounts of another service.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write as _},
    path::Path,
};

use auth::import::{BadLine, Counts, Import, Observer};
use kit::{ClockAndRng, error::chain};
use serde_json::json;

use crate::{beside, cli, config::Config, progress::Progress};

/// Runs the command and returns its output.
pub(crate) async fn run(config: &Config, command: cli::Accounts) -> Result<String, String> {
    let cli::Accounts::Import { file, dry_run, json } = command;
    let opened = open(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    // A dry run changes nothing.
    let store = if dry_run { beside::auth(config).await } else { beside::migrated_auth(config).await }?;
    let mut printer = Printer { json, progress: Progress::new() };
    let import = Import::new(&config.auth, store, ClockAndRng::system(), dry_run, &mut printer);
    let counts = import.run(opened).await.map_err(|error| format!("{}: {}", file.display(), chain(&error)))?;
    printer.progress.end();
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
    progress: Progress,
}

impl Printer {
    fn print(&self, line: &str) {
        writeln!(io::stdout(), "{line}").ok();
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
        let Counts { lines, imported, present, bad } = counts;
        self.progress.show(format!("{lines} lines: {imported} new, {present} present, {bad} bad"));
    }
}
