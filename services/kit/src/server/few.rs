//! A listener for `axum::serve` whose connections are bounded, and closed as those of services are.

use std::{io, net::SocketAddr, time::Duration};

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpListener;

use super::accept::{Accepted, Connections};

/// See the module.
pub(crate) struct Few {
    listener: TcpListener,
    connections: Connections,
}

/// The address of a connection's peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerAddress(pub(crate) SocketAddr);

impl Connected<IncomingStream<'_, Few>> for PeerAddress {
    fn connect_info(stream: IncomingStream<'_, Few>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl Few {
    pub(crate) fn new(listener: TcpListener, connections: Connections) -> Self {
        Self { listener, connections }
    }
}

fn alive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10))
}

impl axum::serve::Listener for Few {
    type Io = Accepted;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Accepted, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    // A peer that is gone without a word gives its place back. An Err says that it has gone already.
                    SockRef::from(&stream).set_tcp_keepalive(&alive()).ok();
                    if let Some(accepted) = self.connections.admit(stream) {
                        return (accepted, peer);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
