//! A listener for `axum::serve` with a bounded number of connections, which are closed like those of services.

use std::{io, net::SocketAddr, time::Duration};

use axum::{extract::connect_info::Connected, serve::IncomingStream};
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

impl Connected<IncomingStream<'_, BoundedListener>> for PeerAddress {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl BoundedListener {
    pub(crate) fn new(listener: TcpListener, connections: Connections) -> Self {
        Self { listener, connections }
    }
}

fn alive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10))
}

impl axum::serve::Listener for BoundedListener {
    type Io = Accepted;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Accepted, SocketAddr) {
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

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
