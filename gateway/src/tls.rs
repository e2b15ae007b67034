//! TLS: rustls with ring, TLS 1.2 and 1.3, ALPN for both versions of HTTP. A renewed certificate is taken over for
//! handshakes that begin from then on.

mod trust;

use std::{
    fmt,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use kit::secret_file;
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
pub(crate) use trust::Trust;

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
    pair(&config.certificate, &config.key).map(Some).map_err(|Unfit { key, why }| format!("gateway.tls.{key}: {why}"))
}

/// A file that cannot be used.
#[derive(Debug)]
pub(crate) struct Unfit {
    /// The last part of the configuration's key that names it.
    pub(crate) key: &'static str,
    pub(crate) why: String,
}

/// Reads a certificate's chain and its private key, both PEM.
fn pair(certificate: &str, key: &str) -> Result<Arc<CertifiedKey>, Unfit> {
    let chain = certificates("certificate", certificate)?;
    let path = named("key", key)?;
    let bad = |why: &dyn fmt::Display| Unfit { key: "key", why: format!("{}: {why}", path.display()) };
    secret_file::check(path).map_err(|e| bad(&e))?;
    let private = PrivateKeyDer::from_pem_file(path).map_err(|e| bad(&e))?;
    // Refuses a key that does not belong to the certificate.
    CertifiedKey::from_der(chain, private, &ring::default_provider()).map(Arc::new).map_err(|e| bad(&e))
}

/// Reads the certificates of a PEM file, of which there is at least one.
fn certificates(key: &'static str, path: &str) -> Result<Vec<CertificateDer<'static>>, Unfit> {
    let path = named(key, path)?;
    let bad = |why: &dyn fmt::Display| Unfit { key, why: format!("{}: {why}", path.display()) };
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|e| bad(&e))?;
    if found.is_empty() { Err(bad(&"holds no certificate")) } else { Ok(found) }
}

fn named<'a>(key: &'static str, path: &'a str) -> Result<&'a Path, Unfit> {
    if path.is_empty() { Err(Unfit { key, why: "names no PEM file".to_owned() }) } else { Ok(Path::new(path)) }
}
