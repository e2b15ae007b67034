//! The callers' connections: accepted, bounded, watched, drained.

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
    balance::Rng,
    error::chain,
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
    watchdog::{End, Patience, Watchdog},
};
use per_address::{ConnectionCounts, CountedConnection};
use shared::Line;
pub(crate) use unread::Reading;

/// A bound socket, and whether callers speak TLS on it.
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// Whether it is one of `gateway.tls.listen`.
    pub tls: bool,
}

/// What all connections share.
struct House {
    gateway: Arc<Gateway>,
    tls: TlsAcceptor,
    places: Connections,
    connection_counts: Arc<ConnectionCounts>,
    tracker: TaskTracker,
    chance: Rng,
    shutdown: Shutdown,
}

/// Serves on all listeners until the drain is over.
pub(crate) async fn serve(gateway: Arc<Gateway>, listeners: Vec<Listener>, shutdown: Shutdown) -> io::Result<()> {
    let tls = gateway.certificate.acceptor().map_err(io::Error::other)?;
    let limits = &gateway.context.limits;
    let places = Connections::new(limits.connections, Discard::of(limits));
    let (connection_counts, tracker, chance) = (Arc::default(), TaskTracker::new(), Rng::new());
    let house = Arc::new(House { gateway, tls, places, connection_counts, tracker, chance, shutdown });
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(Arc::clone(&house), listener));
    }
    while accepting.join_next().await.is_some() {}
    house.tracker.close();
    let ended = async {
        house.tracker.wait().await;
        house.places.closed().await;
    };
    tokio::select! {
        () = ended => {}
        () = house.shutdown.cut() => {}
    }
    Ok(())
}

