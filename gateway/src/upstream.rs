//! The upstreams of the gateway: clusters of servers, and the connections to each.

mod call;
mod cancel;
mod cluster;
mod connection;
mod dial;
mod failure;
mod pool;
mod replay;
mod request_body;

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use kit::{
    balance::{self, Balancer, Location},
    limits::Limits,
    server::ServiceContext,
};
use parking_lot::Mutex;

pub(crate) use call::Reply;
pub(crate) use cancel::Tolerance;
pub(crate) use cluster::{Cluster, Conditions, Weight};
pub(crate) use connection::STREAM_WINDOW;
pub(crate) use dial::dial;
pub(crate) use failure::{Failure, code_of_break};
use pool::{ConnectionPool, PoolSize};
pub(crate) use request_body::{RequestBody, RequestBodyError};

use crate::tls::Trust;

/// All upstreams: a reload keeps the clusters and the connections of unchanged ones.
pub(crate) struct Upstreams {
    pools: Arc<ConnectionPools>,
    balance: balance::BalanceConfig,
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
    /// Each server has at most `most_connections` connections. Each of the server's `threads` has its own.
    pub(crate) fn new(most_connections: usize, threads: usize, context: &ServiceContext) -> Self {
        let limits = context.limits.clone();
        let pools = ConnectionPools { most_connections, threads, limits, known: Mutex::default() };
        let mesh = context.identity.tls().map(|tls| tls.trust().clone());
        Self { pools: Arc::new(pools), balance: context.balance.clone(), mesh, clusters: Mutex::default() }
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
        let mut clusters = self.clusters.lock();
        let is_same = |known: &&KnownCluster| {
            known.addresses == addresses && known.trust.as_ref() == trust && known.tolerance == tolerance
        };
        let mut same = clusters.iter().filter(is_same);
        if let Some(cluster) = same.find_map(|known| known.cluster.upgrade()) {
            return Ok(cluster);
        }
        let (pools, trusted) = (Arc::clone(&self.pools), trust.cloned());
        let make = move |location: &Location| pools.at(location, trusted.as_ref(), tolerance);
        let balancer = Balancer::trusting(health, name, addresses, &self.balance, make)?;
        let cluster = Arc::new(Cluster::new(name, &self.balance.shed, balancer));
        clusters.retain(|known| known.cluster.strong_count() > 0);
        let (addresses, trust) = (addresses.to_vec(), trust.cloned());
        clusters.push(KnownCluster { addresses, trust, tolerance, cluster: Arc::downgrade(&cluster) });
        Ok(cluster)
    }
}

/// The connection pools of all servers: clusters with the same server share its pool.
struct ConnectionPools {
    most_connections: usize,
    threads: usize,
    limits: Limits,
    known: Mutex<HashMap<Location, Weak<ConnectionPool>>>,
}

impl ConnectionPools {
    fn at(&self, location: &Location, trust: Option<&Trust>, tolerance: Tolerance) -> Arc<ConnectionPool> {
        let trust = trust.filter(|_| location.is_secure);
        let mut known = self.known.lock();
        let server = known.get(location).and_then(Weak::upgrade);
        // A connection that was verified with other TLS settings is not reused.
        if let Some(server) = server.filter(|server| server.trust() == trust && server.tolerance() == tolerance) {
            return server;
        }
        let size = PoolSize { most_connections: self.most_connections, threads: self.threads };
        let server = ConnectionPool::new(location.clone(), trust.cloned(), tolerance, size, &self.limits);
        let server = Arc::new(server);
        known.retain(|_, server| server.strong_count() > 0);
        known.insert(location.clone(), Arc::downgrade(&server));
        server
    }
}
