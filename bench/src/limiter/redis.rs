//! Redis' own counters.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

/// The counters of a Redis server.
#[derive(Debug, Clone, Default)]
pub(super) struct Stats {
    /// Script calls from clients.
    pub(super) scripts: f64,
    /// All commands, including those inside scripts.
    pub(super) commands: f64,
    /// CPU time, in seconds.
    pub(super) cpu: f64,
}

impl Stats {
    pub(super) fn read(url: &str) -> Result<Self, String> {
        let address = url.trim_start_matches("redis://").trim_end_matches('/');
        let info = |section: &str| info(address, section).map_err(|e| format!("{address}: {e}"));
        let (commands, cpu) = (info("commandstats")?, info("cpu")?);
        let calls = |line: &str| -> Option<(bool, f64)> {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.starts_with("eval"), rest.split(',').next()?.parse().ok()?))
        };
        let counted: Vec<_> = commands.lines().filter_map(calls).collect();
        let second = |key: &str| cpu.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<f64>().ok());
        Ok(Self {
            scripts: counted.iter().filter(|(is_script, _)| *is_script).map(|(_, calls)| calls).sum(),
            commands: counted.iter().map(|(_, calls)| calls).sum(),
            cpu: second("used_cpu_user:").unwrap_or(0.0) + second("used_cpu_sys:").unwrap_or(0.0),
        })
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            scripts: self.scripts - before.scripts,
            commands: self.commands - before.commands,
            cpu: self.cpu - before.cpu,
        }
    }
}

/// Reads one section of INFO.
fn info(address: &str, section: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("INFO {section}\r\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut length = String::new();
    reader.read_line(&mut length)?;
    let length = length.trim().trim_start_matches('$').parse().map_err(std::io::Error::other)?;
    let mut text = vec![0; length];
    reader.read_exact(&mut text)?;
    String::from_utf8(text).map_err(std::io::Error::other)
}
