//! Opens a connection to a server: TCP and, if its address requires it, TLS.

use std::{io, time::Duration};

use kit::balance::Location;
use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::pki_types::ServerName};
use tokio_util::either::Either;

use crate::tls::Trust;

/// The timeout of an attempt, with its handshakes.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

/// An open connection for HTTP/2, in cleartext or over TLS.
pub(crate) type DialedStream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Connects to `location`. Over TLS the server's certificate must be issued for its address by an authority in `trust`.
pub(crate) async fn dial(location: &Location, trust: Option<&Trust>) -> io::Result<DialedStream> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
    timeout(TIMEOUT, open(location, trust)).await.map_err(late)?
}

async fn open(location: &Location, trust: Option<&Trust>) -> io::Result<DialedStream> {
    let stream = TcpStream::connect(location.at).await?;
    stream.set_nodelay(true)?;
    if !location.is_secure {
        return Ok(Either::Left(stream));
    }
    let trust = trust.ok_or_else(|| io::Error::other("no trusted authorities are configured for it"))?;
    let host = location.authority.host().trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let stream = TlsConnector::from(trust.config()).connect(name, stream).await?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(io::Error::other("the server does not offer HTTP/2 by ALPN"));
    }
    Ok(Either::Right(Box::new(stream)))
}

/// Enables TCP keepalive: the connection breaks when the peer's host has not responded for twice `interval`. This needs
/// no HTTP/2 frames.
pub(super) fn probe(stream: &DialedStream, interval: Duration) {
    let stream = match stream {
        Either::Left(stream) => stream,
        Either::Right(stream) => stream.get_ref().0,
    };
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new().with_time(interval).with_interval(interval / 2).with_retries(2);
    // An Err means that the connection is broken already; its next use reports that.
    socket.set_tcp_keepalive(&probes).ok();
    // Applies to data that was sent and is not acknowledged.
    socket.set_tcp_user_timeout(Some(interval * 2)).ok();
}
