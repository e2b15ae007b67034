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
use kit::{error::chain, limits::Limits};

pub(crate) use call::Reply;
pub(crate) use cluster::Cluster;
use server::{Place, Server};

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
