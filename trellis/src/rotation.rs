//! The commands that rotate, replace and list the keys of access tokens.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use auth::{
    Keys,
    keys::{KeyState, PUBLISHED_AFTER, PUBLISHED_BEFORE, Step, TooEarly},
};
use kit::{ClockAndRng, config::Span};

use crate::config::Config;

/// The folder with auth's secrets: `named`, else the configured one.
pub(crate) fn folder(named: Option<PathBuf>, load: impl Fn() -> Result<Config, String>) -> Result<PathBuf, String> {
    if let Some(named) = named {
        return Ok(named);
    }
    let config = load()?;
    let folder =
        if config.auth.keys_dir.is_empty() { config.generated_keys_dir()? } else { config.auth.keys_dir.into() };
    if Keys::exist(&folder) {
        return Ok(folder);
    }
    Err(format!(
        "{} has no access.keys: name the folder with the secrets of auth with --dir, for example --dir keys/auth, or set \
         auth.keys_dir",
        folder.display()
    ))
}

/// Takes the next step in `folder`. Returns what changed and what to do next.
pub(crate) fn rotate(folder: &Path, is_forced: bool) -> Result<String, String> {
    let step = Keys::rotate(folder, ClockAndRng::system().now(), is_forced).map_err(|e| e.to_string())?;
    step.map(|step| done(&step)).map_err(|early| format!("{}: {}", folder.display(), refusal(early)))
}

fn done(step: &Step) -> String {
    let again = |after: Duration| format!("run `trellis keys rotate` again after {}", Span(after));
    match step {
        Step::Added(id) => format!(
            "key {id} is next: it is published and does not sign yet\n\
             next: copy the file to every replica of auth, and {}",
            again(PUBLISHED_BEFORE)
        ),
        Step::Promoted(id) => format!(
            "key {id} signs; the previous key is retiring: its tokens are valid until they expire\n\
             next: copy the file to every replica of auth, and {}",
            again(PUBLISHED_AFTER)
        ),
        Step::Removed(ids) => format!(
            "removed: {}; the rotation is complete\n\
             next: copy the file to every replica of auth",
            ids.join(", ")
        ),
    }
}

/// Replaces all keys in `folder` by a new one. Returns what changed and what to do next.
pub(crate) fn replace(folder: &Path) -> Result<String, String> {
    let removed = Keys::replace(folder, ClockAndRng::system().now()).map_err(|e| e.to_string())?;
    Ok(format!(
        "removed: {}; a new key signs\n\
         next: copy the file to every replica of auth at once. A replica with the old file still issues and publishes the \
         old keys.\n\
         Replicas read the file within two seconds, and all other processes fetch the keys within identity.keys_refresh. \
         Then every access token that was issued before is refused; clients obtain new ones with their refresh tokens.",
        removed.join(", ")
    ))
}

fn refusal(early: TooEarly) -> String {
    let TooEarly { state, wait } = early;
    let wait = Span(Duration::from_secs(wait.as_secs().saturating_add(1)));
    let why = match state {
        KeyState::Next => "some processes may not have fetched the next key yet",
        KeyState::Signing | KeyState::Retiring => "tokens of the retiring key may still be in use",
    };
    format!("{why}; run this again in {wait}, or with --now if the services may refuse valid tokens")
}

/// The keys in `folder`, one per line.
pub(crate) fn list(folder: &Path) -> Result<String, String> {
    let (ring, now) = (Keys::read(folder).map_err(|e| e.to_string())?, ClockAndRng::system().now());
    let line = |(id, state, since): (&str, KeyState, kit::Timestamp)| {
        let age = Span(Duration::from_secs(since.until(now).as_secs()));
        format!("{:<8}  {id}  for {age}", state.name())
    };
    Ok(ring.list().map(line).collect::<Vec<_>>().join("\n"))
}
