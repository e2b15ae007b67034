//! Runs buf offline: lints the contracts, and checks that they are compatible with the newest release.

use std::{fs, process::Command};

use crate::{process::Output, session::Session, web::Web};

/// The exit code of buf with findings. Exit code 1 means that buf itself failed.
const FINDINGS: i32 = 100;

pub(super) fn lint(session: &Session, web: &Web) -> Result<(), String> {
    let output = session.step("buf lint", web.buf(session).arg("lint"))?;
    verdict("buf lint", &output)
}

/// Compares the module `proto` with its directory in the newest release. Excludes third_party, whose stability is not
/// up to this project.
pub(super) fn breaking(session: &Session, web: &Web) -> Result<(), String> {
    let Some(release) = newest_release(session)? else {
        eprintln!("        skipped: there is no release yet");
        return Ok(());
    };
    let released = session.target.join("released");
    if released.exists() {
        fs::remove_dir_all(&released).map_err(|e| format!("{}: {e}", released.display()))?;
    }
    fs::create_dir_all(&released).map_err(|e| format!("{}: {e}", released.display()))?;
    let archive = session.target.join("released.tar");
    let mut git = git(session);
    git.args(["archive", "--output"]).arg(&archive).args([&release, "proto", "buf.yaml"]);
    session.output(&mut git)?;
    session.output(session.command("tar").arg("-xf").arg(&archive).arg("-C").arg(&released))?;

    let mut buf = web.buf(session);
    buf.args(["breaking", "proto", "--against"]).arg(released.join("proto"));
    let output = session.step(&format!("buf breaking against {release}"), &mut buf)?;
    verdict("buf breaking", &output)
}

fn newest_release(session: &Session) -> Result<Option<String>, String> {
    let mut git = git(session);
    git.args(["tag", "--list", "v*", "--sort=-version:refname"]);
    Ok(session.output(&mut git)?.lines().next().map(str::to_owned))
}

fn git(session: &Session) -> Command {
    session.command("git")
}

fn verdict(name: &str, output: &Output) -> Result<(), String> {
    match output.code {
        Some(0) => Ok(()),
        Some(FINDINGS) => Err(format!("{}\n{name} has findings", output.text.trim_end())),
        code => {
            Err(format!("{}\n{name} itself failed ({code:?}) and did not check the contracts", output.text.trim_end()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: i32) -> Output {
        Output { success: code == 0, code: Some(code), text: "x".to_owned() }
    }

    #[test]
    fn verdict_distinguishes_findings_from_failures_of_buf() {
        assert!(verdict("buf lint", &ended(0)).is_ok());
        assert!(verdict("buf lint", &ended(100)).unwrap_err().contains("has findings"));
        assert!(verdict("buf lint", &ended(1)).unwrap_err().contains("itself failed"));
    }
}
