//! A Redis for one test, which may stop it, empty it and start it again. Included by the test binaries of several
//! crates.

#[path = "ports.rs"]
mod ports;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

pub(crate) use ports::reserve as free_port;

/// The timeout of a start, with tolerance for a busy machine.
const START: Duration = Duration::from_secs(30);

/// One server. It ends when dropped.
pub(crate) struct Redis {
    program: PathBuf,
    folder: tempfile::TempDir,
    pub(crate) port: u16,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// Starts an empty server and waits until it is ready.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the test runner sets the program's path")]
        let program = std::env::var("TRELLIS_TEST_REDIS_SERVER")
            .expect("TRELLIS_TEST_REDIS_SERVER is not set: run cargo xtask test");
        let mut redis = Self {
            program: program.into(),
            folder: tempfile::tempdir().expect("a temporary folder"),
            port: free_port(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            child: None,
        };
        redis.launch();
        redis
    }

    /// `redis://…`
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Starts it again on the same port. It is empty, because it stores nothing on disk.
    pub(crate) fn launch(&mut self) {
        let mut command = Command::new(&self.program);
        command.current_dir(self.folder.path()).args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(["--port", &self.port.to_string()]).args(&self.arguments);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("redis-server starts");
        self.child = Some(child);
        let started = Instant::now();
        // A server that requires a password is ready too.
        let is_up = |response: String| response == "PONG" || response.starts_with("-NOAUTH");
        while !self.try_ask(&["PING"]).is_some_and(is_up) {
            assert!(started.elapsed() < START, "redis-server does not respond");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
    }

    /// Sends a signal by name: STOP leaves its connections open and silent, CONT resumes it.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("the server runs").id();
        let status = Command::new("sh").args(["-c", &format!("kill -s {name} {id}")]).status().expect("sh runs");
        assert!(status.success());
    }

    /// The response to a command, which must not be an error.
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        let response = self.try_ask(words).expect("redis-server responds");
        assert!(!response.starts_with('-'), "{words:?}: {response}");
        response
    }

    /// Simple values as text; other values line by line, as on the wire.
    fn try_ask(&self, words: &[&str]) -> Option<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        // QUIT makes the server close the connection, so the response is all that was received before.
        request += "*1\r\n$4\r\nQUIT\r\n";
        stream.write_all(request.as_bytes()).ok()?;
        let mut reader = BufReader::new(stream);
        let (mut first, mut rest) = (String::new(), String::new());
        reader.read_line(&mut first).ok()?;
        reader.read_to_string(&mut rest).ok()?;
        let rest = rest.strip_suffix("+OK\r\n").unwrap_or(&rest);
        Some(match first.trim_end().split_at_checked(1)? {
            ("+" | ":", text) => text.to_owned(),
            ("$" | "*", _) => rest.to_owned(),
            _ => first,
        })
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
