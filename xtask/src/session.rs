//! One run of xtask: its paths, its progress reports, and its child processes.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::process::{self, Guard, Output};

pub(crate) struct Session {
    /// The root of the repository.
    pub(crate) root: PathBuf,
    /// `target/`, which holds all output of a run.
    pub(crate) target: PathBuf,
    /// The folder of logs, screenshots and oracle cases.
    pub(crate) artifacts: PathBuf,
    pub(crate) guard: Guard,
}

impl Session {
    pub(crate) fn start() -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no repository")?.to_path_buf();
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        let artifacts = target.join("test-artifacts");
        fs::create_dir_all(&artifacts).map_err(|e| format!("{}: {e}", artifacts.display()))?;
        Ok(Self { root, target, artifacts, guard: Guard::start()? })
    }

    /// A command in the root of the repository. Removes the `TRELLIS_*` variables, because they would change what is
    /// tested, and places the caches of tools in `target/`.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("TRELLIS_") {
                command.env_remove(name);
            }
        }
        command
            .env("npm_config_cache", self.target.join("npm-cache"))
            .env("npm_config_update_notifier", "false")
            .env("PIP_CACHE_DIR", self.target.join("pip-cache"))
            .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// The cargo that started xtask.
    pub(crate) fn cargo(&self) -> Command {
        self.command(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
    }

    /// Runs a named step: prints its name and duration, and stores its log in `target/test-artifacts`.
    pub(crate) fn step(&self, name: &str, command: &mut Command) -> Result<Output, String> {
        self.step_with(name, command, |_| {})
    }

    /// Like [`Session::step`], and calls `on_line` with each line of output.
    pub(crate) fn step_with(
        &self,
        name: &str,
        command: &mut Command,
        on_line: impl FnMut(&str) + Send,
    ) -> Result<Output, String> {
        eprintln!("==> {name}");
        let started = Instant::now();
        let output = process::run(command, &self.guard, on_line, still_running)?;
        let log = self.artifacts.join(format!("{}.log", name.replace([' ', '/', ':'], "-")));
        fs::write(&log, &output.text).map_err(|e| format!("{}: {e}", log.display()))?;
        let verdict = if output.success { "ok" } else { "FAILED" };
        eprintln!("    {verdict} ({})", seconds(started.elapsed()));
        Ok(output)
    }

    /// Runs a step that must succeed. The error holds its output.
    pub(crate) fn must(&self, name: &str, command: &mut Command) -> Result<Output, String> {
        let output = self.step(name, command)?;
        if output.success { Ok(output) } else { Err(format!("{name} failed:\n{}", output.text.trim_end())) }
    }

    /// Runs a quick command and returns its output, without a progress report.
    pub(crate) fn output(&self, command: &mut Command) -> Result<String, String> {
        let output = process::run(command, &self.guard, |_| {}, |_, _| {})?;
        let name = command.get_program().to_string_lossy();
        if output.success { Ok(output.text) } else { Err(format!("{name} failed:\n{}", output.text.trim_end())) }
    }
}

fn still_running(since: Duration, last: &str) {
    let last: String = last.chars().take(100).collect();
    eprintln!("    … {}: {last}", seconds(since));
}

pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
