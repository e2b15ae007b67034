//! The password of the admin who makes the calls.

use std::{
    io::{BufRead as _, IsTerminal as _, Write as _, stderr, stdin},
    path::Path,
};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// Reads it from a file that only its owner can read, or from standard input: a terminal does not show it.
pub(super) fn read(file: Option<&Path>, email: &str) -> Result<String, String> {
    if let Some(path) = file {
        let text = kit::secret_file::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        return Ok(first_line(&text));
    }
    let input = stdin();
    if !input.is_terminal() {
        return line(&input);
    }
    write!(stderr(), "Password of {email}: ").ok();
    let hidden = |error| format!("the terminal cannot hide the password: {error}; use --password-file");
    let shown = tcgetattr(&input).map_err(hidden)?;
    let mut quiet = shown.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&input, OptionalActions::Flush, &quiet).map_err(hidden)?;
    let password = line(&input);
    tcsetattr(&input, OptionalActions::Flush, &shown).map_err(hidden)?;
    writeln!(stderr()).ok();
    password
}

fn line(input: &std::io::Stdin) -> Result<String, String> {
    let mut text = String::new();
    input.lock().read_line(&mut text).map_err(|error| format!("standard input: {error}"))?;
    Ok(first_line(&text))
}

/// A password may begin or end with blanks, but not with the end of a line.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
