//! Envoy with one worker.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const CONFIG: &str = include_str!("envoy.yaml");

/// The ports of Envoy's listeners and of its upstream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) plain: u16,
    /// The listener whose rate limit refuses every call.
    pub(super) refusing: u16,
    pub(super) upstream: u16,
}

/// The command that starts Envoy. Writes its configuration into `folder`.
pub(super) fn command(binary: &Path, folder: &Path, ports: Ports) -> Result<Command, String> {
    let file: PathBuf = folder.join("envoy.yaml");
    let mut config = CONFIG.to_owned();
    for (name, port) in [("plain", ports.plain), ("refusing", ports.refusing), ("upstream", ports.upstream)] {
        config = config.replace(&format!("{{{name}}}"), &port.to_string());
    }
    fs::write(&file, config).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut command = Command::new(binary);
    command.arg("--config-path").arg(file);
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]);
    Ok(command)
}
