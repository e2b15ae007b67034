//! The TLS of the listeners: the certificate in force, and the trust in certificates of clients.

use std::{fmt, sync::Arc};

use parking_lot::RwLock;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
        sign::CertifiedKey,
    },
};

use super::ClientTrust;

/// See the module.
pub(crate) struct ListenerTls {
    certificate: Arc<Certificate>,
    current: RwLock<Arc<Handshakes>>,
}

/// What a handshake needs.
pub(crate) struct Handshakes {
    pub(crate) acceptor: TlsAcceptor,
    /// `None`: clients present no certificate.
    pub(crate) trust: Option<Arc<ClientTrust>>,
}

impl ListenerTls {
    /// No certificate yet: every handshake fails.
    pub(crate) fn none() -> Result<Arc<Self>, String> {
        let certificate = Arc::<Certificate>::default();
        let current = RwLock::new(Arc::new(handshakes(&certificate, None)?));
        Ok(Arc::new(Self { certificate, current }))
    }

    /// Replaces the certificate, and the trust in certificates of clients.
    pub(crate) fn replace(
        &self,
        certified: Option<Arc<CertifiedKey>>,
        trust: Option<&Arc<ClientTrust>>,
    ) -> Result<(), String> {
        *self.certificate.0.write() = certified;
        // With the same trust the sessions of clients stay resumable.
        if self.current().trust.as_ref().map(Arc::as_ptr) != trust.map(Arc::as_ptr) {
            *self.current.write() = Arc::new(handshakes(&self.certificate, trust)?);
        }
        Ok(())
    }

    /// For handshakes that begin now.
    pub(crate) fn current(&self) -> Arc<Handshakes> {
        Arc::clone(&self.current.read())
    }
}

fn handshakes(certificate: &Arc<Certificate>, trust: Option<&Arc<ClientTrust>>) -> Result<Handshakes, String> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let builder = match trust {
        None => builder.with_no_client_auth(),
        Some(trust) => builder.with_client_cert_verifier(Arc::clone(&trust.verifier)),
    };
    let mut config = builder.with_cert_resolver(Arc::clone(certificate) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if trust.is_some() {
        // A resumed session would bring its certificate along without a verification.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Handshakes { acceptor: TlsAcceptor::from(Arc::new(config)), trust: trust.cloned() })
}

/// The current certificate.
#[derive(Default)]
struct Certificate(RwLock<Option<Arc<CertifiedKey>>>);

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate")
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().clone()
    }
}
