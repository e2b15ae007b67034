//! Channels to endpoints, with TLS for `https` addresses.

use std::{io, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::pki_types::ServerName};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::Location;
use crate::tls::Trust;

/// The timeout of a connection attempt, including handshakes.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A channel to `location`, which connects at its first use. With TLS, the server's certificate must match its address
/// and be issued by an authority of `trust`. Without `trust` such a connection fails.
pub(crate) fn channel(location: &Location, trust: Option<&Trust>, adjust: impl Fn(Endpoint) -> Endpoint) -> Channel {
    // The connection goes to the IP address, requests carry the name.
    let endpoint = Endpoint::from(location.uri()).origin(location.origin()).connect_timeout(TIMEOUT).tcp_nodelay(true);
    let endpoint = adjust(endpoint);
    if !location.is_secure {
        return endpoint.connect_lazy();
    }
    let (location, trust) = (location.clone(), trust.cloned());
    endpoint.connect_with_connector_lazy(service_fn(move |_| {
        let (location, trust) = (location.clone(), trust.clone());
        async move {
            let trust =
                trust.ok_or_else(|| io::Error::other("no trusted authorities are configured for this endpoint"))?;
            connect(&location, &trust).await.map(TokioIo::new)
        }
    }))
}

async fn connect(location: &Location, trust: &Trust) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(location.at).await?;
    stream.set_nodelay(true)?;
    let host = location.authority.host().trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let stream = TlsConnector::from(trust.config()).connect(name, stream).await?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(io::Error::other("the server did not negotiate HTTP/2 (ALPN)"));
    }
    Ok(stream)
}
