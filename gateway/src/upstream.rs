//! The connections to one upstream. They speak HTTP/2; each carries a bounded number of calls, and another is
//! opened when all are full. The first is filled before the next.

use std::{
    collections::HashMap,
    fmt, io,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kit::{error::chain, limits::Limits};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::body::Request;

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// What may be on its way in one answer before its reader takes it. A connection's window is this times its
/// streams, so that a reader who stops cannot stop the others.
const STREAM_WINDOW: u32 = 128 * 1024;
/// How large a frame may be: larger ones cost less each, and are never gathered.
const FRAME_BYTES: u32 = 32 * 1024;

/// How long a connection beside others may be without a call.
const IDLE: Duration = Duration::from_secs(60);
/// How long after a failed attempt to connect other addresses come first.
const REST: Duration = Duration::from_secs(1);
/// How many connections a call may find gone before it gives up.
const TRIES: usize = 3;

/// All upstreams by address: a reload keeps the connections of those that stay.
pub(crate) struct Upstreams {
    most_connections: usize,
    known: Mutex<HashMap<String, Weak<Upstream>>>,
}

impl Upstreams {
    /// Each upstream has at most so many connections.
    pub(crate) fn new(most_connections: usize) -> Self {
        Self { most_connections, known: Mutex::default() }
    }

    /// The servers at `addresses` (`http://host:port`), any of which can answer a call.
    pub(crate) fn cluster(&self, addresses: &[String], limits: &Limits) -> Result<Arc<Cluster>, String> {
        let members = addresses.iter().map(|address| self.get(address, limits)).collect::<Result<_, _>>()?;
        Ok(Arc::new(Cluster { members, turn: AtomicUsize::new(0) }))
    }

    fn get(&self, address: &str, limits: &Limits) -> Result<Arc<Upstream>, String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(upstream) = known.get(address).and_then(Weak::upgrade) {
            return Ok(upstream);
        }
        let upstream = Arc::new(Upstream::new(address, self.most_connections, limits)?);
        known.retain(|_, upstream| upstream.strong_count() > 0);
        known.insert(address.to_owned(), Arc::downgrade(&upstream));
        Ok(upstream)
    }
}

/// Servers that answer the same methods, in turn.
pub(crate) struct Cluster {
    members: Vec<Arc<Upstream>>,
    turn: AtomicUsize,
}

impl Cluster {
    /// Sends the request to the member whose turn it is. Where it cannot be reached the next one gets it; a
    /// connection that turns out to be gone before anything was sent on it costs another try, not the call.
    pub(crate) async fn send(
        &self,
        mut request: http::Request<Request>,
    ) -> Result<(http::Response<Incoming>, Place), Failure> {
        let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        for _ in 0..TRIES {
            let (member, place) = self.place().await?;
            *request.uri_mut() = member.uri(path.clone()).map_err(|e| Failure::Unreachable(e.to_string()))?;
            match place.0.sender.clone().try_send_request(request).await {
                Ok(response) => return Ok((response, place)),
                Err(mut unsent) => match unsent.take_message() {
                    Some(returned) => {
                        member.forget(&place.0);
                        request = returned;
                    }
                    None => return Err(Failure::Broken(unsent.into_error())),
                },
            }
        }
        Err(Failure::Unreachable("connections end as soon as they are made".to_owned()))
    }

