//! Channels to endpoints, over TLS where their address says so.

use std::{io, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::pki_types::ServerName};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::Trust;
use crate::balance::Location;

/// How long a connection attempt may take, with its handshakes.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A channel to `location`, which connects when it is first used. Over TLS the server must prove to be whom its address
/// names, by whom `trust` believes; without `trust` no such connection succeeds.
pub fn channel(location: &Location, trust: Option<&Trust>, adjust: impl Fn(Endpoint) -> Endpoint) -> Channel {
    // The place is a number; what requests are addressed to is the name.
    let endpoint = Endpoint::from(location.uri()).origin(location.origin()).connect_timeout(TIMEOUT).tcp_nodelay(true);
    let endpoint = adjust(endpoint);
    if !location.is_secure {
        return endpoint.connect_lazy();
    }
    let (location, trust) = (location.clone(), trust.cloned());
    endpoint.connect_with_connector_lazy(service_fn(move |_| {
        let (location, trust) = (location.clone(), trust.clone());
        async move {
            let trust = trust.ok_or_else(|| io::Error::other("no trusted authorities are configured for it"))?;
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
        return Err(io::Error::other("it does not say that it speaks HTTP/2 (ALPN)"));
    }
    Ok(stream)
}
