//! The temporary folder of a run, free ports, and the unprivileged user of the servers.

use std::{
    env, fs,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{self, Command},
};

use crate::process::Guard;

/// A temporary folder. Removed on drop.
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Creates a folder that every user may enter, because PostgreSQL does not run as root.
    pub(crate) fn create(guard: &Guard) -> Result<Self, String> {
        let path = enterable_temp().join(format!("trellis-xtask-{}", process::id()));
        guard.folder(&path);
        fs::create_dir(&path)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self { path })
    }

    /// Creates a folder inside it that `user` owns.
    pub(crate) fn folder(&self, name: &str, user: Option<User>) -> Result<PathBuf, String> {
        let path = self.path.join(name);
        fs::create_dir(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        if let Some(user) = user {
            chown(&path, Some(user.uid), Some(user.gid)).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("xtask: {} was not removed: {error}", self.path.display());
        }
    }
}

/// The system's temporary folder if all users may enter it, else `/tmp`.
fn enterable_temp() -> PathBuf {
    let wanted = env::temp_dir();
    let open = |path: &Path| fs::metadata(path).is_ok_and(|m| m.mode() & 0o001 != 0);
    if wanted.ancestors().all(open) { wanted } else { PathBuf::from("/tmp") }
}

/// An unprivileged user.
#[derive(Clone, Copy)]
pub(crate) struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// The user for the servers if xtask runs as root. `None` otherwise: they run as the current user.
    pub(crate) fn unprivileged() -> Result<Option<Self>, String> {
        if !is_root() {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").map_err(|e| format!("/etc/passwd: {e}"))?;
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| Self::named(&users, name))
            .map(Some)
            .ok_or_else(|| "PostgreSQL does not run as root, and there is no user `postgres` or `nobody`".to_owned())
    }

    fn named(users: &str, name: &str) -> Option<Self> {
        let mut parts = users.lines().find(|line| line.split(':').next() == Some(name))?.split(':').skip(2);
        Some(Self { uid: parts.next()?.parse().ok()?, gid: parts.next()?.parse().ok()? })
    }
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// Makes `command` run as `user`.
pub(crate) fn run_as(command: &mut Command, user: Option<User>) {
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
}

/// Starts a server on a free port of 127.0.0.1. Retries on another port if a program takes it before the server binds.
pub(crate) fn on_a_free_port<T>(start: impl Fn(u16) -> Result<T, String>) -> Result<T, String> {
    const ATTEMPTS: usize = 5;
    let mut ended = Err("no attempt was made".to_owned());
    for _ in 0..ATTEMPTS {
        ended = start(free_port()?);
        if !ended.as_ref().is_err_and(|error| error.contains("Address already in use")) {
            break;
        }
    }
    ended
}

fn free_port() -> Result<u16, String> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|e| format!("no free port: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_is_retried_when_the_port_is_in_use() {
        let attempts = std::cell::Cell::new(0);
        let start = |fails: &'static str| {
            attempts.set(0);
            on_a_free_port(|port| {
                attempts.set(attempts.get() + 1);
                if attempts.get() < 3 { Err(fails.to_owned()) } else { Ok(port) }
            })
        };
        assert!(start("bind: Address already in use").is_ok() && attempts.get() == 3);
        assert!(start("no such file").is_err() && attempts.get() == 1);
    }

    #[test]
    fn users_are_matched_by_their_full_name() {
        let users = "postgresql:x:1:2::/:/bin/sh\npostgres:x:105:113::/var/lib/postgresql:/bin/bash\n";
        let user = User::named(users, "postgres").unwrap();
        assert_eq!((user.uid, user.gid), (105, 113));
        assert!(User::named(users, "nobody").is_none());
    }
}
