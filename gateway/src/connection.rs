//! The callers' connections: accepts, limits, monitors and drains them.

mod date;
mod deferred_waker;
mod http1;
mod http2;
mod per_address;
mod shared;
mod unread;

use std::{
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt as _;
use http::{Request, Response};
use kit::{
    error::chain,
    rng::Rng,
    server::{Accepted, Connections, Discard},
    shutdown::Shutdown,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::{
    Gateway, Peer,
    body::{Inbound, Outgoing},
    event_set::EventSet,
    monitored_io::MonitoredIo,
    proxy_protocol,
    watchdog::{End, Timeouts, Watchdog},
};
use per_address::{ConnectionCounts, CountedConnection};
use shared::PeerEnded;
pub(crate) use unread::Reading;

/// A bound socket, and whether callers speak TLS on it.
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// Whether it is one of `gateway.tls.listen`.
    pub tls: bool,
}

/// The state that all connections share.
struct Server {
    gateway: Arc<Gateway>,
    tls: TlsAcceptor,
    connections: Connections,
    connection_counts: Arc<ConnectionCounts>,
    tracker: TaskTracker,
    rng: Rng,
    shutdown: Shutdown,
}

/// Serves on all listeners until the drain is over.
pub(crate) async fn serve(gateway: Arc<Gateway>, listeners: Vec<Listener>, shutdown: Shutdown) -> io::Result<()> {
    let tls = gateway.certificate.acceptor().map_err(io::Error::other)?;
    let limits = &gateway.context.limits;
    let connections = Connections::new(limits.connections, Discard::of(limits));
    let (connection_counts, tracker, rng) = (Arc::default(), TaskTracker::new(), Rng::new());
    let server = Arc::new(Server { gateway, tls, connections, connection_counts, tracker, rng, shutdown });
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(Arc::clone(&server), listener));
    }
    while accepting.join_next().await.is_some() {}
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

