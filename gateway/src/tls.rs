//! TLS: rustls with ring, TLS 1.2 and 1.3, ALPN for both versions of HTTP. A renewed certificate is taken over for
//! handshakes that begin from then on.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
};

use crate::config;

/// What the listeners with TLS show: the certificate of now.
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
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Certificate {
    /// None yet: no handshake succeeds.
    pub(crate) fn none() -> Arc<Self> {
        Arc::new(Self { current: RwLock::default() })
    }

    /// Takes over another one.
    pub(crate) fn replace(&self, with: Option<Arc<CertifiedKey>>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = with;
    }

    /// Whether another one would make a difference.
    pub(crate) fn is(&self, other: Option<&Arc<CertifiedKey>>) -> bool {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(|key| &key.cert) == other.map(|key| &key.cert)
    }

    /// What accepts connections with it.
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
    let file = |key: &str, path: &str| {
        if path.is_empty() { Err(format!("gateway.tls.{key}: names no PEM file")) } else { Ok(PathBuf::from(path)) }
    };
    let (certificate, key) = (file("certificate", &config.certificate)?, file("key", &config.key)?);
    let bad =
        |name: &str, path: &Path, why: &dyn fmt::Display| format!("gateway.tls.{name}: {}: {why}", path.display());
    let chain = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| bad("certificate", &certificate, &e))?;
    if chain.is_empty() {
        return Err(bad("certificate", &certificate, &"holds no certificate"));
    }
    let private = PrivateKeyDer::from_pem_file(&key).map_err(|e| bad("key", &key, &e))?;
    // Refuses a key that does not belong to the certificate.
    let pair = CertifiedKey::from_der(chain, private, &ring::default_provider()).map_err(|e| bad("key", &key, &e))?;
    Ok(Some(Arc::new(pair)))
}
