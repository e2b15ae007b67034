//! A listener for HTTP with a bounded number of connections, which are closed like those of services.

use std::{net::SocketAddr, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpListener;

use super::accept::{Accepted, Connections};

/// A listener with a bounded number of connections (see the module).
pub(crate) struct BoundedListener {
    listener: TcpListener,
    connections: Connections,
}

/// The address of a connection's peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerAddress(pub(crate) SocketAddr);

impl BoundedListener {
    pub(crate) fn new(listener: TcpListener, connections: Connections) -> Self {
        Self { listener, connections }
    }

    /// The next connection that is within the bound, and the address of its peer.
    pub(crate) async fn accept(&mut self) -> (Accepted, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    // Detects peers that have gone without FIN, to free their places. An Err means that the peer has
                    // gone.
                    SockRef::from(&stream).set_tcp_keepalive(&alive()).ok();
                    if let Some(accepted) = self.connections.admit(stream) {
                        return (accepted, peer);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

fn alive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10))
}