async fn accept(server: Arc<Server>, listener: Listener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.socket.accept() => accepted,
            () = server.shutdown.draining() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Some(stream) = server.connections.admit(stream) {
                    let prepare = Box::pin(prepare(Arc::clone(&server), stream, peer, listener.tls));
                    server.tracker.spawn(async {
                        // The memory of `prepare` is freed when it returns.
                        let task = prepare.await;
                        if let Some(task) = task {
                            task.await;
                        }
                    });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                // Out of file descriptors: an immediate retry would only use CPU time.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Everything before the first request: a connection that sends nothing is closed. The calls are served by a separate
/// boxed future, so that a connection holds only the memory that its protocol needs.
async fn prepare(server: Arc<Server>, mut stream: Accepted, peer: SocketAddr, tls: bool) -> Option<ConnectionTask> {
    let head_timeout = server.gateway.context.limits.request_head.0;
    stream.hold(enter(&server, peer.ip())?);
    let identified = tokio::select! {
        identified = timeout(head_timeout, identify(&server, &mut stream, peer)) => identified,
        () = server.shutdown.draining() => return None,
    };
    let Ok(Ok((client, is_http2))) = identified else { return None };
    if client.address != peer.ip() {
        stream.hold(enter(&server, client.address)?);
    }
    if !tls {
        return Some(serve_connection(server, stream, client, is_http2));
    }
    let handshaken = tokio::select! {
        handshaken = timeout(head_timeout, server.tls.accept(stream)) => handshaken,
        () = server.shutdown.draining() => return None,
    };
    match handshaken {
        Ok(Ok(stream)) => {
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Some(serve_connection(server, stream, Peer { is_secure: true, ..client }, is_http2))
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

/// Counts a connection by its address, unless that is a trusted proxy, through which all clients connect. `None`: too
/// many connections come from there.
fn enter(server: &Server, address: IpAddr) -> Option<CountedConnection> {
    let current = server.gateway.current();
    if current.proxies.contain(address) {
        return Some(CountedConnection::uncounted());
    }
    let counted = server.connection_counts.enter(
        address,
        current.config.connections_per_address,
        &server.gateway.context.limits.networks,
    );
    if counted.is_none() {
        metrics::counter!("gateway_connections_refused_total", "reason" => "address").increment(1);
        tracing::debug!(%address, "more connections than gateway.connections_per_address");
    }
    counted
}

/// Determines the client's address, as far as the connection itself states it, and whether the client sent the preface
/// of HTTP/2. Ends when the client has sent its first bytes.
async fn identify(server: &Server, stream: &mut Accepted, peer: SocketAddr) -> io::Result<(Peer, bool)> {
    let current = server.gateway.current();
    let mut peer = Peer { address: peer.ip(), is_secure: false, is_probe: false };
    if current.config.proxy_protocol && current.proxies.contain(peer.address) {
        if stream.begins_with(&proxy_protocol::SIGNATURE).await? {
            peer.address = proxy_protocol::read(stream).await?.map_or(peer.address, |source| source.ip());
        } else {
            // Probes of a cluster's nodes and balancers come from the same networks, without the header.
            peer.is_probe = true;
        }
    }
    Ok((peer, stream.speaks_http2().await?))
}

/// Serves a connection from its first request on.
type ConnectionTask = Pin<Box<dyn Future<Output = ()> + Send>>;

fn serve_connection<S>(server: Arc<Server>, stream: S, peer: Peer, is_http2: bool) -> ConnectionTask
where
    S: AsyncRead + AsyncWrite + PeerEnded + Unpin + Send + 'static,
{
    if is_http2 {
        Box::pin(async move {
            let context = ConnectionContext::new(&server, peer, true);
            let stream = MonitoredIo::new(stream, true, &context.watchdog);
            let respond = |request| context.respond(request);
            let limits = &server.gateway.context.limits;
            // h2 keeps reading during calls, and so notices an end itself.
            let signals = context.signals(|| false).and(context.leave().map(|()| Signal::Drain));
            note(http2::serve(stream, limits, respond, signals, &context.watchdog).await);
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
struct ConnectionContext<'a> {
    server: &'a Server,
    peer: Peer,
    watchdog: Arc<Watchdog>,
}

impl<'a> ConnectionContext<'a> {
    fn new(server: &'a Server, peer: Peer, is_http2: bool) -> Self {
        Self { server, peer, watchdog: Watchdog::new(&server.gateway.stalls, is_http2) }
    }

    /// Serves one request. The future is large, and boxed so that it is not copied when it is moved.
    fn respond(&self, request: Request<Inbound>) -> Pin<Box<impl Future<Output = Response<Outgoing>> + use<'_>>> {
        Box::pin(self.server.gateway.respond(self.peer, self.watchdog.begin(), request))
    }

    /// The signals of every connection. `has_left` reports whether the caller has left, where hyper does not notice it.
    fn signals<'b>(&'b self, has_left: impl Fn() -> bool + Send + 'b) -> EventSet<'b, Signal> {
        EventSet::new().and(self.server.shutdown.cut().map(|()| Signal::Close)).and(self.watch(has_left))
    }

    /// The signal of the watchdog.
    fn watch<'b>(&'b self, has_left: impl Fn() -> bool + Send + 'b) -> impl Future<Output = Signal> + Send + 'b {
        let gateway = &self.server.gateway;
        let current = gateway.current();
        let config = &current.config;
        let timeouts = Timeouts {
            idle: config.idle_timeout.0,
            stalled: config.stall_timeout.0,
            head: gateway.context.limits.request_head.0,
        };
        async move {
            let end = self.watchdog.run(timeouts, has_left).await;
            metrics::counter!("gateway_connections_closed_total", "reason" => end.name()).increment(1);
            if end == End::Idle { Signal::Idle } else { Signal::Close }
        }
    }

    /// The maximum age of the connection.
    fn age(&self) -> Option<Duration> {
        self.server.gateway.context.limits.age(self.server.rng.share())
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
