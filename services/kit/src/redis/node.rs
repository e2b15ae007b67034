//! The node that a connection to Redis leads to, and whether it is still the right one.
//!
//! After a failover connections may stay open: the old node continues as a replica, or does not know of the failover
//! yet, while the name resolves to another node. A message published on the old node does not reach clients of the new
//! one. So each connection checks repeatedly: is the node still a master, and does its name still resolve to its
//! address?

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisFuture, RedisResult,
    Value, aio::MultiplexedConnection, cmd, io::AsyncDNSResolver,
};
use tokio::time::timeout;

use crate::dns::LookUp;

/// How often a connection checks its node.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The timeout of a lookup.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How many lookups in a row must omit the address: names with many addresses may return different ones each time.
const MAX_MISSES: u32 = 3;

/// The node at the other end of a connection.
pub(crate) struct Node {
    look_up: LookUp,
    /// The name, the port, and the resolved address. `None`: a Unix socket, which cannot move.
    target: Option<(String, u16, SocketAddr)>,
    /// The number of lookups in a row that omitted the address.
    misses: u32,
}

/// The role that a Redis node reports.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Master,
    /// Replicates the master at `host:port`.
    Replica(String),
}

/// Resolves to one given address.
struct Chosen(SocketAddr);

impl AsyncDNSResolver for Chosen {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        _: &'b str,
        _: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move { Ok(Box::new(std::iter::once(self.0)) as Box<dyn Iterator<Item = SocketAddr> + Send>) })
    }
}

/// Connects to the first address of `info` that accepts.
pub(crate) async fn connect(
    look_up: &LookUp,
    info: &ConnectionInfo,
    config: &AsyncConnectionConfig,
) -> RedisResult<(MultiplexedConnection, Node)> {
    let Some((host, port)) = host_and_port(info.addr()) else {
        let connection = Client::open(info.clone())?.get_multiplexed_async_connection_with_config(config).await?;
        return Ok((connection, Node { look_up: Arc::clone(look_up), target: None, misses: 0 }));
    };
    let mut failure = RedisError::from((ErrorKind::Io, "the name has no address"));
    for address in resolve(look_up, host, port).await? {
        let config = config.clone().set_dns_resolver(Chosen(address));
        match Client::open(info.clone())?.get_multiplexed_async_connection_with_config(&config).await {
            Ok(connection) => {
                let target = Some((host.to_owned(), port, address));
                return Ok((connection, Node { look_up: Arc::clone(look_up), target, misses: 0 }));
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

impl Node {
    /// Checks whether the connection still leads to the right node. Returns why it does not.
    pub(crate) async fn check(&mut self, connection: &mut MultiplexedConnection) -> RedisResult<Option<String>> {
        let role = role(connection).await;
        if self.has_moved().await {
            return Ok(Some("the name of Redis now resolves to another address".to_owned()));
        }
        Ok(match role? {
            Role::Master => None,
            Role::Replica(_) => Some(is_replica().to_string()),
        })
    }

    /// Checks whether the name resolves elsewhere now. A failed lookup changes nothing.
    async fn has_moved(&mut self) -> bool {
        let Some((host, port, connected)) = &self.target else { return false };
        match resolve(&self.look_up, host, *port).await {
            Ok(found) if !found.is_empty() && !found.contains(connected) => self.misses += 1,
            Ok(_) => self.misses = 0,
            Err(error) => tracing::debug!(%error, host, "the host of redis.url cannot be resolved"),
        }
        self.misses >= MAX_MISSES
    }
}

async fn resolve(look_up: &LookUp, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the name lookup timed out");
    timeout(TIMEOUT, look_up(host.to_owned(), port)).await.map_err(late)?
}

fn host_and_port(address: &ConnectionAddr) -> Option<(&str, u16)> {
    match address {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Some((host, *port)),
        _ => None,
    }
}

/// Requests the role of a node.
pub(crate) async fn role(connection: &mut MultiplexedConnection) -> RedisResult<Role> {
    let response = connection.send_packed_command(&cmd("ROLE")).await?.extract_error()?;
    let unknown = || RedisError::from((ErrorKind::UnexpectedReturnType, "ROLE returned an unknown role"));
    let Value::Array(fields) = response else { return Err(unknown()) };
    let text = |at: usize| match fields.get(at) {
        Some(Value::BulkString(bytes)) => std::str::from_utf8(bytes).ok().map(str::to_owned),
        Some(Value::SimpleString(text)) => Some(text.clone()),
        _ => None,
    };
    match (text(0).as_deref(), text(1), fields.get(2)) {
        (Some("master"), ..) => Ok(Role::Master),
        (Some("slave"), Some(host), Some(Value::Int(port))) => Ok(Role::Replica(format!("{host}:{port}"))),
        _ => Err(unknown()),
    }
}

/// The error of a connection whose node is a replica.
pub(crate) fn is_replica() -> RedisError {
    RedisError::from((ErrorKind::Io, "the node is a replica now; waiting until its name resolves to the master"))
}
