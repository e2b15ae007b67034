//! The authorities and revocations that verify the certificates of clients.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kit::{
    Timestamp,
    tls::{Unfit, certificates},
};
use tokio_rustls::rustls::{
    CertificateError, Error, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime, pem::PemObject as _},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::named;
use crate::config::{self, ClientCertificates};

/// See the module.
pub(crate) struct ClientTrust {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    mode: ClientCertificates,
    authorities: Vec<CertificateDer<'static>>,
    revocations: Vec<CertificateRevocationListDer<'static>>,
    /// Whether the log states that a list has expired.
    has_warned: AtomicBool,
}

impl PartialEq for ClientTrust {
    fn eq(&self, other: &Self) -> bool {
        (self.mode, &self.authorities, &self.revocations) == (other.mode, &other.authorities, &other.revocations)
    }
}

impl ClientTrust {
    /// Reads `gateway.tls.client_ca` and `client_crl`: `None` when clients present no certificate. Errors name the key.
    pub(crate) fn read(config: &config::Tls) -> Result<Option<Self>, String> {
        if config.listen.is_empty() || config.client_certificates == ClientCertificates::Off {
            return Ok(None);
        }
        let authorities = certificates("client_ca", &config.client_ca).map_err(named)?;
        let revocations =
            if config.client_crl.is_empty() { Vec::new() } else { revocations(&config.client_crl).map_err(named)? };
        Self::new(config.client_certificates, authorities, revocations).map(Some).map_err(named)
    }

    pub(super) fn new(
        mode: ClientCertificates,
        authorities: Vec<CertificateDer<'static>>,
        revocations: Vec<CertificateRevocationListDer<'static>>,
    ) -> Result<Self, Unfit> {
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots.add(authority.clone()).map_err(|e| Unfit { key: "client_ca", why: e.to_string() })?;
        }
        // The lists are enforced in full: each certificate of the chain, and no list that has expired.
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
            .with_crls(revocations.iter().cloned())
            .enforce_revocation_expiration();
        let builder = match mode {
            ClientCertificates::Optional => builder.allow_unauthenticated(),
            ClientCertificates::Off | ClientCertificates::Required => builder,
        };
        let verifier = builder.build().map_err(|e| Unfit { key: "client_crl", why: e.to_string() })?;
        Ok(Self { verifier, mode, authorities, revocations, has_warned: AtomicBool::new(false) })
    }

    /// Whether clients without a certificate are refused.
    pub(super) fn is_required(&self) -> bool {
        self.mode == ClientCertificates::Required
    }

    /// Whether the chain is valid at this time. The handshake has verified that the client has the key.
    pub(super) fn verifies(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> bool {
        let seconds = u64::try_from(now.as_secs()).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let Some((first, rest)) = chain.split_first() else { return false };
        self.verifier.verify_client_cert(first, rest, now).inspect_err(|error| self.note(error)).is_ok()
    }

    /// Logs once that a revocation list has expired: all clients of its authority are refused until it is renewed.
    pub(crate) fn note(&self, error: &Error) {
        use CertificateError::{ExpiredRevocationList, ExpiredRevocationListContext};
        let Error::InvalidCertificate(ExpiredRevocationList | ExpiredRevocationListContext { .. }) = error else {
            return;
        };
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a certificate revocation list has expired, so that clients are refused: renew gateway.tls.client_crl"
            );
        }
    }
}

fn revocations(path: &str) -> Result<Vec<CertificateRevocationListDer<'static>>, Unfit> {
    let unfit = |why: String| Unfit { key: "client_crl", why: format!("{path}: {why}") };
    let read =
        CertificateRevocationListDer::pem_file_iter(Path::new(path)).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|e| unfit(e.to_string()))?;
    if found.is_empty() { Err(unfit("contains no certificate revocation list".to_owned())) } else { Ok(found) }
}
