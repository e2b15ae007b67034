//! The upstreams of the gateway: clusters of servers, and the connections to each.

mod call;
mod cancel;
mod cluster;
mod dial;
mod driver;
mod server;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use h2::Reason;
use kit::{
    balance::{self, Balancer, Location, Outcome},
    error::chain,
    limits::Limits,
    server::ServiceContext,
};

pub(crate) use call::Reply;
pub(crate) use cancel::Tolerance;
pub(crate) use cluster::{Cluster, Conditions, Place, Weight};
pub(crate) use dial::dial;
pub(crate) use driver::STREAM_WINDOW;
use server::Server;
use tonic::Code;

use crate::tls::Trust;

/// All upstreams: a reload keeps the clusters and the connections of unchanged ones.
pub(crate) struct Upstreams {
    servers: Arc<Servers>,
    balance: balance::Config,
    /// The TLS settings for services of the mesh.
    mesh: Option<Trust>,
    clusters: Mutex<Vec<KnownCluster>>,
}

/// A cluster and the settings that it was built from.
struct KnownCluster {
    addresses: Vec<String>,
    trust: Option<Trust>,
    tolerance: Tolerance,
    cluster: Weak<Cluster>,
}

impl Upstreams {
    /// Each server has at most `most_connections` connections.
    pub(crate) fn new(most_connections: usize, context: &ServiceContext) -> Self {
        let servers = Servers { most_connections, limits: context.limits.clone(), known: Mutex::default() };
        let mesh = context.identity.tls().map(|tls| tls.trust().clone());
        Self { servers: Arc::new(servers), balance: context.balance.clone(), mesh, clusters: Mutex::default() }
    }

    /// The servers of a service of the mesh: over TLS if their addresses require it, for health checks too.
    pub(crate) fn mesh_cluster(&self, name: &str, addresses: &[String]) -> Result<Arc<Cluster>, String> {
        if self.mesh.is_none() {
            balance::in_the_clear(addresses)?;
        }
        self.of(name, addresses, self.mesh.as_ref(), self.mesh.as_ref(), Tolerance::Mesh)
    }

    /// The servers at `addresses` (`http://host:port`; with `trust` `https://host:port` too), any of which can serve a
    /// call; `name` is the cluster's name in metrics.
    pub(crate) fn cluster(
        &self,
        name: &str,
        addresses: &[String],
        trust: Option<&Trust>,
        tolerance: Tolerance,
    ) -> Result<Arc<Cluster>, String> {
        self.of(name, addresses, trust, None, tolerance)
    }

    fn of(
        &self,
        name: &str,
        addresses: &[String],
        trust: Option<&Trust>,
        health: Option<&Trust>,
        tolerance: Tolerance,
    ) -> Result<Arc<Cluster>, String> {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |known: &&KnownCluster| {
            known.addresses == addresses && known.trust.as_ref() == trust && known.tolerance == tolerance
        };
        let mut same = clusters.iter().filter(is_same);
        if let Some(cluster) = same.find_map(|known| known.cluster.upgrade()) {
            return Ok(cluster);
        }
        let (servers, believed) = (Arc::clone(&self.servers), trust.cloned());
        let make = move |location: &Location| servers.at(location, believed.as_ref(), tolerance);
        let balancer = Balancer::trusting(health, name, addresses, &self.balance, make)?;
        let cluster = Arc::new(Cluster::new(name, &self.balance.shed, balancer));
        clusters.retain(|known| known.cluster.strong_count() > 0);
        let (addresses, trust) = (addresses.to_vec(), trust.cloned());
        clusters.push(KnownCluster { addresses, trust, tolerance, cluster: Arc::downgrade(&cluster) });
        Ok(cluster)
    }
}

/// All servers: clusters with the same server share its connections.
struct Servers {
    most_connections: usize,
    limits: Limits,
    known: Mutex<HashMap<Location, Weak<Server>>>,
}

impl Servers {
    fn at(&self, location: &Location, trust: Option<&Trust>, tolerance: Tolerance) -> Arc<Server> {
        let trust = trust.filter(|_| location.is_secure);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let server = known.get(location).and_then(Weak::upgrade);
        // A connection that was verified with other TLS settings is not reused.
        if let Some(server) = server.filter(|server| server.trust() == trust && server.tolerance() == tolerance) {
            return server;
        }
        let server = Server::new(location.clone(), trust.cloned(), tolerance, self.most_connections, &self.limits);
        let server = Arc::new(server);
        known.retain(|_, server| server.strong_count() > 0);
        known.insert(location.clone(), Arc::downgrade(&server));
        server
    }
}

/// Why a call has no response.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection could not be opened, or not in time.
    Unreachable(String),
    /// All connections are full.
    Full,
    /// The concurrency limit of the upstream is reached.
    Overloaded,
    /// The connection was closing, and the upstream has not received the call.
    Gone(h2::Error),
    /// The upstream reports that it has not processed the call.
    Refused(h2::Error),
    /// The connection or the stream broke; the call may have been processed.
    Broken(h2::Error),
    /// The caller's request was cut off, and the gateway cancels the call.
    Cut,
}

impl Failure {
    /// The connection did not accept the call.
    fn unsent(error: h2::Error) -> Self {
        // An error of the request itself would recur on every connection.
        if error.is_go_away() || error.is_io() { Self::Gone(error) } else { Self::Broken(error) }
    }

    /// An open stream ended before its response began.
    fn sent(error: h2::Error) -> Self {
        match error.reason() {
            Some(Reason::REFUSED_STREAM) if error.is_remote() => Self::Refused(error),
            // h2 reports a GOAWAY only to streams that it declares unprocessed.
            _ if error.is_go_away() && error.is_remote() => Self::Gone(error),
            _ => Self::Broken(error),
        }
    }
}

/// The status of a broken stream: gRPC's own table for the error codes of HTTP/2, so that a caller receives the same
/// status as without a gateway. If the connection broke too, the service is unavailable.
pub(crate) fn code_of_break(error: &h2::Error) -> Code {
    match error.reason() {
        Some(reason) if error.is_reset() => match reason {
            Reason::CANCEL => Code::Cancelled,
            Reason::REFUSED_STREAM => Code::Unavailable,
            Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
            Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
            _ => Code::Internal,
        },
        _ => Code::Unavailable,
    }
}

/// What a broken stream means for the server's health. A cancellation may be caused by the call itself.
fn outcome_of_break(error: &h2::Error) -> Outcome {
    match error.reason() {
        Some(Reason::CANCEL) if error.is_reset() && error.is_remote() => Outcome::Faulty,
        Some(Reason::ENHANCE_YOUR_CALM) if error.is_reset() && error.is_remote() => Outcome::Busy,
        _ => Outcome::Failed,
    }
}

/// h2 reset the stream itself, because of invalid frames of the upstream.
fn is_fault(error: &h2::Error) -> bool {
    error.is_reset() && error.is_library()
}

/// The gateway reset the stream, because of its caller. A reset by h2 itself is an error of the upstream.
fn is_ours(error: &h2::Error) -> bool {
    error.is_reset() && !error.is_remote() && !error.is_library()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "no connection: {why}"),
            Self::Full => f.write_str("all connections are full"),
            Self::Cut => f.write_str("the request was cut off"),
            Self::Overloaded => f.write_str("the upstream is overloaded"),
            Self::Gone(error) => write!(f, "the connection was closing: {}", chain(error)),
            Self::Refused(error) | Self::Broken(error) => f.write_str(&chain(error)),
        }
    }
}
