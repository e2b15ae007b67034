//! buf, offline: the style of the contracts, and whether they still serve the clients of the newest release.

use std::{fs, process::Command};

use crate::{process::Output, session::Session, web::Web};

/// What buf exits with when it has findings; 1 means that it could not work.
const FINDINGS: i32 = 100;

pub(super) fn lint(session: &Session, web: &Web) -> Result<(), String> {
    let output = session.step("buf lint", web.buf(session).arg("lint"))?;
    verdict("buf lint", &output)
}

/// Compares with a directory, not an image, and the module `proto` alone on both sides: third_party is not ours
/// to keep stable.
pub(super) fn breaking(session: &Session, web: &Web) -> Result<(), String> {
    let Some(release) = newest_release(session)? else {
        eprintln!("        there is no release yet, so there is nothing to break");
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
    session.ask(&mut git)?;
    session.ask(session.command("tar").arg("-xf").arg(&archive).arg("-C").arg(&released))?;

    let mut buf = web.buf(session);
    buf.args(["breaking", "proto", "--against"]).arg(released.join("proto"));
    let output = session.step(&format!("buf breaking against {release}"), &mut buf)?;
    verdict("buf breaking", &output)
}

fn newest_release(session: &Session) -> Result<Option<String>, String> {
    let mut git = git(session);
    git.args(["tag", "--list", "v*", "--sort=-version:refname"]);
    Ok(session.ask(&mut git)?.lines().next().map(str::to_owned))
}

fn git(session: &Session) -> Command {
    session.command("git")
}

fn verdict(name: &str, output: &Output) -> Result<(), String> {
    match output.code {
        Some(0) => Ok(()),
        Some(FINDINGS) => Err(format!("{}\n{name} has findings", output.text.trim_end())),
        code => {
            Err(format!("{}\n{name} itself failed ({code:?}): no verdict on the contracts", output.text.trim_end()))
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
    fn findings_and_a_broken_buf_are_told_apart() {
        assert!(verdict("buf lint", &ended(0)).is_ok());
        assert!(verdict("buf lint", &ended(100)).unwrap_err().contains("has findings"));
        assert!(verdict("buf lint", &ended(1)).unwrap_err().contains("itself failed"));
    }
}
