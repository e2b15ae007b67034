//! The callers' connections: accepted, bounded, drained.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use kit::{
    server::{Accepted, Connections},
    shutdown::Shutdown,
};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_util::task::TaskTracker;

use crate::Gateway;

/// hyper reads the head of an HTTP/1.1 request into one buffer, which cannot be smaller.
const SMALLEST_HEAD: usize = 8 * 1024;

/// Serves on all listeners until the drain is over.
pub(crate) async fn serve(gateway: Arc<Gateway>, listeners: Vec<TcpListener>, shutdown: Shutdown) -> io::Result<()> {
    let connections = Connections::new(gateway.surroundings.limits.connections);
    let tracker = TaskTracker::new();
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(Arc::clone(&gateway), listener, connections.clone(), tracker.clone(), shutdown.clone()));
    }
    while accepting.join_next().await.is_some() {}
    tracker.close();
    tokio::select! {
        () = tracker.wait() => {}
        () = shutdown.cut() => {}
    }
    Ok(())
}

async fn accept(
    gateway: Arc<Gateway>,
    listener: TcpListener,
    connections: Connections,
    tracker: TaskTracker,
    shutdown: Shutdown,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.draining() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Some(stream) = connections.admit(stream) {
                    tracker.spawn(converse(Arc::clone(&gateway), stream, peer, shutdown.clone()));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                // Out of file descriptors: at once again would only burn time.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn converse(gateway: Arc<Gateway>, stream: Accepted, peer: SocketAddr, shutdown: Shutdown) {
    let limits = gateway.surroundings.limits.clone();
    // Whoever connects and says nothing gives the place back.
    let begun = tokio::select! {
        begun = timeout(limits.request_head.0, stream.speaks()) => begun.is_ok_and(|spoke| spoke.is_ok()),
        () = shutdown.draining() => false,
    };
    if !begun {
        return;
    }
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.request_head.0)
        .max_buf_size(usize::try_from(limits.header_bytes).unwrap_or(usize::MAX).max(SMALLEST_HEAD));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection)
        .max_header_list_size(limits.header_bytes)
        .keep_alive_interval(limits.keepalive.0)
        .keep_alive_timeout(limits.keepalive.0);
    let service = service_fn(move |request| {
        let gateway = Arc::clone(&gateway);
        async move { Ok::<_, Infallible>(gateway.answer(peer, request).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.draining() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = shutdown.cut() => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a caller's connection ended");
    }
}
