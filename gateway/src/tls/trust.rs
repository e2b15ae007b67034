//! TLS towards upstreams: whom the gateway believes, and what it shows of itself.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    client::ResolvesClientCert,
    crypto::ring,
    pki_types::CertificateDer,
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{Unfit, certificates, pair};
use crate::config;

/// What makes a connection to an upstream a safe one.
#[derive(Clone)]
pub(crate) struct Trust {
    config: Arc<ClientConfig>,
    /// What it was made from, to see whether that has changed.
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
        let shown = |trust: &Self| trust.shown.as_ref().map(|pair| pair.cert.clone());
        self.authorities == other.authorities && shown(self) == shown(other)
    }
}

impl Trust {
    /// Reads the files that an upstream's configuration names.
    pub(crate) fn read(config: &config::Foreign) -> Result<Self, Unfit> {
        let authorities = match config.ca.as_str() {
            "" => Vec::new(),
            path => certificates("ca", path)?,
        };
        let shown = match (config.certificate.as_str(), config.key.as_str()) {
            ("", "") => None,
            (certificate, key) => Some(pair(certificate, key)?),
        };
        Self::new(authorities, shown).map_err(|why| Unfit { key: "ca", why })
    }

    fn new(authorities: Vec<CertificateDer<'static>>, shown: Option<Arc<CertifiedKey>>) -> Result<Self, String> {
        let roots = if authorities.is_empty() {
            system().clone()
        } else {
            let mut roots = RootCertStore::empty();
            for authority in &authorities {
                roots.add(authority.clone()).map_err(|e| e.to_string())?;
            }
            roots
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots);
        let mut config = match &shown {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let pair: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from((**pair).clone()));
                config.with_client_cert_resolver(pair)
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { config: Arc::new(config), authorities, shown })
    }

    /// What connections are made with.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }
}

/// The authorities that the system trusts, read once. What cannot be read is passed over, as everybody does: the others
/// still count, and an upstream that none vouches for is not called.
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
