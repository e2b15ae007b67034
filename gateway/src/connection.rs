//! The callers' connections: accepted, bounded, watched, drained.

mod bell;
mod date;
mod http2;

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::{HeaderValue, Request, header::CONNECTION};
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
    body::Inbound,
    proxy_protocol,
    seldom::Seldom,
    vigil::{Overheard, Patience, Vigil},
};

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
    tracker: TaskTracker,
    chance: Chance,
    shutdown: Shutdown,
}

/// Serves on all listeners until the drain is over.
pub(crate) async fn serve(gateway: Arc<Gateway>, listeners: Vec<Listener>, shutdown: Shutdown) -> io::Result<()> {
    let tls = gateway.certificate.acceptor().map_err(io::Error::other)?;
    let places = Connections::new(gateway.surroundings.limits.connections);
    let house = Arc::new(House { gateway, tls, places, tracker: TaskTracker::new(), chance: Chance::new(), shutdown });
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
                    house.tracker.spawn(welcome(Arc::clone(&house), stream, peer, listener.tls));
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

/// Everything before the first request. Whoever connects and says nothing gives the place back.
async fn welcome(house: Arc<House>, mut stream: Accepted, peer: SocketAddr, tls: bool) {
    let patience = house.gateway.surroundings.limits.request_head.0;
    let introduced = tokio::select! {
        introduced = timeout(patience, introduce(&house, &mut stream, peer)) => introduced,
        () = house.shutdown.draining() => return,
    };
    let Ok(Ok((client, is_http2))) = introduced else { return };
    if !tls {
        return converse(&house, stream, client, Heard { secure: false, is_http2 }).await;
    }
    let shaken = tokio::select! {
        shaken = timeout(patience, house.tls.accept(stream)) => shaken,
        () = house.shutdown.draining() => return,
    };
    match shaken {
        Ok(Ok(stream)) => {
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            converse(&house, stream, client, Heard { secure: true, is_http2 }).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => {}
    }
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

async fn converse<S>(house: &House, stream: S, peer: IpAddr, Heard { secure, is_http2 }: Heard)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let current = house.gateway.current();
    let limits = &house.gateway.surroundings.limits;
    let (idle, stalled) = (current.config.idle_timeout.0, current.config.stall_timeout.0);
    let patience = Patience { idle, stalled, head: limits.request_head.0 };
    let http1 = http1(limits, current.config.header_count);
    drop(current);
    let vigil = Vigil::new();
    // In a box: what is made of it here and there would copy it each time, and it is large.
    let answer = |request: Request<Inbound>| Box::pin(house.gateway.answer(peer, secure, vigil.begin(), request));
    let drain = Seldom::new(leave(&house.shutdown, limits.age(house.chance.share())));
    let stream = Overheard::new(stream, is_http2, &vigil);
    let conversation = async {
        if is_http2 {
            return http2::serve(stream, limits, answer, drain).await.map_err(|error| chain(&error));
        }
        let service = service_fn(|request: Request<Incoming>| {
            let answering = answer(request.map(Inbound::http1));
            async {
                let mut response = answering.await;
                if house.shutdown.is_stopping() {
                    // HTTP/1.1's GOAWAY, in time: the next request comes to another process.
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        });
        let mut connection = std::pin::pin!(http1.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = drain => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        ended.map_err(|error| chain(&error))
    };
    tokio::select! {
        biased;
        ended = conversation => if let Err(error) = ended {
            tracing::debug!(error, "a caller's connection ended");
        },
        end = Seldom::new(vigil.keep(patience)) => {
            metrics::counter!("gateway_connections_closed_total", "reason" => end.name()).increment(1);
        }
        () = Seldom::new(house.shutdown.cut()) => {}
    }
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
