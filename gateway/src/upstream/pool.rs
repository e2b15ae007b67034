//! The connections to one server. They speak HTTP/2; each carries a bounded number of calls, and another is opened when
//! all are full. The first is filled before the next. Each thread of `gateway.threads` fills its own connections, whose
//! tasks run on it. It uses those of other threads while one of them connects, or if no more may be opened.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::uri::{PathAndQuery, Uri};
use kit::{
    balance::{Endpoint, Location},
    limits::Limits,
};
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    task::AbortHandle,
    time::{Instant, timeout},
};

use super::{
    Failure, Tolerance,
    cancel::Cancellations,
    connection::{ERROR_RESETS, start},
    dial::{TIMEOUT, dial},
};
use crate::{io::thread, tls::Trust};

/// How long a connection may carry no call if others before it have room.
const IDLE: Duration = Duration::from_secs(60);
/// How many streams h2 may reset for the errors of a server before the connection takes no more calls. Those on it
/// finish: at twice this number h2 would end it with all of them ([`ERROR_RESETS`]).
const FAULTS: usize = ERROR_RESETS / 2;
/// How many cancelled calls may wait for their reset before new calls go to another connection.
const CROWD: usize = 10;

/// The connections to one server.
pub(crate) struct ConnectionPool {
    location: Location,
    /// The TLS settings, if it is called over TLS.
    trust: Option<Trust>,
    tolerance: Tolerance,
    most_connections: usize,
    limits: Limits,
    /// By the number of the thread ([`thread::number`]).
    connections: Box<[Mutex<Vec<Arc<Connection>>>]>,
    /// Locked by the call that connects.
    connecting: tokio::sync::Mutex<()>,
    /// When the last attempt to connect failed.
    failed: Mutex<Option<Instant>>,
}

/// How many connections a server has.
#[derive(Debug, Clone, Copy)]
pub(super) struct PoolSize {
    /// At most, on all threads together.
    pub(super) most_connections: usize,
    /// How many threads have connections of their own.
    pub(super) threads: usize,
}

/// The connections that the calls of one thread use.
type Connections<'a> = MutexGuard<'a, Vec<Arc<Connection>>>;

struct Connection {
    sender: SendRequest<Bytes>,
    /// The task that reads and writes.
    driver: AbortHandle,
    load: Mutex<Load>,
    cancellations: Arc<Cancellations>,
    /// How many streams h2 has reset for the server's errors.
    faults: AtomicUsize,
}

/// The calls of a connection.
struct Load {
    /// All calls with a stream, including cancelled ones.
    calls: usize,
    /// Cancelled calls that wait until their streams may be reset.
    cancelled: usize,
    /// When the last call ended.
    left: Instant,
    /// The connection is closed, or about to be.
    is_closed: bool,
}

impl Load {
    /// Whether many cancelled calls wait: new calls would wait behind them on a server with few workers.
    fn is_crowded(&self) -> bool {
        self.cancelled >= CROWD
    }
}

impl Connection {
    /// Reserves a stream for a call, if there is one: `most` is the gateway's own limit, and the upstream has sent its
    /// limit.
    fn enter(&self, most: usize, into_crowd: bool) -> bool {
        let mut load = self.load();
        let has_room = load.calls < most && load.calls < self.sender.current_max_send_streams();
        let may = has_room && !load.is_closed && (into_crowd || !load.is_crowded());
        load.calls += usize::from(may);
        may
    }

    /// A call has ended. A connection that carries only cancelled calls, and many, is closed: that cancels them all at
    /// once, and affects no other call.
    fn leave(&self, was_cancelled: bool) {
        let mut load = self.load();
        load.calls -= 1;
        load.cancelled -= usize::from(was_cancelled);
        if load.calls == 0 {
            load.left = Instant::now();
        }
        if load.is_crowded() && load.calls == load.cancelled {
            load.is_closed = true;
            self.driver.abort();
        }
    }

