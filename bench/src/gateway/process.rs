//! A child on a core of its own, and what the kernel counts of it.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(60);

/// Killed when dropped: nothing in it is worth a way down.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` on `core`; what it says goes to `log`.
    pub(crate) fn start(command: &Command, core: usize, log: &Path) -> Result<Self, String> {
        let failed = |e: std::io::Error| format!("{}: {e}", command.get_program().to_string_lossy());
        let said = File::options().create(true).append(true).open(log).map_err(failed)?;
        let mut pinned = Command::new("taskset");
        // It becomes the program that it is given, so the process number is the program's.
        pinned.args(["--cpu-list", &core.to_string()]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => pinned.env(name, value),
                None => pinned.env_remove(name),
            };
        }
        let child = pinned.stdin(Stdio::null()).stdout(said.try_clone().map_err(failed)?).stderr(said);
        Ok(Self { child: child.spawn().map_err(failed)?, log: log.to_owned() })
    }

    /// Waits until it listens.
    pub(crate) async fn listens(&mut self, port: u16) -> Result<(), String> {
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = self.child.try_wait().map_err(|e| e.to_string())?;
            if ended.is_some() || started.elapsed() > START {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                return Err(format!("a contender did not start:\n{said}"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Ends it, so that its port is free again.
    pub(crate) fn stop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The CPU time of all its threads, in user space and in the kernel.
    pub(crate) fn cpu(&self) -> Result<Duration, String> {
        let folder = format!("/proc/{}/task", self.id());
        let threads = fs::read_dir(&folder).map_err(|e| format!("{folder}: {e}"))?;
        let nanos = threads.flatten().filter_map(|thread| {
            // Nanoseconds on a core, nanoseconds of waiting, turns. `stat` knows hundredths of a second only.
            fs::read_to_string(thread.path().join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok()
        });
        Ok(Duration::from_nanos(nanos.sum()))
    }

    /// The memory that it holds, in bytes.
    pub(crate) fn memory(&self) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.id());
        let text = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
        let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        let kilobytes: Option<u64> = kilobytes.and_then(|number| number.parse().ok());
        kilobytes.map(|number| number * 1024).ok_or_else(|| format!("{path} tells no memory"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port of 127.0.0.1 that nobody has now.
pub(crate) fn free_port() -> Result<u16, String> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(|e| format!("no free port: {e}"))
}
