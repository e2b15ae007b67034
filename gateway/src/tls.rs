//! TLS: rustls with ring, TLS 1.2 and 1.3, ALPN for both versions of HTTP. A renewed certificate applies to handshakes
//! that begin afterwards. Renewed authorities and revocations of clients apply to the next call of every connection.

mod client_trust;
mod identity;
mod listener;
mod peer_certificate;

use std::sync::Arc;

use kit::tls::pair;
pub(crate) use kit::tls::{Trust, Unfit};
use tokio_rustls::rustls::sign::CertifiedKey;

use crate::config;
pub(crate) use client_trust::ClientTrust;
pub(crate) use identity::{FORWARDED_CERTIFICATE, encoded_pem, forwarded};
pub(crate) use listener::ListenerTls;
pub(crate) use peer_certificate::{CertificateState, PeerCertificate};

/// Reads the certificate of `gateway.tls`: `None` when there is no such listener. Errors name the key.
pub(crate) fn read(config: &config::Tls) -> Result<Option<Arc<CertifiedKey>>, String> {
    if config.listen.is_empty() {
        return Ok(None);
    }
    pair(&config.certificate, &config.key).map(Some).map_err(named)
}

fn named(Unfit { key, why }: Unfit) -> String {
    format!("gateway.tls.{key}: {why}")
}
