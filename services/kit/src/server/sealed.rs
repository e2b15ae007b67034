//! Connections to the port of a service, over TLS where the mesh has it.

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

/// A connection of a caller.
pub(super) enum Connection {
    /// It watches its frames itself.
    Plain(Box<Accepted>),
    Sealed(Box<Sealed>),
}

/// A connection over TLS: a flood of frames within it is an error, as in the clear.
pub(super) struct Sealed {
    stream: TlsStream<Accepted>,
    frames: Frames,
}

/// Shakes hands on every connection; side by side, so that a slow caller keeps nobody waiting. `most` bounds how many
/// wait at once, `patience` how long each may take.
pub(super) fn shake_hands(
    admitted: impl Stream<Item = Result<Accepted, io::Error>> + Send + 'static,
    tls: Option<Arc<MeshTls>>,
    most: usize,
    patience: Duration,
) -> BoxStream<'static, Result<Connection, io::Error>> {
    let Some(tls) = tls.filter(|tls| tls.acceptor().is_some()) else {
        return admitted.map(|accepted| Ok(Connection::Plain(Box::new(accepted?.watching_frames())))).boxed();
    };
    let shaking = move |accepted: Result<Accepted, io::Error>| {
        let acceptor = tls.acceptor();
        async move {
            // It had one before, and keeps it.
            let (accepted, acceptor) = (accepted.ok()?, acceptor?);
            match timeout(patience, acceptor.accept(accepted)).await {
                Ok(Ok(stream)) => {
                    let frames = Frames::counting_resets(stream.get_ref().0.trust().clone());
                    Some(Connection::Sealed(Box::new(Sealed { stream, frames })))
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
    admitted.map(shaking).buffer_unordered(most.max(1)).filter_map(|shaken| ready(shaken.map(Ok))).boxed()
}

impl Connected for Connection {
    type ConnectInfo = ConnectedPeer;

    fn connect_info(&self) -> ConnectedPeer {
        match self {
            Self::Plain(accepted) => accepted.connect_info(),
            Self::Sealed(sealed) => sealed.stream.get_ref().0.connect_info(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(accepted) => Pin::new(accepted).poll_read(cx, buf),
            Self::Sealed(sealed) => {
                let before = buf.filled().len();
                let polled = Pin::new(&mut sealed.stream).poll_read(cx, buf);
                sealed.frames.pass(&buf.filled()[before..], Instant::now)?;
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
            Self::Sealed(sealed) => {
                let polled = Pin::new(&mut sealed.stream).poll_write_vectored(cx, bufs);
                if let Poll::Ready(Ok(written)) = &polled {
                    sealed.frames.sent(bufs, *written, Instant::now)?;
                }
                polled
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(accepted) => accepted.is_write_vectored(),
            Self::Sealed(sealed) => sealed.stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(accepted) => Pin::new(accepted).poll_flush(cx),
            Self::Sealed(sealed) => Pin::new(&mut sealed.stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(accepted) => Pin::new(accepted).poll_shutdown(cx),
            Self::Sealed(sealed) => Pin::new(&mut sealed.stream).poll_shutdown(cx),
        }
    }
}
