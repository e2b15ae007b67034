//! Reads the keys of an issuer over HTTP: no redirects, one response of bounded size within a bounded time.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    Request, StatusCode, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, HOST},
};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kit::error::chain;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use crate::{
    config::{TokenIssuerConfig, fetchable},
    tls::Trust,
};

/// The largest response, in bytes.
const MOST_BYTES: usize = 256 * 1_024;
/// How long all requests for the keys may take together.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The parts of the metadata that the gateway reads (OpenID Connect Discovery, section 3).
#[derive(Deserialize)]
struct IssuerMetadata {
    issuer: String,
    jwks_uri: String,
}

/// A JWK set, and where it was read.
#[derive(Debug)]
pub(super) struct KeySetDocument {
    pub(super) address: String,
    pub(super) set: Bytes,
}

/// Reads the JWK set of an issuer. The error names the address.
pub(super) async fn key_set(config: &TokenIssuerConfig) -> Result<KeySetDocument, String> {
    let end = Instant::now() + TIMEOUT;
    let address = match &config.jwks_uri[..] {
        "" => discover(config, end).await?,
        address => address.to_owned(),
    };
    let set = get(&address, end).await?;
    Ok(KeySetDocument { address, set })
}

/// The address of the keys that the metadata of an issuer state.
async fn discover(config: &TokenIssuerConfig, end: Instant) -> Result<String, String> {
    let address = format!("{}/.well-known/openid-configuration", config.issuer.trim_end_matches('/'));
    let metadata: IssuerMetadata =
        serde_json::from_slice(&get(&address, end).await?).map_err(|e| format!("{address} is no metadata: {e}"))?;
    // Otherwise another issuer could have its keys accepted as those of this one.
    if metadata.issuer != config.issuer {
        return Err(format!("{address} is the metadata of {:?}", metadata.issuer));
    }
    check_scheme(&config.issuer, &metadata.jwks_uri).map_err(|why| format!("{address}: {why}"))?;
    Ok(metadata.jwks_uri)
}

/// An issuer over TLS states an address over TLS. Schemes have no case.
pub(super) fn check_scheme(issuer: &str, jwks_uri: &str) -> Result<(), String> {
    let is_secure = |address| fetchable(address).map(|uri| uri.scheme_str() == Some("https"));
    if is_secure(issuer)? && !is_secure(jwks_uri)? {
        return Err(format!("jwks_uri {jwks_uri:?} is not an https:// address"));
    }
    Ok(())
}

async fn get(address: &str, end: Instant) -> Result<Bytes, String> {
    let response = timeout_at(end, request(address)).await;
    response
        .unwrap_or_else(|_| Err(format!("no response within {TIMEOUT:?}")))
        .map_err(|why| format!("{address}: {why}"))
}

async fn request(address: &str) -> Result<Bytes, String> {
    let uri = fetchable(address)?;
    let text = |error: &(dyn std::error::Error + 'static)| chain(error);
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let is_secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|e| text(&e))?;
    if !is_secure {
        return exchange(stream, &uri).await;
    }
    let name = ServerName::try_from(host).map_err(|_| "the host is not valid".to_owned())?;
    let stream = TlsConnector::from(tls()?).connect(name, stream).await.map_err(|e| text(&e))?;
    exchange(stream, &uri).await
}

/// The authorities of the system, and HTTP/1.1.
fn tls() -> Result<Arc<ClientConfig>, String> {
    let trust = Trust::read("", "", "").map_err(|unfit| unfit.why)?;
    let mut config = ClientConfig::clone(&trust.config());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

async fn exchange<S>(stream: S, uri: &Uri) -> Result<Bytes, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let text = |error: &(dyn std::error::Error + 'static)| chain(error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| text(&e))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(path)
        .header(HOST, authority)
        .header(ACCEPT, "application/json")
        .header(ACCEPT_ENCODING, "identity")
        .body(Empty::<Bytes>::new())
        .map_err(|e| text(&e))?;
    // It ends with the sender and the response, which this future holds.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|e| text(&e))?;
    if response.status() != StatusCode::OK {
        return Err(format!("the response has the status {}", response.status()));
    }
    let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|e| format!("{e} (at most {MOST_BYTES} bytes)"))
}
