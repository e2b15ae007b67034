//! Child processes, each in its own process group, and the guard that stops them however xtask ends.
//!
//! The guard is a second process of this program, which reads from a pipe. When xtask exits or is killed, the pipe
//! closes. Then the guard stops every registered process group and removes every registered folder. This needs no
//! signal handler, and covers SIGKILL.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{self, BufRead as _, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// The time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);

/// A handle to the guard process.
#[derive(Clone)]
pub(crate) struct Guard(Arc<Mutex<GuardProcess>>);

struct GuardProcess {
    child: Child,
    /// `None` once closed. After that the guard process stops the groups and removes the folders.
    pipe: Option<ChildStdin>,
}

impl Guard {
    pub(crate) fn start() -> Result<Self, String> {
        let this = env::current_exe().map_err(|e| format!("cannot find the path of xtask: {e}"))?;
        let mut child = Command::new(this)
            .arg("guard")
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|e| format!("cannot start the guard: {e}"))?;
        let pipe = child.stdin.take();
        Ok(Self(Arc::new(Mutex::new(GuardProcess { child, pipe }))))
    }

    /// Registers a folder for removal.
    pub(crate) fn folder(&self, path: &Path) {
        self.send(&format!("+folder {}", path.display()));
    }

    fn send(&self, line: &str) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipe) = &mut guard.pipe {
            // Writing fails if the guard was killed. The destructors of this process still clean up.
            writeln!(pipe, "{line}").and_then(|()| pipe.flush()).ok();
        }
    }
}

impl Drop for GuardProcess {
    fn drop(&mut self) {
        self.pipe.take();
        self.child.wait().ok();
    }
}

/// The main function of the guard process.
pub(crate) fn guard() -> Result<bool, String> {
    let mut groups = BTreeSet::new();
    let mut folders = BTreeSet::new();
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match line.split_once(' ') {
            Some(("+group", id)) => drop(groups.insert(id.to_owned())),
            Some(("-group", id)) => drop(groups.remove(id)),
            Some(("+folder", path)) => drop(folders.insert(PathBuf::from(path))),
            _ => {}
        }
    }
    groups.iter().for_each(|id| terminate(id));
    let deadline = Instant::now() + GRACE;
    while groups.iter().any(|id| signal(id, "0")) && Instant::now() < deadline {
        thread::sleep(POLL);
    }
    for id in &groups {
        signal(id, "KILL");
    }
    folders.iter().for_each(|path| drop(fs::remove_dir_all(path)));
    Ok(true)
}

/// Sends SIGTERM and SIGINT: on SIGTERM alone, PostgreSQL waits for its clients.
fn terminate(group: &str) {
    signal(group, "TERM");
    signal(group, "INT");
}

/// Sends the signal `name` to a process group. Returns whether the group exists. Uses the shell's built-in `kill`,
/// because a minimal system lacks the program.
fn signal(group: &str, name: &str) -> bool {
    Command::new("sh")
        .args(["-c", "kill -s \"$1\" -- \"-$2\"", "sh", name, group])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A running child and all its descendants. Stopped on drop.
pub(crate) struct Group {
    child: Child,
    id: String,
    guard: Guard,
    name: String,
}

impl Group {
    pub(crate) fn start(command: &mut Command, guard: &Guard) -> Result<Self, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child =
            command.stdin(Stdio::null()).process_group(0).spawn().map_err(|e| format!("cannot start {name}: {e}"))?;
        let id = child.id().to_string();
        guard.send(&format!("+group {id}"));
        Ok(Self { child, id, guard: guard.clone(), name })
    }

    /// The exit status, if the child has exited.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, String> {
        self.child.try_wait().map_err(|e| format!("cannot wait for {}: {e}", self.name))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            terminate(&self.id);
            let deadline = Instant::now() + GRACE;
            while self.child.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < deadline {
                thread::sleep(POLL);
            }
        }
        // Descendants may outlive the leader of the group.
        signal(&self.id, "KILL");
        self.child.wait().ok();
        self.guard.send(&format!("-group {}", self.id));
    }
}

/// The output of a finished command.
pub(crate) struct Output {
    pub(crate) success: bool,
    pub(crate) code: Option<i32>,
    /// stdout and stderr, interleaved.
    pub(crate) text: String,
}

/// Runs a command to its end. Calls `on_line` with each line, and `idle` every 20 s with the last line, so that the
/// user sees progress.
pub(crate) fn run(
    command: &mut Command,
    guard: &Guard,
    mut on_line: impl FnMut(&str) + Send,
    idle: impl Fn(Duration, &str),
) -> Result<Output, String> {
    let failed = |e: io::Error| format!("cannot read the output of a command: {e}");
    let (reader, writer) = io::pipe().map_err(failed)?;
    command.stdout(writer.try_clone().map_err(failed)?).stderr(writer);
    let mut group = Group::start(command, guard)?;
    // Closes this process's copies of the writing end: the reader sees the end only when all of them are closed.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let last = Mutex::new(String::new());
    let (status, text) = thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut text = String::new();
            let mut lines = io::BufReader::new(reader);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let shown = String::from_utf8_lossy(&line).into_owned();
                on_line(shown.trim_end());
                shown.trim().clone_into(&mut last.lock().unwrap_or_else(PoisonError::into_inner));
                text.push_str(&shown);
                line.clear();
            }
            text
        });
        let status = wait(&mut group, |since| idle(since, &last.lock().unwrap_or_else(PoisonError::into_inner)));
        drop(group);
        (status, reading.join().unwrap_or_default())
    });
    let status = status?;
    Ok(Output { success: status.success(), code: status.code(), text })
}

fn wait(group: &mut Group, idle: impl Fn(Duration)) -> Result<ExitStatus, String> {
    let started = Instant::now();
    let mut reported = started;
    loop {
        if let Some(status) = group.ended()? {
            return Ok(status);
        }
        if reported.elapsed() > Duration::from_secs(20) {
            reported = Instant::now();
            idle(started.elapsed());
        }
        thread::sleep(POLL);
    }
}
