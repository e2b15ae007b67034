//! Child processes, each in a process group of its own, and the guard that ends them whatever happens to us.
//!
//! The guard is this program again, waiting on a pipe. When the pipe closes, because we ended or were killed in
//! any way, it ends every group and removes every folder that was named to it and not taken back. That needs no
//! signal handler, and works for SIGKILL too.

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

/// How long a group gets to end by itself before SIGKILL.
const PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);

/// The guard's pipe.
#[derive(Clone)]
pub(crate) struct Guard(Arc<Mutex<GuardProcess>>);

struct GuardProcess {
    child: Child,
    /// Taken at the end: its closing is the signal.
    pipe: Option<ChildStdin>,
}

impl Guard {
    pub(crate) fn start() -> Result<Self, String> {
        let this = env::current_exe().map_err(|e| format!("cannot find myself: {e}"))?;
        let mut child = Command::new(this)
            .arg("guard")
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|e| format!("cannot start the guard: {e}"))?;
        let pipe = child.stdin.take();
        Ok(Self(Arc::new(Mutex::new(GuardProcess { child, pipe }))))
    }

    /// Names a folder to remove.
    pub(crate) fn folder(&self, path: &Path) {
        self.tell(&format!("+folder {}", path.display()));
    }

    fn tell(&self, line: &str) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipe) = &mut guard.pipe {
            // A guard that was killed can no longer be told; our own Drop still cleans up.
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

/// The guard's own main.
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
    groups.iter().for_each(|id| ask_to_end(id));
    let deadline = Instant::now() + PATIENCE;
    while groups.iter().any(|id| signals(id, "0")) && Instant::now() < deadline {
        thread::sleep(POLL);
    }
    groups.iter().for_each(|id| signal(id, "KILL"));
    folders.iter().for_each(|path| drop(fs::remove_dir_all(path)));
    Ok(true)
}

/// After SIGTERM alone PostgreSQL waits for its clients; after SIGINT it does not.
fn ask_to_end(group: &str) {
    signal(group, "TERM");
    signal(group, "INT");
}

/// Sends `name` to a process group. There may be none left: that is fine.
fn signal(group: &str, name: &str) {
    signals(group, name);
}

/// As [`signal`]; whether there was somebody to receive it. The shell's own `kill`, because the program of that
/// name is not part of a minimal system.
fn signals(group: &str, name: &str) -> bool {
    Command::new("sh")
        .args(["-c", "kill -s \"$1\" -- \"-$2\"", "sh", name, group])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A running child with everything that it started. Ended when dropped.
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
        guard.tell(&format!("+group {id}"));
        Ok(Self { child, id, guard: guard.clone(), name })
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, String> {
        self.child.try_wait().map_err(|e| format!("cannot wait for {}: {e}", self.name))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            ask_to_end(&self.id);
            let deadline = Instant::now() + PATIENCE;
            while self.child.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < deadline {
                thread::sleep(POLL);
            }
        }
        // Whoever outlived its leader goes too.
        signal(&self.id, "KILL");
        self.child.wait().ok();
        self.guard.tell(&format!("-group {}", self.id));
    }
}

/// What a finished command said.
pub(crate) struct Output {
    pub(crate) success: bool,
    pub(crate) code: Option<i32>,
    /// stdout and stderr as they came.
    pub(crate) text: String,
}

/// Runs a command to its end. Each line goes to `on_line` as it comes; `idle` is called now and then with the
/// last line, so that somebody who waits sees that something happens.
pub(crate) fn run(
    command: &mut Command,
    guard: &Guard,
    mut on_line: impl FnMut(&str) + Send,
    idle: impl Fn(Duration, &str),
) -> Result<Output, String> {
    let failed = |e: io::Error| format!("cannot read what a command says: {e}");
    let (reader, writer) = io::pipe().map_err(failed)?;
    command.stdout(writer.try_clone().map_err(failed)?).stderr(writer);
    let mut group = Group::start(command, guard)?;
    // Ours are the last writing ends but the child's: without this the reader would never see the end.
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
    let mut told = started;
    loop {
        if let Some(status) = group.ended()? {
            return Ok(status);
        }
        if told.elapsed() > Duration::from_secs(20) {
            told = Instant::now();
            idle(started.elapsed());
        }
        thread::sleep(POLL);
    }
}
