//! A private PostgreSQL with its own data folder, on a free port of 127.0.0.1. Stopped on drop.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{
    process::Group,
    scratch::{self, Scratch, User},
    session::Session,
};

const START_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct Postgres {
    /// `postgres://…`
    pub(crate) url: String,
    server: Group,
}

impl Postgres {
    /// `bin` is the folder of `initdb` and `postgres`.
    pub(crate) fn start(session: &Session, scratch: &Scratch, bin: &Path) -> Result<Self, String> {
        let user = User::unprivileged()?;
        let folder = scratch.folder("postgres", user)?;
        let data = folder.join("data");

        let mut initdb = session.command(bin.join("initdb"));
        initdb.current_dir(&folder).arg("-D").arg(&data);
        initdb.args(["-U", "trellis", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]);
        scratch::run_as(&mut initdb, user);
        session.must("initdb", &mut initdb)?;
        scratch::on_a_free_port(|port| Self::start_on(port, &folder, session, bin, user))
    }

    /// Whether the server has ended.
    pub(crate) fn ended(&mut self) -> Result<bool, String> {
        self.server.ended().map(|status| status.is_some())
    }

    fn start_on(port: u16, folder: &Path, session: &Session, bin: &Path, user: Option<User>) -> Result<Self, String> {
        let data = folder.join("data");
        let log = folder.join("log");
        let output = fs::File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let mut server = session.command(bin.join("postgres"));
        server.current_dir(folder).arg("-D").arg(&data).args(settings(port));
        server.stdout(output.try_clone().map_err(|e| e.to_string())?).stderr(output);
        scratch::run_as(&mut server, user);
        let mut server = Group::start(&mut server, &session.guard)?;
        wait_until_ready(&mut server, &data, &log)?;
        Ok(Self { url: format!("postgres://trellis@127.0.0.1:{port}/postgres"), server })
    }
}

/// No fsync: the tests kill the services, not this server, and its data does not outlive it.
fn settings(port: u16) -> Vec<String> {
    let settings = [
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        "unix_socket_directories=".to_owned(),
        "fsync=off".to_owned(),
        "max_connections=200".to_owned(),
        "logging_collector=off".to_owned(),
    ];
    settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]).collect()
}

/// Waits for "ready" in line 8 of postmaster.pid, the server's state, as pg_ctl does.
fn wait_until_ready(server: &mut Group, data: &Path, log: &PathBuf) -> Result<(), String> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let state = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        if state.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
            return Ok(());
        }
        if server.ended()?.is_some() || Instant::now() > deadline {
            let output = fs::read_to_string(log).unwrap_or_default();
            return Err(format!("PostgreSQL did not start:\n{output}"));
        }
        thread::sleep(Duration::from_millis(10));
    }
}
