//! The sources of the peppers: the file beside the other secrets of auth, or the configuration.

use std::{
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use kit::{ClockAndRng, Timestamp, secret_file};
use zeroize::Zeroizing;

use super::{Kept, KeysError, PepperStep, Peppers, lock, unwritable};
use crate::config::Config;

/// The set of peppers. It is absent until the first one is created.
pub(super) const PEPPERS: &str = "peppers.keys";
/// The time that `auth.peppers_command` may take.
const PATIENCE: Duration = Duration::from_secs(30);

impl Peppers {
    /// Reads the set in `folder`. Without the file it is empty.
    pub fn read(folder: &Path) -> Result<Self, KeysError> {
        let path = folder.join(PEPPERS);
        // If that cannot be determined, reading it reports why.
        if !path.try_exists().unwrap_or(true) {
            return Ok(Self::default());
        }
        let bad = |why: &dyn std::fmt::Display| {
            let path = path.display();
            KeysError(format!("{path}: {why}; restore the file: without its peppers no password can be verified"))
        };
        let text = secret_file::read(&path).map_err(|error| bad(&error))?;
        Self::parse(&text).map_err(|why| bad(&why))
    }

    /// Reads the set that the configuration states instead of the file. `None`: it states none.
    pub fn configured(config: &Config) -> Result<Option<Self>, KeysError> {
        let Config { peppers, peppers_command, .. } = config;
        match (peppers.expose(), peppers_command.split_first()) {
            ("", None) => Ok(None),
            ("", Some((program, arguments))) => {
                let printed = output(program, arguments, PATIENCE);
                let set = printed.and_then(|text| stated(&text));
                set.map(Some).map_err(|why| KeysError(format!("auth.peppers_command: {why}")))
            }
            (text, None) => stated(text).map(Some).map_err(|why| KeysError(format!("auth.peppers: {why}"))),
            (_, Some(_)) => Err(KeysError("auth.peppers and auth.peppers_command: set only one of them".to_owned())),
        }
    }

    /// Takes the next step of a rotation in `folder`, under the lock of the folder.
    pub fn rotate_in(folder: &Path, now: Timestamp, is_forced: bool) -> Result<Result<PepperStep, Kept>, KeysError> {
        let secret = ClockAndRng::system().random();
        change(folder, |peppers| peppers.rotate(secret, now, is_forced))
    }

    /// Removes a pepper in `folder`, under the same lock.
    pub fn remove_in(folder: &Path, id: &str, now: Timestamp, is_forced: bool) -> Result<Result<(), Kept>, KeysError> {
        change(folder, |peppers| peppers.remove(id, now, is_forced))
    }
}

/// A set that must not be empty: without its pepper, no hash could be verified.
fn stated(text: &str) -> Result<Peppers, String> {
    let peppers = Peppers::parse(text)?;
    if peppers.list().next().is_none() { Err("it states no pepper".to_owned()) } else { Ok(peppers) }
}

fn change<T>(
    folder: &Path,
    change: impl FnOnce(&mut Peppers) -> Result<T, Kept>,
) -> Result<Result<T, Kept>, KeysError> {
    let _lock = lock(folder)?;
    let mut peppers = Peppers::read(folder)?;
    let changed = change(&mut peppers);
    if changed.is_ok() {
        let written = secret_file::replace(&folder.join(PEPPERS), &peppers.to_text());
        written.map_err(|error| unwritable(folder, &error))?;
    }
    Ok(changed)
}

/// What the program prints. Its errors go to the terminal.
fn output(program: &str, arguments: &[String], patience: Duration) -> Result<Zeroizing<String>, String> {
    let failed = |error: std::io::Error| format!("{program}: {error}");
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let status = end(&mut child, patience).map_err(failed)?;
    let Some(status) = status else {
        child.kill().map_err(failed)?;
        // Without this the system keeps the ended process until this one ends.
        child.wait().map_err(failed)?;
        return Err(format!("{program} did not end within {} s", patience.as_secs()));
    };
    if !status.success() {
        return Err(format!("{program} failed: {status}"));
    }
    let output = child.wait_with_output().map_err(failed)?;
    let text = String::from_utf8(output.stdout).map_err(|_| format!("{program} does not print text"))?;
    Ok(Zeroizing::new(text))
}

/// Waits for the end of the program. `None`: it takes too long. A set of peppers fits into the buffer of a pipe.
fn end(child: &mut Child, patience: Duration) -> std::io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(None)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;

    use super::*;

    /// The children of this process with this name that have ended, but were not waited for.
    fn zombies(name: &str) -> usize {
        let stats = fs::read_dir("/proc").unwrap().flatten();
        let stats = stats.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
        let child = format!("({name}) Z {} ", std::process::id());
        stats.filter(|stat| stat.contains(&child)).count()
    }

    #[test]
    fn slow_program_is_ended_and_leaves_no_zombie() {
        let refused = output("sleep", &["600".to_owned()], Duration::from_millis(50)).unwrap_err();
        assert!(refused.contains("did not end"), "{refused}");
        assert_eq!(zombies("sleep"), 0);
    }
}
