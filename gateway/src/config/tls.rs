//! The section `[gateway.tls]`.

use std::time::Duration;

use kit::config::Span;
use serde::{Deserialize, Serialize};

/// The listener with TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The addresses that accept callers over TLS; each `host:port`. Empty: none.
    pub listen: Vec<String>,
    /// A PEM file with the certificate and its chain. Read again when it has changed.
    pub certificate: String,
    /// A PEM file with the certificate's private key.
    pub key: String,
    /// How long a browser that has connected over TLS uses only TLS (`strict-transport-security`). `0s`: no header.
    pub hsts: Span,
    /// Whether clients present a certificate: `off`, `optional` or `required`.
    pub client_certificates: ClientCertificates,
    /// A PEM file with the authorities that issue the certificates of clients. Read again when it has changed.
    pub client_ca: String,
    /// A PEM file with a certificate revocation list of each authority. Empty: no certificate is revoked. Read again
    /// when it has changed.
    pub client_crl: String,
    /// Methods (`acme.bank.v1.Ledger/Pay`), or prefixes that end at a dot or slash (`acme.bank`), that need a verified
    /// client certificate.
    pub client_certificate_methods: Vec<String>,
}

/// Whether clients present a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificates {
    /// The gateway requests none.
    #[default]
    Off,
    /// Clients may connect without one. One that is presented must be valid.
    Optional,
    /// Clients without a valid one cannot connect.
    Required,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            certificate: String::new(),
            key: String::new(),
            hsts: Span(Duration::from_secs(365 * 24 * 60 * 60)),
            client_certificates: ClientCertificates::default(),
            client_ca: String::new(),
            client_crl: String::new(),
            client_certificate_methods: Vec::new(),
        }
    }
}

impl Tls {
    /// What the certificate of the listener is read from.
    pub(crate) fn certificate_source(&self) -> (bool, &str, &str) {
        (self.listen.is_empty(), &self.certificate, &self.key)
    }

    /// What the trust in client certificates is read from.
    pub(crate) fn client_source(&self) -> (bool, ClientCertificates, &str, &str) {
        (self.listen.is_empty(), self.client_certificates, &self.client_ca, &self.client_crl)
    }
}
