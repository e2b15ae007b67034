//! What is behind the gateway: clusters of servers, and the connections to each.

mod call;
mod cluster;
mod server;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use h2::Reason;
use kit::{
    balance::{self, Balancer, Location},
    error::chain,
    limits::Limits,
    server::Surroundings,
};

pub(crate) use call::Reply;
pub(crate) use cluster::{Cluster, Place};
use server::Server;

/// All upstreams: a reload keeps the clusters and the connections of those that stay.
pub(crate) struct Upstreams {
    servers: Arc<Servers>,
    balance: balance::Config,
    /// By addresses.
    clusters: Mutex<HashMap<Vec<String>, Weak<Cluster>>>,
}

impl Upstreams {
    /// Each server has at most so many connections.
    pub(crate) fn new(most_connections: usize, surroundings: &Surroundings) -> Self {
        let servers = Servers { most_connections, limits: surroundings.limits.clone(), known: Mutex::default() };
        Self { servers: Arc::new(servers), balance: surroundings.balance.clone(), clusters: Mutex::default() }
    }

    /// The servers at `addresses` (`http://host:port`), any of which can answer a call.
    pub(crate) fn cluster(&self, addresses: &[String]) -> Result<Arc<Cluster>, String> {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cluster) = clusters.get(addresses).and_then(Weak::upgrade) {
            return Ok(cluster);
        }
        let servers = Arc::clone(&self.servers);
        let balancer = Balancer::new(addresses, &self.balance, move |location| servers.at(location))?;
        let cluster = Arc::new(Cluster::new(balancer));
        clusters.retain(|_, cluster| cluster.strong_count() > 0);
        clusters.insert(addresses.to_vec(), Arc::downgrade(&cluster));
        Ok(cluster)
    }
}

/// All servers: clusters that meet share connections.
struct Servers {
    most_connections: usize,
    limits: Limits,
    known: Mutex<HashMap<Location, Weak<Server>>>,
}

impl Servers {
    fn at(&self, location: &Location) -> Arc<Server> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = known.get(location).and_then(Weak::upgrade) {
            return server;
        }
        let server = Arc::new(Server::new(location.clone(), self.most_connections, &self.limits));
        known.retain(|_, server| server.strong_count() > 0);
        known.insert(location.clone(), Arc::downgrade(&server));
        server
    }
}

/// Why a call did not come back with an answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody listens there, or not in time.
    Unreachable(String),
    /// All connections are full.
    Full,
    /// The connection was closing, and the upstream has seen nothing of the call.
    Gone(h2::Error),
    /// The upstream says that it has not looked at the call.
    Refused(h2::Error),
    /// The connection or the stream broke; the call may have been worked on.
    Broken(h2::Error),
}

impl Failure {
    /// The connection took no call.
    fn unsent(error: h2::Error) -> Self {
        // What is wrong with the request itself would be so everywhere.
        if error.is_go_away() || error.is_io() { Self::Gone(error) } else { Self::Broken(error) }
    }

    /// A stream that had been opened ended before its answer began.
    fn sent(error: h2::Error) -> Self {
        match error.reason() {
            Some(Reason::REFUSED_STREAM) if error.is_remote() => Self::Refused(error),
            // Of the streams only those hear of a GOAWAY that it says nobody looked at.
            _ if error.is_go_away() && error.is_remote() => Self::Gone(error),
            _ => Self::Broken(error),
        }
    }

    /// The call never left this process, or nobody has looked at it: it may be sent again, whatever it does.
    pub(crate) fn is_unsent(&self) -> bool {
        !matches!(self, Self::Broken(_))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "no connection: {why}"),
            Self::Full => f.write_str("all connections are full"),
            Self::Gone(error) => write!(f, "the connection was closing: {}", chain(error)),
            Self::Refused(error) | Self::Broken(error) => f.write_str(&chain(error)),
        }
    }
}
