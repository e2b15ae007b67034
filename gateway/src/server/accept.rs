//! Accepts connections: counts them by address, reads the PROXY protocol, and completes the TLS handshake.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use kit::server::Accepted;
use tokio::time::timeout;
use tokio_rustls::rustls;

use super::{
    ConnectionTask, Handler, Listener, Peer, Server, per_address::CountedConnection, proxy_protocol, serve_connection,
};
use crate::tls::PeerCertificate;

/// Accepts the connections of one listener until the shutdown drains.
pub(super) async fn accept<H: Handler>(server: Arc<Server<H>>, listener: Listener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.socket.accept() => accepted,
            () = server.shutdown.draining() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Some(stream) = server.connections.admit(stream) {
                    start(&server, stream, peer, listener.tls);
                }
            }
            Err(error) => {
                not_accepted(&error);
                // Out of file descriptors: an immediate retry would only use CPU time.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn not_accepted(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
}

/// Starts to serve a connection: on one of the server's threads, or if it has none, on those of the process.
fn start<H: Handler>(server: &Arc<Server<H>>, mut stream: Accepted, peer: SocketAddr, tls: bool) {
    let (serving, place) = (Arc::clone(server), server.threads.place());
    let moves = place.is_some();
    let preparing = Box::pin(async move {
        if moves {
            stream.move_here().inspect_err(not_accepted).ok()?;
        }
        prepare(serving, stream, peer, tls).await
    });
    let serving = async {
        // The memory of `preparing` is freed when it returns.
        let task = preparing.await;
        if let Some(task) = task {
            task.await;
        }
    };
    match place {
        None => server.tracker.spawn(serving),
        Some(place) => {
            let runtime = place.runtime.clone();
            let serving = async {
                serving.await;
                drop(place);
            };
            server.tracker.spawn_on(serving, &runtime)
        }
    };
}

/// Everything before the first request: a connection that sends nothing is closed. The calls are served by a separate
/// boxed future, so that a connection holds only the memory that its protocol needs.
async fn prepare<H: Handler>(
    server: Arc<Server<H>>,
    mut stream: Accepted,
    peer: SocketAddr,
    tls: bool,
) -> Option<ConnectionTask> {
    let head_timeout = server.limits.request_head.0;
    stream.hold(count(&server, peer.ip())?);
    let identified = tokio::select! {
        identified = timeout(head_timeout, identify(&server, &mut stream, peer)) => identified,
        () = server.shutdown.draining() => return None,
    };
    let Ok(Ok((client, is_http2))) = identified else { return None };
    if client.address != peer.ip() {
        stream.hold(count(&server, client.address)?);
    }
    if !tls {
        return Some(serve_connection(server, stream, client, is_http2));
    }
    let handshakes = server.tls.current();
    let handshaken = tokio::select! {
        handshaken = timeout(head_timeout, handshakes.acceptor.accept(stream)) => handshaken,
        () = server.shutdown.draining() => return None,
    };
    match handshaken {
        Ok(Ok(stream)) => {
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let chain = stream.get_ref().1.peer_certificates();
            let certificate = match PeerCertificate::verified(chain, handshakes.trust.as_ref()) {
                Ok(certificate) => certificate,
                Err(error) => {
                    refuse_certificate(&error, client.address);
                    return None;
                }
            };
            Some(serve_connection(server, stream, Peer { is_secure: true, certificate, ..client }, is_http2))
        }
        Ok(Err(error)) => {
            match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(why @ (rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)) => {
                    refuse_certificate(&error, client.address);
                    if let Some(trust) = &handshakes.trust {
                        trust.note(why);
                    }
                }
                _ => tracing::debug!(%error, "a TLS handshake failed"),
            }
            None
        }
        Err(_) => None,
    }
}

/// Counts a client whose certificate is missing or not valid.
fn refuse_certificate(error: &dyn fmt::Display, address: IpAddr) {
    metrics::counter!("gateway_connections_refused_total", "reason" => "client_certificate").increment(1);
    tracing::debug!(%error, %address, "the certificate of a client was refused (gateway.tls.client_ca, client_crl)");
}

/// Counts a connection by its address, unless that is a trusted proxy, through which all clients connect. `None`: too
/// many connections come from there.
fn count<H: Handler>(server: &Server<H>, address: IpAddr) -> Option<CountedConnection> {
    if server.handler.is_trusted_proxy(address) {
        return Some(CountedConnection::uncounted());
    }
    let most = server.handler.settings().connections_per_address;
    let counted = server.connection_counts.enter(address, most, &server.limits.networks);
    if counted.is_none() {
        metrics::counter!("gateway_connections_refused_total", "reason" => "address").increment(1);
        tracing::debug!(%address, "more connections than gateway.connections_per_address");
    }
    counted
}

/// Determines the client's address, as far as the connection itself states it, and whether the client sent the preface
/// of HTTP/2. Ends when the client has sent its first bytes.
async fn identify<H: Handler>(server: &Server<H>, stream: &mut Accepted, peer: SocketAddr) -> io::Result<(Peer, bool)> {
    let mut peer = Peer { address: peer.ip(), is_secure: false, certificate: None, is_probe: false };
    if server.handler.settings().proxy_protocol && server.handler.is_trusted_proxy(peer.address) {
        if stream.begins_with(&proxy_protocol::SIGNATURE).await? {
            peer.address = proxy_protocol::read(stream).await?.map_or(peer.address, |source| source.ip());
        } else {
            // Probes of a cluster's nodes and balancers come from the same networks, without the header.
            peer.is_probe = true;
        }
    }
    Ok((peer, stream.speaks_http2().await?))
}
