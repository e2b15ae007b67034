//! The client connections: accepts, limits, monitors and drains them. It serves the requests of any [`Handler`].

mod accept;
mod date;
mod deferred_waker;
mod handler;
mod http1;
mod http2;
mod monitored_io;
mod per_address;
pub(crate) mod proxy_protocol;
mod shared;
mod threads;
mod watchdog;

use std::{error::Error, io, pin::Pin, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use http::{Request, Response};
use kit::{
    error::chain,
    limits::Limits,
    rng::Rng,
    server::{Connections, Discard},
    shutdown::Shutdown,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinSet,
};
use tokio_util::task::TaskTracker;

use crate::{
    io::{EventSet, Inbound},
    tls::ListenerTls,
};
pub(crate) use handler::{ConnectionSettings, Handler, Peer, ResponseStream};
use monitored_io::MonitoredIo;
pub(crate) use per_address::ConnectionCounts;
use shared::PeerEnded;
pub(crate) use threads::ServerThreads;
use watchdog::{CloseReason, Timeouts};
pub(crate) use watchdog::{Stalls, Wait, Watchdog, Watched};

/// A bound socket, and whether clients speak TLS on it.
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// Whether it is one of `gateway.tls.listen`.
    pub tls: bool,
}

/// The state that all connections share.
struct Server<H> {
    handler: Arc<H>,
    tls: Arc<ListenerTls>,
    limits: Limits,
    stalls: Arc<Stalls>,
    connections: Connections,
    connection_counts: Arc<ConnectionCounts>,
    tracker: TaskTracker,
    threads: Arc<ServerThreads>,
    rng: Rng,
    shutdown: Shutdown,
}

/// Serves the requests of all listeners with `handler` until the drain is over: on `threads`, or if there are none, on
/// those of the process.
pub(crate) async fn serve<H: Handler>(
    handler: Arc<H>,
    tls: Arc<ListenerTls>,
    limits: Limits,
    stalls: Arc<Stalls>,
    threads: Arc<ServerThreads>,
    listeners: Vec<Listener>,
    shutdown: Shutdown,
) -> io::Result<()> {
    let connections = Connections::new(limits.connections, Discard::of(&limits));
    let (connection_counts, tracker, rng) = (Arc::default(), TaskTracker::new(), Rng::new());
    let server = Arc::new(Server {
        handler,
        tls,
        limits,
        stalls,
        connections,
        connection_counts,
        tracker,
        threads,
        rng,
        shutdown,
    });
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept::accept(Arc::clone(&server), listener));
    }
    while accepting.join_next().await.is_some() {}
    server.stalls.drain();
    server.tracker.close();
    let ended = async {
        server.tracker.wait().await;
        server.connections.closed().await;
    };
    tokio::select! {
        () = ended => {}
        () = server.shutdown.cut() => {}
    }
    Ok(())
}

/// Serves a connection from its first request on.
type ConnectionTask = Pin<Box<dyn Future<Output = ()> + Send>>;

fn serve_connection<H, S>(server: Arc<Server<H>>, stream: S, peer: Peer, is_http2: bool) -> ConnectionTask
where
    H: Handler,
    S: AsyncRead + AsyncWrite + PeerEnded + Unpin + Send + 'static,
{
    if is_http2 {
        Box::pin(async move {
            let context = ConnectionContext::new(&server, peer, true);
            let stream = MonitoredIo::new(stream, true, &context.watchdog);
            let respond = |request| context.respond(request);
            // h2 keeps reading during calls, and so notices an end itself.
            let signals = context.signals(|| false).and(context.leave().map(|()| Signal::Drain));
            note(http2::serve(stream, &server.limits, respond, signals, &context.watchdog).await);
        })
    } else {
        Box::pin(async move {
            note(http1::serve(&ConnectionContext::new(&server, peer, false), stream).await);
        })
    }
}

fn note(ended: Result<(), impl Error + 'static>) {
    if let Err(error) = ended {
        tracing::debug!(error = chain(&error), "a caller's connection ended");
    }
}

/// What a connection must do.
enum Signal {
    /// Ask the caller to open another connection for its next calls.
    Drain,
    /// Close, because it has been idle for long, unless a call arrives at this moment.
    Idle,
    /// Close at once.
    Close,
}

/// The state that a connection's calls share.
struct ConnectionContext<'a, H> {
    server: &'a Server<H>,
    peer: Peer,
    watchdog: Arc<Watchdog>,
}

impl<'a, H: Handler> ConnectionContext<'a, H> {
    fn new(server: &'a Server<H>, peer: Peer, is_http2: bool) -> Self {
        Self { server, peer, watchdog: Watchdog::new(&server.stalls, is_http2) }
    }

    /// Serves one request. The future is large, and boxed so that it is not copied when it is moved.
    fn respond(&self, request: Request<Inbound>) -> Pin<Box<impl Future<Output = Response<H::Body>> + Send>> {
        Box::pin(self.server.handler.respond(self.peer.clone(), self.watchdog.begin(), request))
    }

    /// The signals of every connection. `has_left` reports whether the caller has left, where hyper does not notice it.
    fn signals<'b>(&'b self, has_left: impl Fn() -> bool + Send + 'b) -> EventSet<'b, Signal> {
        EventSet::new().and(self.server.shutdown.cut().map(|()| Signal::Close)).and(self.watch(has_left))
    }

    /// The signal of the watchdog.
    fn watch<'b>(&'b self, has_left: impl Fn() -> bool + Send + 'b) -> impl Future<Output = Signal> + Send + 'b {
        let timeouts = self.timeouts();
        async move {
            let reason = self.watchdog.run(timeouts, has_left).await;
            metrics::counter!("gateway_connections_closed_total", "reason" => reason.name()).increment(1);
            if reason == CloseReason::Idle { Signal::Idle } else { Signal::Close }
        }
    }

    fn timeouts(&self) -> Timeouts {
        let settings = self.server.handler.settings();
        Timeouts {
            idle: settings.idle_timeout,
            stalled: settings.stall_timeout,
            head: self.server.limits.request_head.0,
        }
    }

    /// The maximum age of the connection.
    fn age(&self) -> Option<Duration> {
        self.server.limits.age(self.server.rng.share())
    }

    /// Ends when callers must open another connection: at the shutdown, or at the connection's maximum age.
    async fn leave(&self) {
        let old = async {
            match self.age() {
                Some(age) => tokio::time::sleep(age).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.server.shutdown.draining() => {}
            () = old => {}
        }
    }
}