    /// Whether the server has sent GOAWAY, or the connection is broken.
    fn is_going_away(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        matches!(self.sender.clone().poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    fn is_closed(&self) -> bool {
        self.driver.is_finished() || self.load().is_closed
    }

    fn is_idle(&self) -> bool {
        let load = self.load();
        load.calls == 0 && load.left.elapsed() > IDLE
    }

    fn load(&self) -> MutexGuard<'_, Load> {
        // The numbers are consistent after every step.
        self.load.lock()
    }
}

/// Permits a call one stream on a connection; released when dropped.
pub(crate) struct StreamPermit(Arc<Connection>);

impl StreamPermit {
    /// The sender of the connection.
    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.0.sender.clone()
    }

    /// The permit that the call keeps once it is cancelled.
    pub(super) fn cancelled(&self) -> CancelledPermit {
        let mut load = self.0.load();
        load.calls += 1;
        load.cancelled += 1;
        CancelledPermit(Arc::clone(&self.0))
    }

    pub(super) fn cancellations(&self) -> &Arc<Cancellations> {
        &self.0.cancellations
    }

    /// h2 has reset a stream for an error of the server.
    pub(super) fn fault(&self) {
        self.0.faults.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.0.leave(false);
    }
}

/// The stream of a cancelled call on a connection; released when dropped.
pub(super) struct CancelledPermit(Arc<Connection>);

impl CancelledPermit {
    pub(super) fn cancellations(&self) -> &Arc<Cancellations> {
        &self.0.cancellations
    }
}

impl Drop for CancelledPermit {
    fn drop(&mut self) {
        self.0.leave(true);
    }
}

impl Endpoint for ConnectionPool {
    fn give_up(&self) {
        for mut connections in self.lock_all() {
            for connection in connections.drain(..) {
                connection.driver.abort();
            }
        }
    }
}

impl ConnectionPool {
    /// The server at `location`. It connects at its first use.
    pub(super) fn new(
        location: Location,
        trust: Option<Trust>,
        tolerance: Tolerance,
        size: PoolSize,
        limits: &Limits,
    ) -> Self {
        Self {
            location,
            trust,
            tolerance,
            most_connections: size.most_connections.max(1),
            limits: limits.clone(),
            connections: (0..=size.threads).map(|_| Mutex::default()).collect(),
            connecting: tokio::sync::Mutex::default(),
            failed: Mutex::default(),
        }
    }

    /// Its TLS settings.
    pub(super) fn trust(&self) -> Option<&Trust> {
        self.trust.as_ref()
    }

    pub(super) fn tolerance(&self) -> Tolerance {
        self.tolerance
    }

    /// The URI of a request to this server.
    pub(super) fn uri(&self, path: PathAndQuery) -> Result<Uri, http::Error> {
        Uri::builder()
            .scheme(self.location.scheme())
            .authority(self.location.authority.clone())
            .path_and_query(path)
            .build()
    }

    /// Permits a call a stream on one of the connections; connects if all are full.
    pub(super) async fn permit(&self) -> Result<StreamPermit, Failure> {
        let started = Instant::now();
        if let Some(permit) = self.pick() {
            return Ok(permit);
        }
        let _turn = match self.connecting.try_lock() {
            Ok(turn) => turn,
            // Another call connects. Calls that wait for it share its connection, or its failure, also on other
            // threads: otherwise each thread would connect after the one before.
            Err(_) => {
                if let Some(permit) = self.pick_shared(false) {
                    return Ok(permit);
                }
                let turn = self.connecting.lock().await;
                if let Some(permit) = self.pick().or_else(|| self.pick_shared(false)) {
                    return Ok(permit);
                }
                turn
            }
        };
        let failed = *self.failed.lock();
        if failed.is_some_and(|at| at >= started) {
            return Err(Failure::Unreachable("the previous attempt failed".to_owned()));
        }
        if self.is_full() {
            return self.pick_shared(false).or_else(|| self.pick_shared(true)).ok_or(Failure::Full);
        }
        match self.connect().await {
            Ok(connection) => {
                self.lock().push(connection);
                self.pick().ok_or(Failure::Full)
            }
            Err(error) => {
                *self.failed.lock() = Some(Instant::now());
                Err(Failure::Unreachable(error.to_string()))
            }
        }
    }

