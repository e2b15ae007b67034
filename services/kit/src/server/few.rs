//! A listener for `axum::serve` whose connections are bounded, and closed as those of services are.

use std::{io, net::SocketAddr, time::Duration};

use tokio::net::TcpListener;

use super::accept::{Accepted, Connections};

/// See the module.
pub(crate) struct Few {
    listener: TcpListener,
    connections: Connections,
}

impl Few {
    pub(crate) fn new(listener: TcpListener, connections: Connections) -> Self {
        Self { listener, connections }
    }
}

impl axum::serve::Listener for Few {
    type Io = Accepted;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Accepted, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
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
