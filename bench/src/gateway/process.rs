//! A child process pinned to cores, and its CPU time and memory.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The timeout of a start on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A child process. Killed on drop, without a graceful shutdown.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` on `cores`, a list as taskset reads it, and appends its output to `log`.
    pub(crate) fn start(command: &Command, cores: &str, log: &Path) -> Result<Self, String> {
        let failed = |e: std::io::Error| format!("{}: {e}", command.get_program().to_string_lossy());
        let output = File::options().create(true).append(true).open(log).map_err(failed)?;
        let mut pinned = Command::new("taskset");
        // taskset executes the program in its own process, so the process id is the program's.
        pinned.args(["--cpu-list", cores]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => pinned.env(name, value),
                None => pinned.env_remove(name),
            };
        }
        let child = pinned.stdin(Stdio::null()).stdout(output.try_clone().map_err(failed)?).stderr(output);
        Ok(Self { child: child.spawn().map_err(failed)?, log: log.to_owned() })
    }

    /// Waits until the process listens on `port`.
    pub(crate) async fn listens(&mut self, port: u16) -> Result<(), String> {
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = self.child.try_wait().map_err(|e| e.to_string())?;
            if ended.is_some() || started.elapsed() > START_TIMEOUT {
                let output = fs::read_to_string(&self.log).unwrap_or_default();
                return Err(format!("a contender did not start:\n{output}"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Kills the process, which frees its port.
    pub(crate) fn stop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The CPU time of all threads, in user space and in the kernel.
    pub(crate) fn cpu(&self) -> Result<Duration, String> {
        let folder = format!("/proc/{}/task", self.id());
        let threads = fs::read_dir(&folder).map_err(|e| format!("{folder}: {e}"))?;
        let nanos = threads.flatten().filter_map(|thread| {
            // Nanoseconds on a core, nanoseconds of waiting, time slices. `stat` has a resolution of 10 ms.
            fs::read_to_string(thread.path().join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok()
        });
        Ok(Duration::from_nanos(nanos.sum()))
    }

    /// The resident memory, in bytes.
    pub(crate) fn memory(&self) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.id());
        let text = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
        let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        let kilobytes: Option<u64> = kilobytes.and_then(|number| number.parse().ok());
        kilobytes.map(|number| number * 1024).ok_or_else(|| format!("{path} has no VmRSS"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port of 127.0.0.1 that is free now.
pub(crate) fn free_port() -> Result<u16, String> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(|e| format!("no free port: {e}"))
}