    /// Whether no connection may be opened. A thread without calls keeps its idle connections; they are closed if they
    /// take the place of another.
    fn is_full(&self) -> bool {
        let count = |retain: fn(&mut Vec<Arc<Connection>>)| {
            let open = |mut connections: Connections<'_>| {
                retain(&mut connections);
                connections.len()
            };
            self.lock_all().map(open).sum::<usize>()
        };
        let retain_busy = |connections: &mut Vec<Arc<Connection>>| connections.retain(|one| !one.is_idle());
        count(retain_usable) >= self.most_connections && count(retain_busy) >= self.most_connections
    }

    /// A stream on the first connection that has one free: calls on the same connection share reads and writes, which cost
    /// more than anything else. Idle connections behind it are closed.
    fn pick(&self) -> Option<StreamPermit> {
        let mut connections = self.lock();
        retain_usable(&mut connections);
        self.pick_in(&mut connections, false)
    }

    /// A stream on a connection of any thread.
    fn pick_shared(&self, into_crowd: bool) -> Option<StreamPermit> {
        self.lock_all().find_map(|mut connections| {
            retain_usable(&mut connections);
            self.pick_in(&mut connections, into_crowd)
        })
    }

    /// `into_crowd`: includes connections on which many cancelled calls wait.
    fn pick_in(&self, connections: &mut Vec<Arc<Connection>>, into_crowd: bool) -> Option<StreamPermit> {
        let most = usize::try_from(self.limits.streams_per_connection).unwrap_or(usize::MAX);
        let at = connections.iter().position(|connection| connection.enter(most, into_crowd))?;
        let permit = StreamPermit(Arc::clone(&connections[at]));
        if connections.len() > at + 1 {
            let mut position = 0;
            connections.retain(|connection| {
                position += 1;
                position <= at + 1 || !connection.is_idle()
            });
        }
        Some(permit)
    }

    /// Removes a closing connection; the calls on it continue. A stopping server sends GOAWAY on all of its connections
    /// at once, so all closing ones are removed: a call need not try them one by one.
    pub(super) fn forget(&self, gone: &StreamPermit) {
        for mut connections in self.lock_all() {
            connections.retain(|connection| !Arc::ptr_eq(connection, &gone.0) && !connection.is_going_away());
        }
    }

    async fn connect(&self) -> io::Result<Arc<Connection>> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
        let opening = async {
            let stream = dial(&self.location, self.trust.as_ref()).await?;
            start(stream, &self.limits, self.tolerance).await
        };
        let (sender, driver) = timeout(TIMEOUT, opening).await.map_err(late)??;
        Ok(Arc::new(Connection {
            sender,
            driver,
            load: Mutex::new(Load { calls: 0, cancelled: 0, left: Instant::now(), is_closed: false }),
            cancellations: Arc::new(Cancellations::new(self.tolerance)),
            faults: AtomicUsize::new(0),
        }))
    }

    /// The connections of this thread.
    fn lock(&self) -> Connections<'_> {
        // The list is consistent after every step.
        self.connections[thread::number()].lock()
    }

    fn lock_all(&self) -> impl Iterator<Item = Connections<'_>> {
        self.connections.iter().map(Mutex::lock)
    }
}

/// Removes connections that take no more calls.
fn retain_usable(connections: &mut Vec<Arc<Connection>>) {
    let has_many_faults = |connection: &Connection| connection.faults.load(Ordering::Relaxed) >= FAULTS;
    connections.retain(|connection| !connection.is_closed() && !has_many_faults(connection));
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
