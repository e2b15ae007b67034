//! The callers' connections: accepted, bounded, watched, drained.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use kit::{
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
    Gateway, proxy_protocol,
    vigil::{Overheard, Patience, Vigil},
};

/// What is read and written at once over HTTP/1.1, at most. hyper reads a request's head into the same buffer: what a
/// head may hold is looked at afterwards.
const BUFFER_BYTES: usize = 64 * 1024;
/// What of one answer may be on its way to its caller, and what of one request on its way in.
const STREAM_BYTES: u32 = 64 * 1024;
/// What of all requests of one connection may be on its way in. More than a few streams' worth: one whose upstream
/// does not read must not stop the others.
const CONNECTION_BYTES: u32 = 1024 * 1024;
/// Streams that a peer opened and reset before they were looked at (CVE-2023-44487), and streams that we had to reset
/// for a peer's mistakes (CVE-2025-8671): one more ends the connection. h2's own defaults, said here because they are
/// relied on.
const PENDING_RESETS: usize = 20;
const ERROR_RESETS: usize = 1_024;

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
    shutdown: Shutdown,
}

/// Serves on all listeners until the drain is over.
pub(crate) async fn serve(gateway: Arc<Gateway>, listeners: Vec<Listener>, shutdown: Shutdown) -> io::Result<()> {
    let tls = gateway.certificate.acceptor().map_err(io::Error::other)?;
    let places = Connections::new(gateway.surroundings.limits.connections);
    let house = Arc::new(House { gateway, tls, places, tracker: TaskTracker::new(), shutdown });
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
    let builder = builder(limits, current.config.header_count);
    drop(current);
    let vigil = Vigil::new();
    let service = service_fn(|request| {
        let (gateway, watched) = (Arc::clone(&house.gateway), vigil.begin());
        async move { Ok::<_, Infallible>(gateway.answer(peer, secure, watched, request).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(Overheard::new(stream, is_http2, &vigil)), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        end = vigil.keep(patience) => {
            metrics::counter!("gateway_connections_closed_total", "reason" => end.name()).increment(1);
            return;
        }
        () = house.shutdown.draining() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = house.shutdown.cut() => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a caller's connection ended");
    }
}

fn builder(limits: &Limits, header_count: usize) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(header_count)
        .max_buf_size(usize::try_from(limits.header_bytes).unwrap_or(usize::MAX).max(BUFFER_BYTES));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection)
        .max_header_list_size(limits.header_bytes)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(ERROR_RESETS)
        .max_frame_size(STREAM_BYTES)
        .initial_stream_window_size(STREAM_BYTES)
        .initial_connection_window_size(CONNECTION_BYTES)
        .max_send_buf_size(STREAM_BYTES as usize)
        .keep_alive_interval(limits.keepalive.0)
        .keep_alive_timeout(limits.keepalive.0);
    builder
}
