//! The callers' connections: accepted, bounded, watched, drained.

mod bell;
mod date;
mod guests;
mod http2;
mod shared;

use std::{
    convert::Infallible,
    error::Error,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures_util::FutureExt as _;
use http::{HeaderValue, Request, Response, header::CONNECTION};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use kit::{
    balance::Chance,
    error::chain,
    limits::Limits,
    server::{Accepted, Connections},
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
    Gateway,
    body::{Inbound, Outgoing},
    overheard::Overheard,
    proxy_protocol,
    seldom::Seldom,
    vigil::{Patience, Vigil},
};
use guests::{Guest, Guests};
use shared::{Line, Shared};

/// What is read and written at once over HTTP/1.1, at most. hyper reads a request's head into the same buffer: what a
/// head may hold is looked at afterwards.
const BUFFER_BYTES: usize = 64 * 1024;

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
    guests: Arc<Guests>,
    tracker: TaskTracker,
    chance: Chance,
    shutdown: Shutdown,
}

/// Serves on all listeners until the drain is over.
pub(crate) async fn serve(gateway: Arc<Gateway>, listeners: Vec<Listener>, shutdown: Shutdown) -> io::Result<()> {
    let tls = gateway.certificate.acceptor().map_err(io::Error::other)?;
    let places = Connections::new(gateway.surroundings.limits.connections);
    let (guests, tracker, chance) = (Arc::default(), TaskTracker::new(), Chance::new());
    let house = Arc::new(House { gateway, tls, places, guests, tracker, chance, shutdown });
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(Arc::clone(&house), listener));
    }
    while accepting.join_next().await.is_some() {}
    house.tracker.close();
    tokio::select! {
        () = house.tracker.wait() => {}
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
                        // With the answer the welcome's memory is given back.
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
    let patience = house.gateway.surroundings.limits.request_head.0;
    let mut guest = enter(&house, peer.ip())?;
    let introduced = tokio::select! {
        introduced = timeout(patience, introduce(&house, &mut stream, peer)) => introduced,
        () = house.shutdown.draining() => return None,
    };
    let Ok(Ok((client, is_http2))) = introduced else { return None };
    if client != peer.ip() {
        guest = enter(&house, client)?;
    }
    if !tls {
        return Some(converse(house, stream, client, Heard { secure: false, is_http2 }, guest));
    }
    let shaken = tokio::select! {
        shaken = timeout(patience, house.tls.accept(stream)) => shaken,
        () = house.shutdown.draining() => return None,
    };
    match shaken {
        Ok(Ok(stream)) => {
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Some(converse(house, stream, client, Heard { secure: true, is_http2 }, guest))
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
fn enter(house: &House, address: IpAddr) -> Option<Guest> {
    let current = house.gateway.current();
    if current.proxies.contain(address) {
        return Some(Guest::uncounted(address));
    }
    let guest = house.guests.enter(address, current.config.connections_per_address);
    if guest.is_none() {
        metrics::counter!("gateway_connections_refused_total", "reason" => "address").increment(1);
        tracing::debug!(%address, "more connections than gateway.connections_per_address");
    }
    guest
}

/// What is known of a connection when its first request comes.
#[derive(Clone, Copy)]
struct Heard {
    secure: bool,
    is_http2: bool,
}

/// Where the client sits, as far as the connection itself tells, and whether it has said HTTP/2's hello. Ends when the
/// client has begun to speak.
async fn introduce(house: &House, stream: &mut Accepted, peer: SocketAddr) -> io::Result<(IpAddr, bool)> {
    let current = house.gateway.current();
    let mut client = peer.ip();
    if current.config.proxy_protocol && current.proxies.contain(client) {
        client = proxy_protocol::read(stream).await?.map_or(client, |told| told.ip());
    }
    Ok((client, stream.speaks_http2().await?))
}

/// A connection from its first request on.
type Conversation = Pin<Box<dyn Future<Output = ()> + Send>>;

fn converse<S>(house: Arc<House>, stream: S, peer: IpAddr, heard: Heard, guest: Guest) -> Conversation
where
    S: AsyncRead + AsyncWrite + Line + Unpin + Send + 'static,
{
    if heard.is_http2 {
        Box::pin(async move {
            let _guest = guest;
            let talk = Talk::new(&house, peer, heard);
            let stream = Overheard::new(stream, true, &talk.vigil);
            let answer = |request| talk.answer(request);
            let limits = &house.gateway.surroundings.limits;
            // h2 reads on whatever goes on, and hears of an end itself.
            note(http2::serve(stream, limits, answer, talk.words(|| false), &talk.vigil).await);
        })
    } else {
        Box::pin(async move {
            let _guest = guest;
            note(serve_http1(&Talk::new(&house, peer, heard), stream).await);
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
    /// No more calls: the caller is to go when those under way have ended.
    Leave,
    /// At once.
    Close,
}

/// What a connection's calls have in common.
struct Talk<'a> {
    house: &'a House,
    peer: IpAddr,
    secure: bool,
    vigil: Arc<Vigil>,
}

impl<'a> Talk<'a> {
    fn new(house: &'a House, peer: IpAddr, heard: Heard) -> Self {
        let vigil = Vigil::new(&house.gateway.stalls, heard.is_http2);
        Self { house, peer, secure: heard.secure, vigil }
    }

    /// In a box: what is made of it here and there would copy it each time, and it is large.
    fn answer(&self, request: Request<Inbound>) -> Pin<Box<impl Future<Output = Response<Outgoing>> + use<'_>>> {
        Box::pin(self.house.gateway.answer(self.peer, self.secure, self.vigil.begin(), request))
    }

    /// What the connection is told by the shutdown, for its age, and for what it has deserved. `has_left` tells whether
    /// the caller has, where nobody would notice.
    fn words<'b>(&'b self, has_left: impl Fn() -> bool + Send + 'b) -> Seldom<'b, Word> {
        let (gateway, shutdown) = (&self.house.gateway, &self.house.shutdown);
        let (current, limits) = (gateway.current(), &gateway.surroundings.limits);
        let patience = Patience {
            idle: current.config.idle_timeout.0,
            stalled: current.config.stall_timeout.0,
            head: limits.request_head.0,
        };
        let deserved = async move {
            let end = self.vigil.keep(patience, has_left).await;
            metrics::counter!("gateway_connections_closed_total", "reason" => end.name()).increment(1);
            Word::Close
        };
        Seldom::new()
            .and(leave(shutdown, limits.age(self.house.chance.share())).map(|()| Word::Leave))
            .and(shutdown.cut().map(|()| Word::Close))
            .and(deserved)
    }
}

/// Serves the calls of a connection over HTTP/1.1, on hyper.
async fn serve_http1<S>(talk: &Talk<'_>, stream: S) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Line + Unpin + Send + 'static,
{
    let stream = Shared::new(stream);
    let line = stream.clone();
    let service = service_fn(|request: Request<Incoming>| {
        let answering = talk.answer(request.map(Inbound::http1));
        async {
            let mut response = answering.await;
            if talk.house.shutdown.is_stopping() {
                // HTTP/1.1's GOAWAY, in time: the next request comes to another process.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let builder = http1(&talk.house.gateway.surroundings.limits, talk.house.gateway.current().config.header_count);
    let stream = TokioIo::new(Overheard::new(stream, false, &talk.vigil));
    let mut connection = pin!(builder.serve_connection(stream, service));
    // hyper reads nothing while something waits to be read out of its own buffer.
    let mut words = talk.words(move || line.has_ended());
    poll_fn(|cx| {
        while let Poll::Ready(word) = words.poll(cx) {
            match word {
                Word::Leave => connection.as_mut().graceful_shutdown(),
                Word::Close => return Poll::Ready(Ok(())),
            }
        }
        let polled = connection.as_mut().poll(cx);
        if polled.is_pending() {
            talk.vigil.end_turn(cx);
        }
        polled
    })
    .await
}

/// Ends when callers are to go: with the shutdown, or because their connection is old.
async fn leave(shutdown: &Shutdown, age: Option<Duration>) {
    let old = async {
        match age {
            Some(age) => tokio::time::sleep(age).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = shutdown.draining() => {}
        () = old => {}
    }
}

fn http1(limits: &Limits, header_count: usize) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(header_count)
        .max_buf_size(usize::try_from(limits.header_bytes).unwrap_or(usize::MAX).max(BUFFER_BYTES));
    builder
}