    /// A place at the next member that has one; those that just failed come last.
    async fn place(&self) -> Result<(&Upstream, Place), Failure> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn =
            || (0..self.members.len()).filter_map(|i| self.members.get((turn.wrapping_add(i)) % self.members.len()));
        let (resting, others): (Vec<_>, Vec<_>) = in_turn().partition(|member| member.is_resting());
        let mut failure = Failure::Full;
        for member in others.into_iter().chain(resting) {
            match member.place().await {
                Ok(place) => return Ok((member, place)),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// The members' addresses, as they were configured.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = String> {
        self.members.iter().map(|member| format!("{}://{}", Scheme::HTTP, member.authority))
    }
}

/// A server behind the gateway.
pub(crate) struct Upstream {
    authority: Authority,
    most_connections: usize,
    limits: Limits,
    connections: Mutex<Vec<Arc<Connection>>>,
    /// Held by the one that connects.
    connecting: tokio::sync::Mutex<()>,
    /// When the last attempt to connect failed.
    failed: Mutex<Option<Instant>>,
}

struct Connection {
    sender: SendRequest<Request>,
    calls: AtomicUsize,
    /// When its last call ended.
    left: Mutex<Instant>,
}

impl Connection {
    fn is_idle(&self) -> bool {
        let left = || self.left.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        self.calls.load(Ordering::Relaxed) == 0 && left() > IDLE
    }
}

/// A call's place on a connection; given back when dropped.
pub(crate) struct Place(Arc<Connection>);

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.calls.fetch_sub(1, Ordering::Relaxed) == 1 {
            *self.0.left.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
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

impl Upstream {
    /// The upstream at `address` (`http://host:port`). Connects when it is first used.
    fn new(address: &str, most_connections: usize, limits: &Limits) -> Result<Self, String> {
        let bad = || format!("{address:?} is no address such as http://host:port");
        let uri: Uri = address.parse().map_err(|_| bad())?;
        let plain = uri.scheme() == Some(&Scheme::HTTP) && uri.path() == "/" && uri.query().is_none();
        let authority = uri.authority().filter(|_| plain).ok_or_else(bad)?.clone();
        Ok(Self {
            authority,
            most_connections: most_connections.max(1),
            limits: limits.clone(),
            connections: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            failed: Mutex::default(),
        })
    }

    /// The URI that a request to this upstream carries.
    fn uri(&self, path: PathAndQuery) -> Result<Uri, http::Error> {
        Uri::builder().scheme(Scheme::HTTP).authority(self.authority.clone()).path_and_query(path).build()
    }

    /// The last attempt to connect failed just now.
    fn is_resting(&self) -> bool {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < REST)
    }

    async fn place(&self) -> Result<Place, Failure> {
        let asked = Instant::now();
        if let Some(place) = self.pick() {
            return Ok(place);
        }
        let _turn = self.connecting.lock().await;
        // Others waited for the same connection: they share it, or its failure.
        if let Some(place) = self.pick() {
            return Ok(place);
        }
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_some_and(|at| at >= asked) {
            return Err(Failure::Unreachable("the attempt before failed".to_owned()));
        }
        if self.lock().len() >= self.most_connections {
            return Err(Failure::Full);
        }
        match self.connect().await {
            Ok(connection) => {
                self.lock().push(connection);
                self.pick().ok_or(Failure::Full)
            }
            Err(error) => {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                Err(Failure::Unreachable(error.to_string()))
            }
        }
    }

    /// A place on the first connection that has one: calls that share a connection share reads and writes, which cost
    /// more than anything else. What was opened for a crowd is closed when it has gone.
    fn pick(&self) -> Option<Place> {
        let mut connections = self.lock();
        connections.retain(|connection| !connection.sender.is_closed());
        let most = usize::try_from(self.limits.streams_per_connection).unwrap_or(usize::MAX);
        let has_room = |connection: &Arc<Connection>| connection.calls.load(Ordering::Relaxed) < most;
        let at = connections.iter().position(has_room)?;
        // Under the lock nobody else adds; a place given back meanwhile only makes more room.
        connections[at].calls.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&connections[at]));
        if connections.len() > at + 1 {
            let mut place_in_list = 0;
            connections.retain(|connection| {
                place_in_list += 1;
                place_in_list <= at + 1 || !connection.is_idle()
            });
        }
        Some(place)
    }

    /// A connection that is going away takes no more calls; those on it go on.
    fn forget(&self, gone: &Arc<Connection>) {
        self.lock().retain(|connection| !Arc::ptr_eq(connection, gone));
    }

    async fn connect(&self) -> io::Result<Arc<Connection>> {
        let host = self.authority.host().trim_matches(['[', ']']);
        let port = self.authority.port_u16().unwrap_or(80);
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect((host, port))).await.map_err(late)??;
        stream.set_nodelay(true)?;
        let streams = self.limits.streams_per_connection;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(STREAM_WINDOW.saturating_mul(streams))
            .max_frame_size(FRAME_BYTES)
            .max_header_list_size(self.limits.header_bytes)
            .keep_alive_interval(self.limits.keepalive.0)
            .keep_alive_timeout(self.limits.keepalive.0)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %chain(&error), "a connection to an upstream ended");
            }
        });
        Ok(Arc::new(Connection { sender, calls: AtomicUsize::new(0), left: Mutex::new(Instant::now()) }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Connection>>> {
        // The list is whole after every step.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
