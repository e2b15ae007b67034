//! The password or the access token of the admin who makes the calls. It is no argument: other users see those.

use std::{
    io::{BufRead as _, IsTerminal as _, stdin},
    path::Path,
};

/// Reads the password from a file that only its owner can read, or from standard input.
pub(super) fn password(file: Option<&Path>) -> Result<String, String> {
    if let Some(path) = file {
        return read_file(path);
    }
    if stdin().is_terminal() {
        return Err("the terminal would show the password; name a file with --password-file, or pipe it in".to_owned());
    }
    let mut text = String::new();
    stdin().lock().read_line(&mut text).map_err(|error| format!("standard input: {error}"))?;
    Ok(first_line(&text))
}

/// The first line of a file that only its owner can read.
pub(super) fn read_file(path: &Path) -> Result<String, String> {
    let text = kit::secret_file::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(first_line(&text))
}

/// A password may begin or end with blanks, but not with the end of a line.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
