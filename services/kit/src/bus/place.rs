//! Where a connection to Redis leads, and whether that is still the right place.
//!
//! After a failover connections may stay open: the old node goes on as a replica, or nobody has told it yet, while the
//! name leads to another. What is published there reaches nobody on the new one. So each link asks two questions again
//! and again: does the node still call itself a master, and is its address still among those of its name?

use std::{io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisFuture, RedisResult,
    Value, aio::MultiplexedConnection, cmd, io::AsyncDNSResolver,
};
use tokio::time::timeout;

/// How often a link looks at its place.
pub(crate) const LOOK: Duration = Duration::from_secs(1);
/// How long a look-up may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How many look-ups in a row must not name the address: names with many addresses may show some of them each time.
const PATIENCE: u32 = 3;

/// Asks for the addresses of a host and port.
pub type LookUp =
    Arc<dyn Fn(String, u16) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> + Send + Sync>;

/// The system's resolver.
pub(crate) fn system() -> LookUp {
    Arc::new(|host, port| Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) }))
}

/// The end of a connection.
pub(crate) struct Place {
    look_up: LookUp,
    /// The name, the port, and where that led. `None`: a socket in the file system, which leads nowhere else.
    target: Option<(String, u16, SocketAddr)>,
    /// How many look-ups in a row did not name the address.
    misses: u32,
}

/// What a node of Redis says that it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Master,
    /// Of the master at `host:port`.
    Replica(String),
}

/// Gives the one address that was chosen before.
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
) -> RedisResult<(MultiplexedConnection, Place)> {
    let Some((host, port)) = host_and_port(info.addr()) else {
        let connection = Client::open(info.clone())?.get_multiplexed_async_connection_with_config(config).await?;
        return Ok((connection, Place { look_up: Arc::clone(look_up), target: None, misses: 0 }));
    };
    let mut failure = RedisError::from((ErrorKind::Io, "the name has no address"));
    for address in resolve(look_up, host, port).await? {
        let config = config.clone().set_dns_resolver(Chosen(address));
        match Client::open(info.clone())?.get_multiplexed_async_connection_with_config(&config).await {
            Ok(connection) => {
                let target = Some((host.to_owned(), port, address));
                return Ok((connection, Place { look_up: Arc::clone(look_up), target, misses: 0 }));
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

impl Place {
    /// Looks whether the name leads elsewhere now. A look-up that fails tells nothing.
    pub(crate) async fn has_moved(&mut self) -> bool {
        let Some((host, port, connected)) = &self.target else { return false };
        match resolve(&self.look_up, host, *port).await {
            Ok(found) if !found.is_empty() && !found.contains(connected) => self.misses += 1,
            Ok(_) => self.misses = 0,
            Err(error) => tracing::debug!(%error, host, "the name of Redis cannot be looked up"),
        }
        self.misses >= PATIENCE
    }
}

async fn resolve(look_up: &LookUp, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the name was not looked up in time");
    timeout(TIMEOUT, look_up(host.to_owned(), port)).await.map_err(late)?
}

fn host_and_port(address: &ConnectionAddr) -> Option<(&str, u16)> {
    match address {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Some((host, *port)),
        _ => None,
    }
}

/// Asks a node what it is.
pub(crate) async fn role(connection: &mut MultiplexedConnection) -> RedisResult<Role> {
    let told = connection.send_packed_command(&cmd("ROLE")).await?.extract_error()?;
    let unknown = || RedisError::from((ErrorKind::UnexpectedReturnType, "ROLE says nothing that is known"));
    let Value::Array(fields) = told else { return Err(unknown()) };
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

/// What a link ends with whose node is a replica.
pub(crate) fn is_replica() -> RedisError {
    RedisError::from((ErrorKind::Io, "the node is a replica now: waiting until its name leads to the master"))
}
