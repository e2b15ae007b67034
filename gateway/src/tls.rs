//! TLS: rustls with ring, TLS 1.2 and 1.3, ALPN for both versions of HTTP. A renewed certificate applies to handshakes
//! that begin afterwards.

use std::{fmt, sync::Arc};

use kit::tls::pair;
pub(crate) use kit::tls::{Trust, Unfit};
use parking_lot::RwLock;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
};

use crate::config;

/// The current certificate of the listeners with TLS.
pub(crate) struct Certificate {
    current: RwLock<Option<Arc<CertifiedKey>>>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate")
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.read().clone()
    }
}

impl Certificate {
    /// No certificate yet: every handshake fails.
    pub(crate) fn none() -> Arc<Self> {
        Arc::new(Self { current: RwLock::default() })
    }

    /// Replaces the certificate.
    pub(crate) fn replace(&self, with: Option<Arc<CertifiedKey>>) {
        *self.current.write() = with;
    }

    /// An acceptor that uses the current certificate.
    pub(crate) fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, String> {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let mut config =
            config.with_no_client_auth().with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Reads `gateway.tls`: `None` when there is no such listener. Errors name the key.
pub(crate) fn read(config: &config::Tls) -> Result<Option<Arc<CertifiedKey>>, String> {
    if config.listen.is_empty() {
        return Ok(None);
    }
    pair(&config.certificate, &config.key).map(Some).map_err(|Unfit { key, why }| format!("gateway.tls.{key}: {why}"))
}
