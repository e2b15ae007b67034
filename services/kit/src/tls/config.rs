//! The configuration of TLS.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Span;

/// The section `[tls]`: TLS between the processes of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// A PEM file with this process's certificate and its chain to the issuer. With it, the ports of services use TLS,
    /// and the process presents it to peers that require a client certificate. Empty: services do not use TLS.
    pub certificate: String,
    /// A PEM file with the certificate's private key.
    pub key: String,
    /// A PEM file with the authorities that may issue the certificates of peers at `https://` addresses. Empty: the
    /// system's.
    pub ca: String,
    /// A PEM file with the authorities that may issue client certificates for calls to a service. Empty: clients need
    /// no certificate.
    pub client_ca: String,
    /// How often the files are read again.
    pub refresh: Span,
    /// Allows unencrypted connections that leave the machine; each causes a warning at startup. For networks that
    /// encrypt by themselves.
    pub insecure: bool,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            certificate: String::new(),
            key: String::new(),
            ca: String::new(),
            client_ca: String::new(),
            refresh: Span(Duration::from_secs(30)),
            insecure: false,
        }
    }
}
