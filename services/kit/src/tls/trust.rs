//! TLS to upstreams: the trusted authorities and the own client certificate.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use parking_lot::RwLock;
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    client::ResolvesClientCert,
    crypto::ring,
    pki_types::CertificateDer,
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::files::{Unfit, certificates, pair};

/// The TLS configuration of connections to upstreams. Clones share it.
#[derive(Clone)]
pub struct Trust(Arc<RwLock<Arc<Content>>>);

struct Content {
    config: Arc<ClientConfig>,
    /// The inputs, to detect changes.
    authorities: Vec<CertificateDer<'static>>,
    shown: Option<Arc<CertifiedKey>>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        if Arc::ptr_eq(&self.0, &other.0) {
            return true;
        }
        let (mine, others) = (self.content(), other.content());
        let shown = |content: &Content| content.shown.as_ref().map(|pair| pair.cert.clone());
        mine.authorities == others.authorities && shown(&mine) == shown(&others)
    }
}

impl Trust {
    /// Reads the files: the authorities (`ca`; empty: the system's), and a client certificate with its key (both empty:
    /// none).
    pub fn read(ca: &str, certificate: &str, key: &str) -> Result<Self, Unfit> {
        let authorities = if ca.is_empty() { Vec::new() } else { certificates("ca", ca)? };
        let shown = match (certificate, key) {
            ("", "") => None,
            (certificate, key) => Some(pair(certificate, key)?),
        };
        Self::new(authorities, shown).map_err(|why| Unfit { key: "ca", why })
    }

    fn new(authorities: Vec<CertificateDer<'static>>, shown: Option<Arc<CertifiedKey>>) -> Result<Self, String> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots(&authorities)?);
        let mut config = match &shown {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let pair: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from((**pair).clone()));
                config.with_client_cert_resolver(pair)
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let content = Content { config: Arc::new(config), authorities, shown };
        Ok(Self(Arc::new(RwLock::new(Arc::new(content)))))
    }

    /// The TLS configuration for new connections.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.content().config)
    }

    /// Takes over the content of `other` for connections that begin from now on.
    pub(super) fn replace_with(&self, other: &Self) {
        let content = other.content();
        *self.0.write() = content;
    }

    fn content(&self) -> Arc<Content> {
        Arc::clone(&self.0.read())
    }
}

/// A store of `authorities`, or of the system's authorities if there are none.
pub(super) fn roots(authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, String> {
    if authorities.is_empty() {
        return Ok(system().clone());
    }
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(|e| e.to_string())?;
    }
    Ok(roots)
}

/// The authorities that the system trusts, read once. Unreadable certificates are skipped. The others stay trusted, and
/// an upstream with a certificate of no trusted authority is not called.
fn system() -> &'static RootCertStore {
    static SYSTEM: OnceLock<RootCertStore> = OnceLock::new();
    SYSTEM.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "some of the system's certificates cannot be read");
        }
        roots.add_parsable_certificates(found.certs);
        roots
    })
}
