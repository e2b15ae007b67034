//! Envoy with one worker.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{process::free_port, scenarios::Kind};
use crate::records;

const CONFIG: &str = include_str!("envoy.yaml");

/// The ports of Envoy's listeners and of its upstream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    /// gRPC-Web.
    plain: u16,
    /// JSON over HTTP, with the filter `grpc_json_transcoder`.
    json: u16,
    /// Connect, with the filter `connect_grpc_bridge`.
    connect: u16,
    /// The listener whose rate limit refuses every call.
    refusing: u16,
    upstream: u16,
}

impl Ports {
    pub(super) fn free(upstream: u16) -> Result<Self, String> {
        let (plain, json, connect, refusing) = (free_port()?, free_port()?, free_port()?, free_port()?);
        Ok(Self { plain, json, connect, refusing, upstream })
    }

    /// The port of the scenarios of a kind.
    pub(super) fn of(&self, kind: Kind) -> u16 {
        match kind {
            Kind::Refused => self.refusing,
            Kind::Json | Kind::Events => self.json,
            Kind::Connect => self.connect,
            _ => self.plain,
        }
    }

    /// The port of the last listener in the configuration.
    pub(super) fn last(&self) -> u16 {
        self.refusing
    }
}

/// The command that starts Envoy. Writes its configuration into `folder`.
pub(super) fn command(binary: &Path, folder: &Path, ports: Ports, descriptors: &Path) -> Result<Command, String> {
    let file: PathBuf = folder.join("envoy.yaml");
    let mut config = CONFIG.to_owned();
    let Ports { plain, json, connect, refusing, upstream } = ports;
    for (name, port) in
        [("plain", plain), ("json", json), ("connect", connect), ("refusing", refusing), ("upstream", upstream)]
    {
        config = config.replace(&format!("{{{name}}}"), &port.to_string());
    }
    config = config.replace("{descriptors}", &descriptors.display().to_string()).replace("{service}", records::SERVICE);
    fs::write(&file, config).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut command = Command::new(binary);
    command.arg("--config-path").arg(file);
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]);
    Ok(command)
}
