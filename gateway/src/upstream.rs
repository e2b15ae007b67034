//! What is behind the gateway: clusters of servers, and the connections to each.

mod cluster;
mod server;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use kit::{error::chain, limits::Limits};

pub(crate) use cluster::Cluster;
pub(crate) use server::Place;
use server::Server;

/// All upstreams by address: a reload keeps the connections of those that stay.
pub(crate) struct Upstreams {
    most_connections: usize,
    known: Mutex<HashMap<String, Weak<Server>>>,
}

impl Upstreams {
    /// Each upstream has at most so many connections.
    pub(crate) fn new(most_connections: usize) -> Self {
        Self { most_connections, known: Mutex::default() }
    }

    /// The servers at `addresses` (`http://host:port`), any of which can answer a call.
    pub(crate) fn cluster(&self, addresses: &[String], limits: &Limits) -> Result<Arc<Cluster>, String> {
        let members = addresses.iter().map(|address| self.get(address, limits)).collect::<Result<_, _>>()?;
        Ok(Arc::new(Cluster::new(members)))
    }

    fn get(&self, address: &str, limits: &Limits) -> Result<Arc<Server>, String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(upstream) = known.get(address).and_then(Weak::upgrade) {
            return Ok(upstream);
        }
        let upstream = Arc::new(Server::new(address, self.most_connections, limits)?);
        known.retain(|_, upstream| upstream.strong_count() > 0);
        known.insert(address.to_owned(), Arc::downgrade(&upstream));
        Ok(upstream)
    }
}

/// Why a call did not come back with an answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody listens there, or not in time.
    Unreachable(String),
    /// All connections are full.
    Full,
    /// The connection or the stream broke; the call may have been worked on.
    Broken(hyper::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "no connection: {why}"),
            Self::Full => f.write_str("all connections are full"),
            Self::Broken(error) => f.write_str(&chain(error)),
        }
    }
}
