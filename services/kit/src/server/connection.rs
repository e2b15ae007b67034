//! Connections to the port of a service, over TLS if the mesh uses it.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _, future::ready, stream::BoxStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, timeout},
};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::{Accepted, ConnectedPeer, Frames};
use crate::tls::MeshTls;

/// A connection of a client.
pub(super) enum Connection {
    /// Cleartext. It counts its own frames.
    Plain(Box<Accepted>),
    Tls(Box<TlsConnection>),
}

/// A connection over TLS. A flood of frames is an error, as in cleartext.
pub(super) struct TlsConnection {
    stream: TlsStream<Accepted>,
    frames: Frames,
}

/// Performs TLS handshakes concurrently, so that a slow client does not delay others. `most` bounds their number,
/// `limit` the time of each.
pub(super) fn handshakes(
    admitted: impl Stream<Item = Result<Accepted, io::Error>> + Send + 'static,
    tls: Option<Arc<MeshTls>>,
    most: usize,
    limit: Duration,
) -> BoxStream<'static, Result<Connection, io::Error>> {
    let Some(tls) = tls.filter(|tls| tls.acceptor().is_some()) else {
        return admitted.map(|accepted| Ok(Connection::Plain(Box::new(accepted?.watching_frames())))).boxed();
    };
    let handshake = move |accepted: Result<Accepted, io::Error>| {
        let acceptor = tls.acceptor();
        async move {
            // An acceptor exists: it was checked above and is never removed.
            let (accepted, acceptor) = (accepted.ok()?, acceptor?);
            match timeout(limit, acceptor.accept(accepted)).await {
                Ok(Ok(stream)) => {
                    let frames = Frames::counting_resets(stream.get_ref().0.trust().clone());
                    Some(Connection::Tls(Box::new(TlsConnection { stream, frames })))
                }
                Ok(Err(error)) => {
                    metrics::counter!("server_handshakes_failed_total").increment(1);
                    tracing::debug!(%error, "a TLS handshake failed");
                    None
                }
                Err(_) => None,
            }
        }
    };
    admitted.map(handshake).buffer_unordered(most.max(1)).filter_map(|connection| ready(connection.map(Ok))).boxed()
}

impl Connected for Connection {
    type ConnectInfo = ConnectedPeer;

    fn connect_info(&self) -> ConnectedPeer {
        match self {
            Self::Plain(accepted) => accepted.connect_info(),
            Self::Tls(tls) => tls.stream.get_ref().0.connect_info(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(accepted) => Pin::new(accepted).poll_read(cx, buf),
            Self::Tls(tls) => {
                let before = buf.filled().len();
                let polled = Pin::new(&mut tls.stream).poll_read(cx, buf);
                tls.frames.pass(&buf.filled()[before..], Instant::now)?;
                polled
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(accepted) => Pin::new(accepted).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => {
                let polled = Pin::new(&mut tls.stream).poll_write_vectored(cx, bufs);
                if let Poll::Ready(Ok(written)) = &polled {
                    tls.frames.sent(bufs, *written, Instant::now)?;
                }
                polled
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(accepted) => accepted.is_write_vectored(),
            Self::Tls(tls) => tls.stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(accepted) => Pin::new(accepted).poll_flush(cx),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(accepted) => Pin::new(accepted).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_shutdown(cx),
        }
    }
}
