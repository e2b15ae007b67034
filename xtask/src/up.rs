//! `cargo xtask up`: keeps the servers of the tests running, so that single tests start within seconds.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{self, Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    postgres::Postgres,
    provision::{self, Need},
    redis::Redis,
    scratch::Scratch,
    session::Session,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The addresses of running servers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Servers {
    /// `postgres://…`
    pub(crate) postgres: String,
    /// `redis://…`
    pub(crate) redis: String,
}

/// Starts PostgreSQL and Redis and keeps them until the command is interrupted. Fails when one of them ends.
pub(crate) fn run(session: &Session) -> Result<bool, String> {
    if let Some(servers) = running(session) {
        return Err(format!("the servers already run at {} and {}", servers.postgres, servers.redis));
    }
    provision::provision(session, &[Need::Postgres, Need::Redis])?;
    let scratch = Scratch::create(&session.guard)?;
    let mut postgres = Postgres::start(session, &scratch, &Need::Postgres.found()?)?;
    let mut redis = Redis::start(session, &scratch, &Need::Redis.found()?)?;
    let servers = Servers { postgres: postgres.url.clone(), redis: redis.url.clone() };
    let path = path(session);
    fs::write(&path, servers.to_lines(process::id())).map_err(|e| format!("{}: {e}", path.display()))?;
    eprintln!("PostgreSQL  {}\nRedis       {}", servers.postgres, servers.redis);
    eprintln!("In another terminal: cargo xtask test -- -p messaging NAME. Ctrl-C stops the servers.");
    loop {
        thread::sleep(CHECK_INTERVAL);
        for (name, ended) in [("PostgreSQL", postgres.ended()?), ("Redis", redis.ended()?)] {
            if ended {
                return Err(format!("{name} ended; run cargo xtask up again"));
            }
        }
    }
}

/// The servers that `cargo xtask up` keeps, if both accept connections.
pub(crate) fn running(session: &Session) -> Option<Servers> {
    let (servers, keeper) = Servers::from_lines(&fs::read_to_string(path(session)).ok()?)?;
    // Another program may have the ports of servers that have ended.
    let is_kept = Command::new("kill").args(["-0", &keeper]).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    let is_up = is_kept && accepts(&servers.postgres) && accepts(&servers.redis);
    is_up.then_some(servers)
}

fn path(session: &Session) -> PathBuf {
    session.target.join("test-servers")
}

impl Servers {
    /// The addresses, and the process that keeps the servers.
    fn to_lines(&self, keeper: u32) -> String {
        format!("{}\n{}\n{keeper}\n", self.postgres, self.redis)
    }

    fn from_lines(text: &str) -> Option<(Self, String)> {
        let [postgres, redis, keeper] = text.lines().map(str::to_owned).collect::<Vec<_>>().try_into().ok()?;
        Some((Self { postgres, redis }, keeper))
    }
}

fn accepts(url: &str) -> bool {
    address(url).is_some_and(|address| TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).is_ok())
}

/// The address in `scheme://user@127.0.0.1:5432/path`.
fn address(url: &str) -> Option<SocketAddr> {
    let authority = url.split("://").nth(1)?.split('/').next()?;
    authority.rsplit('@').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_urls() {
        let expected: SocketAddr = ([127, 0, 0, 1], 5432).into();
        assert_eq!(address("postgres://trellis@127.0.0.1:5432/postgres"), Some(expected));
        assert_eq!(address("redis://127.0.0.1:5432/"), Some(expected));
        assert_eq!(address("nonsense"), None);
    }

    #[test]
    fn file_is_read_as_it_was_written() {
        let servers = Servers { postgres: "postgres://a".to_owned(), redis: "redis://b".to_owned() };
        assert_eq!(Servers::from_lines(&servers.to_lines(7)), Some((servers, "7".to_owned())));
        assert_eq!(Servers::from_lines(""), None);
    }
}
