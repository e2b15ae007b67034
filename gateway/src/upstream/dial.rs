//! Opens a connection to a server: TCP and, if its address requires it, TLS.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use kit::balance::Location;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::pki_types::ServerName};

use crate::tls::Trust;

/// The timeout of an attempt, with its handshakes.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

/// An open connection for HTTP/2.
pub(crate) enum DialedStream {
    Plain(TcpStream),
    Sealed(Box<TlsStream<TcpStream>>),
}

/// Connects to `location`. Over TLS the server's certificate must be issued for its address by an authority in `trust`.
pub(crate) async fn dial(location: &Location, trust: Option<&Trust>) -> io::Result<DialedStream> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
    timeout(TIMEOUT, open(location, trust)).await.map_err(late)?
}

async fn open(location: &Location, trust: Option<&Trust>) -> io::Result<DialedStream> {
    let stream = TcpStream::connect(location.at).await?;
    stream.set_nodelay(true)?;
    if !location.is_secure {
        return Ok(DialedStream::Plain(stream));
    }
    let trust = trust.ok_or_else(|| io::Error::other("no trusted authorities are configured for it"))?;
    let host = location.authority.host().trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let stream = TlsConnector::from(trust.config()).connect(name, stream).await?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(io::Error::other("the server does not offer HTTP/2 by ALPN"));
    }
    Ok(DialedStream::Sealed(Box::new(stream)))
}

impl DialedStream {
    /// Enables TCP keepalive: the connection breaks when the peer's host has not responded for twice `interval`. This
    /// needs no HTTP/2 frames.
    pub(super) fn probe(&self, interval: Duration) {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Sealed(stream) => stream.get_ref().0,
        };
        let socket = SockRef::from(stream);
        let probes = TcpKeepalive::new().with_time(interval).with_interval(interval / 2).with_retries(2);
        // An Err means that the connection is broken already; its next use reports that.
        socket.set_tcp_keepalive(&probes).ok();
        // Applies to data that was sent and is not acknowledged.
        socket.set_tcp_user_timeout(Some(interval * 2)).ok();
    }
}

impl AsyncRead for DialedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Sealed(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for DialedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Sealed(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Sealed(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Sealed(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Sealed(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Sealed(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
