//! A server under test, or behind one: its process, which can be restarted on the same port.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::process::Process;

pub(super) struct Server {
    command: Command,
    cores: &'static str,
    log: PathBuf,
    pub(super) port: u16,
    pub(super) process: Process,
}

impl Server {
    /// Starts `command` on `cores`, and waits until it listens on `port`. Its log has its name in `folder`.
    pub(super) async fn start(
        name: &str,
        command: Command,
        cores: &'static str,
        folder: &Path,
        port: u16,
    ) -> Result<Self, String> {
        let log = folder.join(format!("{name}.log"));
        let mut process = Process::start(&command, cores, &log)?;
        process.listens(port).await?;
        Ok(Self { command, cores, log, port, process })
    }

    pub(super) async fn restart(&mut self) -> Result<(), String> {
        self.process.stop();
        // The log of the earlier process would be misleading.
        fs::remove_file(&self.log).ok();
        self.process = Process::start(&self.command, self.cores, &self.log)?;
        self.process.listens(self.port).await
    }
}
