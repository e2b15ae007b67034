//! A private Redis without persistence, on a free port of 127.0.0.1. Stopped on drop.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    process::Group,
    scratch::{self, Scratch},
    session::Session,
};

const START_TIMEOUT: Duration = Duration::from_secs(15);

pub(crate) struct Redis {
    /// `redis://…`
    pub(crate) url: String,
    server: Group,
}

impl Redis {
    pub(crate) fn start(session: &Session, scratch: &Scratch, program: &Path) -> Result<Self, String> {
        let folder = scratch.folder("redis", None)?;
        scratch::on_a_free_port(|port| Self::start_on(port, &folder, session, program))
    }

    /// Whether the server has ended.
    pub(crate) fn ended(&mut self) -> Result<bool, String> {
        self.server.ended().map(|status| status.is_some())
    }

    fn start_on(port: u16, folder: &Path, session: &Session, program: &Path) -> Result<Self, String> {
        let log = folder.join("log");
        let output = fs::File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let mut server = session.command(program);
        server.current_dir(folder).args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        server.arg("--port").arg(port.to_string());
        server.stdout(output.try_clone().map_err(|e| e.to_string())?).stderr(output);
        let mut server = Group::start(&mut server, &session.guard)?;

        let deadline = Instant::now() + START_TIMEOUT;
        while !responds(port) {
            if server.ended()?.is_some() || Instant::now() > deadline {
                return Err(format!("Redis did not start:\n{}", fs::read_to_string(&log).unwrap_or_default()));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { url: format!("redis://127.0.0.1:{port}/"), server })
    }
}

fn responds(port: u16) -> bool {
    let ping = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut response = [0; 7];
        stream.read_exact(&mut response)?;
        Ok(&response == b"+PONG\r\n")
    };
    ping().unwrap_or(false)
}
