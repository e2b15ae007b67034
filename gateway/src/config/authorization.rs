//! The section `[gateway.authorization]`.

use std::time::Duration;

use kit::{
    balance::{self, Addresses},
    config::Span,
};
use serde::{Deserialize, Serialize};

/// A service that decides about calls, by the API `envoy.service.auth.v3.Authorization`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthorizationConfig {
    /// Its addresses: `http://host:port` or, over TLS, `https://host:port`; one or several. Empty: no external
    /// authorization.
    pub to: Addresses,
    /// Over TLS: the authorities that may issue its certificate, a PEM file. Empty: the system's.
    pub ca: String,
    /// Over TLS: the client certificate of the gateway, a PEM file. Empty: none.
    pub certificate: String,
    /// The private key of `certificate`, a PEM file.
    pub key: String,
    /// The methods (`acme.shop.v1.Cart/Add`) or prefixes (`acme.shop`) that it decides about. Empty: all but the
    /// gateway's own health checks and reflection.
    pub methods: Vec<String>,
    /// Methods or prefixes of `methods` that it does not decide about.
    pub except: Vec<String>,
    /// How long a decision may take.
    pub timeout: Span,
    /// Whether calls continue without a decision, when the service fails or is too slow.
    pub fail_open: bool,
    /// The headers of a request that the service receives, if the request has them.
    pub sends: Vec<String>,
    /// The headers of a request that only the service sets: copies of clients are removed, for all methods.
    pub sets: Vec<String>,
}

impl Default for AuthorizationConfig {
    fn default() -> Self {
        Self {
            to: Addresses::default(),
            ca: String::new(),
            certificate: String::new(),
            key: String::new(),
            methods: Vec::new(),
            except: Vec::new(),
            timeout: Span(Duration::from_millis(200)),
            fail_open: false,
            sends: vec!["authorization".to_owned(), "user-agent".to_owned(), "x-request-id".to_owned()],
            sets: Vec::new(),
        }
    }
}

impl AuthorizationConfig {
    /// Whether there is external authorization.
    pub fn is_enabled(&self) -> bool {
        !self.to.is_empty()
    }

    /// Whether at least one of its addresses is called over TLS.
    pub(crate) fn is_over_tls(&self) -> bool {
        let names_files = [&self.ca, &self.certificate, &self.key].iter().any(|path| !path.is_empty());
        self.is_enabled() && (names_files || balance::in_the_clear(&self.to).is_err())
    }
}
