//! What can be configured.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Span;

/// The section `[tls]`: between the processes of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A PEM file with this process's certificate and those that lead to its issuer. With it the ports of services speak
    /// TLS, and it is shown to peers that ask who calls. Empty: they speak in the clear.
    pub certificate: String,
    /// A PEM file with the certificate's private key.
    pub key: String,
    /// The authorities that may vouch for peers at `https://` addresses, a PEM file. Empty: the system's.
    pub ca: String,
    /// The authorities one of which must vouch for whoever calls a service, a PEM file. Empty: callers need no certificate.
    pub client_ca: String,
    /// How often the files are read again.
    pub refresh: Span,
    /// Allows links in the clear that leave the machine; each is a warning at the start. For networks that encrypt by
    /// themselves.
    pub insecure: bool,
}

impl Default for Config {
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