async fn accept(house: Arc<House>, listener: Listener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.socket.accept() => accepted,
            () = house.shutdown.draining() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Some(stream) = house.places.admit(stream) {
                    let welcome = Box::pin(welcome(Arc::clone(&house), stream, peer, listener.tls));
                    house.tracker.spawn(async {
                        // With the response the welcome's memory is given back.
                        let conversation = welcome.await;
                        if let Some(conversation) = conversation {
                            conversation.await;
                        }
                    });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                // Out of file descriptors: at once again would only burn time.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Everything before the first request: who connects and says nothing gives the place back. What comes after it is
/// answered in a box of its own, so that a connection holds the memory that its kind needs and no more.
async fn welcome(house: Arc<House>, mut stream: Accepted, peer: SocketAddr, tls: bool) -> Option<Conversation> {
    let patience = house.gateway.context.limits.request_head.0;
    stream.hold(enter(&house, peer.ip())?);
    let introduced = tokio::select! {
        introduced = timeout(patience, introduce(&house, &mut stream, peer)) => introduced,
        () = house.shutdown.draining() => return None,
    };
    let Ok(Ok((told, is_http2))) = introduced else { return None };
    if told.address != peer.ip() {
        stream.hold(enter(&house, told.address)?);
    }
    if !tls {
        return Some(converse(house, stream, told, is_http2));
    }
    let shaken = tokio::select! {
        shaken = timeout(patience, house.tls.accept(stream)) => shaken,
        () = house.shutdown.draining() => return None,
    };
    match shaken {
        Ok(Ok(stream)) => {
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Some(converse(house, stream, Peer { is_secure: true, ..told }, is_http2))
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

/// Counts a connection where it comes from, unless that is a proxy of ours, from which everybody comes. `None`: too many
/// do.
fn enter(house: &House, address: IpAddr) -> Option<CountedConnection> {
    let current = house.gateway.current();
    if current.proxies.contain(address) {
        return Some(CountedConnection::uncounted());
    }
    let counted = house.connection_counts.enter(
        address,
        current.config.connections_per_address,
        &house.gateway.context.limits.networks,
    );
    if counted.is_none() {
        metrics::counter!("gateway_connections_refused_total", "reason" => "address").increment(1);
        tracing::debug!(%address, "more connections than gateway.connections_per_address");
    }
    counted
}

/// Where the client is, as far as the connection itself tells, and whether it has said HTTP/2's hello. Ends when the
/// client has begun to speak.
async fn introduce(house: &House, stream: &mut Accepted, peer: SocketAddr) -> io::Result<(Peer, bool)> {
    let current = house.gateway.current();
    let mut peer = Peer { address: peer.ip(), is_secure: false, is_probe: false };
    if current.config.proxy_protocol && current.proxies.contain(peer.address) {
        if stream.begins_with(&proxy_protocol::SIGNATURE).await? {
            peer.address = proxy_protocol::read(stream).await?.map_or(peer.address, |told| told.ip());
        } else {
            // Probes of a cluster's nodes and balancers come from the same networks, without the protocol.
            peer.is_probe = true;
        }
    }
    Ok((peer, stream.speaks_http2().await?))
}

/// A connection from its first request on.
type Conversation = Pin<Box<dyn Future<Output = ()> + Send>>;

fn converse<S>(house: Arc<House>, stream: S, peer: Peer, is_http2: bool) -> Conversation
where
    S: AsyncRead + AsyncWrite + Line + Unpin + Send + 'static,
{
    if is_http2 {
        Box::pin(async move {
            let talk = Talk::new(&house, peer, true);
            let stream = MonitoredIo::new(stream, true, &talk.watchdog);
            let response = |request| talk.answer(request);
            let limits = &house.gateway.context.limits;
            // h2 reads on whatever goes on, and hears of an end itself.
            let words = talk.words(|| false).and(talk.leave().map(|()| Word::Leave));
            note(http2::serve(stream, limits, response, words, &talk.watchdog).await);
        })
    } else {
        Box::pin(async move {
            note(http1::serve(&Talk::new(&house, peer, false), stream).await);
        })
    }
}

fn note(ended: Result<(), impl Error + 'static>) {
    if let Err(error) = ended {
        tracing::debug!(error = chain(&error), "a caller's connection ended");
    }
}

/// What a connection is told.
enum Word {
    /// The caller is to make another connection for its next calls.
    Leave,
    /// It has been idle for long: it is to be closed, unless a call comes at this moment.
    Idle,
    /// It is to be closed at once.
    Close,
}

/// What a connection's calls have in common.
struct Talk<'a> {
    house: &'a House,
    peer: Peer,
    watchdog: Arc<Watchdog>,
}

impl<'a> Talk<'a> {
    fn new(house: &'a House, peer: Peer, is_http2: bool) -> Self {
        Self { house, peer, watchdog: Watchdog::new(&house.gateway.stalls, is_http2) }
    }

    /// In a box: what is made of it here and there would copy it each time, and it is large.
    fn answer(&self, request: Request<Inbound>) -> Pin<Box<impl Future<Output = Response<Outgoing>> + use<'_>>> {
        Box::pin(self.house.gateway.answer(self.peer, self.watchdog.begin(), request))
    }

    /// What every connection is told. `has_left` tells whether the caller has, where nobody would notice.
    fn words<'b>(&'b self, has_left: impl Fn() -> bool + Send + 'b) -> EventSet<'b, Word> {
        EventSet::new().and(self.house.shutdown.cut().map(|()| Word::Close)).and(self.deserved(has_left))
    }

    /// What the connection has deserved.
    fn deserved<'b>(&'b self, has_left: impl Fn() -> bool + Send + 'b) -> impl Future<Output = Word> + Send + 'b {
        let gateway = &self.house.gateway;
        let current = gateway.current();
        let config = &current.config;
        let patience = Patience {
            idle: config.idle_timeout.0,
            stalled: config.stall_timeout.0,
            head: gateway.context.limits.request_head.0,
        };
        async move {
            let end = self.watchdog.keep(patience, has_left).await;
            metrics::counter!("gateway_connections_closed_total", "reason" => end.name()).increment(1);
            if end == End::Idle { Word::Idle } else { Word::Close }
        }
    }

    /// How old the connection may become.
    fn age(&self) -> Option<Duration> {
        self.house.gateway.context.limits.age(self.house.chance.share())
    }

    /// Ends when callers are to go: with the shutdown, or because their connection is old.
    async fn leave(&self) {
        let old = async {
            match self.age() {
                Some(age) => tokio::time::sleep(age).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.house.shutdown.draining() => {}
            () = old => {}
        }
    }
}
