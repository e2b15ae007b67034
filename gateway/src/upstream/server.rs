//! The connections to one server. They speak HTTP/2; each carries a bounded number of calls, and another is opened when
//! all are full. The first is filled before the next.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    PingPong,
    client::{self, SendRequest},
};
use http::uri::{PathAndQuery, Uri};
use kit::{
    balance::{Endpoint, Location},
    error::chain,
    limits::Limits,
};
use tokio::{
    task::{AbortHandle, JoinHandle},
    time::Instant,
};

use super::{
    Failure,
    dial::{Stream, dial},
};
use crate::{keepalive, tls::Trust};

/// What may be on its way in one answer before its reader takes it. A connection's window is this times its
/// streams, so that a reader who stops cannot stop the others.
const STREAM_WINDOW: u32 = 128 * 1024;
/// How large a frame may be: larger ones cost less each, and are never gathered.
const FRAME_BYTES: u32 = 32 * 1024;

/// What of one request may wait for the connection to be written to.
const SEND_BYTES: usize = 64 * 1024;
/// How many calls a connection takes before the upstream has said how many it takes: what RFC 9113 (section 6.5.2) asks
/// servers not to go below.
const FIRST_CALLS: usize = 100;

/// How long a connection beside others may be without a call.
const IDLE: Duration = Duration::from_secs(60);

/// A server behind the gateway.
pub(crate) struct Server {
    location: Location,
    /// Whom to believe that it is the one, where it is called over TLS.
    trust: Option<Trust>,
    most_connections: usize,
    limits: Limits,
    connections: Mutex<Vec<Arc<Connection>>>,
    /// Held by the one that connects.
    connecting: tokio::sync::Mutex<()>,
    /// When the last attempt to connect failed.
    failed: Mutex<Option<Instant>>,
}

struct Connection {
    sender: SendRequest<Bytes>,
    /// The task that reads and writes.
    driver: AbortHandle,
    calls: AtomicUsize,
    /// When its last call ended.
    left: Mutex<Instant>,
}

impl Connection {
    /// Whether it takes another call: `most` is ours, and the upstream has said how many it takes.
    fn has_room(&self, most: usize) -> bool {
        let calls = self.calls.load(Ordering::Relaxed);
        calls < most && calls < self.sender.current_max_send_streams()
    }

    fn is_idle(&self) -> bool {
        let left = || self.left.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        self.calls.load(Ordering::Relaxed) == 0 && left() > IDLE
    }
}

/// A call's place on a connection; given back when dropped.
pub(crate) struct Place(Arc<Connection>);

impl Place {
    /// Sends on the connection.
    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.0.sender.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.calls.fetch_sub(1, Ordering::Relaxed) == 1 {
            *self.0.left.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }
}

impl Endpoint for Server {
    fn give_up(&self) {
        for connection in self.lock().drain(..) {
            connection.driver.abort();
        }
    }
}

impl Server {
    /// The server at `location`. Connects when it is first used.
    pub(super) fn new(location: Location, trust: Option<Trust>, most_connections: usize, limits: &Limits) -> Self {
        Self {
            location,
            trust,
            most_connections: most_connections.max(1),
            limits: limits.clone(),
            connections: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            failed: Mutex::default(),
        }
    }

    /// Whom it is believed by.
    pub(super) fn trust(&self) -> Option<&Trust> {
        self.trust.as_ref()
    }

    /// The URI that a request to this server carries.
    pub(super) fn uri(&self, path: PathAndQuery) -> Result<Uri, http::Error> {
        Uri::builder()
            .scheme(self.location.scheme())
            .authority(self.location.authority.clone())
            .path_and_query(path)
            .build()
    }

    pub(super) async fn place(&self) -> Result<Place, Failure> {
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
        connections.retain(|connection| !connection.driver.is_finished());
        let most = usize::try_from(self.limits.streams_per_connection).unwrap_or(usize::MAX);
        let at = connections.iter().position(|connection| connection.has_room(most))?;
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
    pub(super) fn forget(&self, gone: &Place) {
        self.lock().retain(|connection| !Arc::ptr_eq(connection, &gone.0));
    }

    async fn connect(&self) -> io::Result<Arc<Connection>> {
        let stream = dial(&self.location, self.trust.as_ref()).await?;
        let streams = self.limits.streams_per_connection;
        let handshake = client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(STREAM_WINDOW.saturating_mul(streams))
            .initial_max_send_streams(FIRST_CALLS)
            .max_send_buffer_size(SEND_BYTES)
            .max_frame_size(FRAME_BYTES)
            .max_header_list_size(self.limits.header_bytes)
            .enable_push(false)
            .handshake(stream);
        let (sender, mut connection) = handshake.await.map_err(io::Error::other)?;
        let pings = connection.ping_pong();
        let driving = tokio::spawn(Driver { connection, has_yielded: false });
        let driver = driving.abort_handle();
        tokio::spawn(watch(driving, pings, self.limits.keepalive.0));
        Ok(Arc::new(Connection { sender, driver, calls: AtomicUsize::new(0), left: Mutex::new(Instant::now()) }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Connection>>> {
        // The list is whole after every step.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads and writes. Whenever it is woken it lets the tasks go first that are ready: what they send leaves in one write
/// with what woke it, and a write costs more than all else.
struct Driver {
    connection: client::Connection<Stream, Bytes>,
    has_yielded: bool,
}

impl Future for Driver {
    type Output = Result<(), h2::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.has_yielded = !self.has_yielded;
        if self.has_yielded {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.connection).poll(cx)
    }
}

/// Ends a connection whose other end is gone without a word.
async fn watch(mut driving: JoinHandle<Result<(), h2::Error>>, pings: Option<PingPong>, interval: Duration) {
    tokio::select! {
        ended = &mut driving => if let Ok(Err(error)) = ended {
            tracing::debug!(error = %chain(&error), "a connection to an upstream ended");
        },
        () = keepalive::lost(pings, interval) => {
            tracing::debug!("a connection to an upstream is dead");
            driving.abort();
        }
    }
}
