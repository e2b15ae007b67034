//! The sections of tokens from other issuers: `[gateway.token_issuers]` and `[gateway.required_scopes]`.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use http::Uri;
use kit::{config::Span, jwt::IssuerAlgorithm};
use serde::{Deserialize, Serialize};

/// An issuer of access tokens outside the mesh: `[gateway.token_issuers.acme]`. Its tokens are accepted only for external
/// upstreams that list it in `token_issuers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table with issuer, audiences and algorithms")]
pub struct TokenIssuerConfig {
    /// The `iss` of its tokens: an `https://` address. `http://` only on the loopback.
    pub issuer: String,
    /// The `aud` of its tokens: one of these.
    pub audiences: Vec<String>,
    /// The algorithms of its signatures: `RS256`, `PS256`, `ES256` or `EdDSA`.
    pub algorithms: Vec<IssuerAlgorithm>,
    /// The address of its public keys. Empty: `/.well-known/openid-configuration` of the issuer states it.
    pub jwks_uri: String,
    /// By how much its clock may differ.
    pub clock_skew: Span,
    /// How often the keys are read again.
    pub refresh: Span,
    /// How long the last keys stay in force while they cannot be read: at least twice `refresh`.
    pub keys_max_age: Span,
    /// The claim by which rate limits count a caller. Empty, or without it: by the subject.
    pub limit_claim: String,
    /// The claims that an upstream receives, by the name of the header. Copies of clients are removed.
    pub claim_headers: BTreeMap<String, String>,
}

impl Default for TokenIssuerConfig {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audiences: Vec::new(),
            algorithms: Vec::new(),
            jwks_uri: String::new(),
            clock_skew: Span(Duration::from_secs(30)),
            refresh: Span(Duration::from_secs(300)),
            keys_max_age: Span(Duration::from_secs(86_400)),
            limit_claim: String::new(),
            claim_headers: BTreeMap::new(),
        }
    }
}

/// The largest tolerance for a clock.
const MOST_SKEW: Duration = Duration::from_secs(300);
/// The range of the time between two reads of the keys.
const REFRESH: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(86_400)];
/// The longest time that keys stay in force.
const MOST_AGE: Duration = Duration::from_secs(30 * 86_400);

impl TokenIssuerConfig {
    /// Checks all but the names of headers. The error names the key.
    pub(crate) fn check(&self) -> Result<(), String> {
        fetchable(&self.issuer).map_err(|why| format!("issuer: {why}"))?;
        if !self.jwks_uri.is_empty() {
            fetchable(&self.jwks_uri).map_err(|why| format!("jwks_uri: {why}"))?;
        }
        if self.issuer.contains(['?', '#']) {
            return Err(format!("issuer: {:?} has a query or fragment", self.issuer));
        }
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            return Err(
                "audiences: name the audience of the tokens: those for other services must not count".to_owned()
            );
        }
        if self.algorithms.is_empty() {
            return Err("algorithms: name at least one of RS256, PS256, ES256 and EdDSA".to_owned());
        }
        let within = |key: &str, span: Span, least: Duration, most: Duration| match span.0 {
            time if (least..=most).contains(&time) => Ok(()),
            _ => Err(format!("{key}: {span} is not between {} and {}", Span(least), Span(most))),
        };
        within("clock_skew", self.clock_skew, Duration::ZERO, MOST_SKEW)?;
        within("refresh", self.refresh, REFRESH[0], REFRESH[1])?;
        // One read may fail, and the next one comes only after the time between two reads.
        if self.keys_max_age.0 < self.refresh.0 * 2 {
            let (age, refresh) = (self.keys_max_age, self.refresh);
            return Err(format!(
                "keys_max_age: {age} is less than twice `refresh`, {refresh}: raise it, or lower `refresh`"
            ));
        }
        within("keys_max_age", self.keys_max_age, Duration::ZERO, MOST_AGE)
    }
}

/// Whether keys may be read from an address: over TLS, or from this machine.
pub(crate) fn fetchable(address: &str) -> Result<Uri, String> {
    let uri: Uri = address.parse().map_err(|_| format!("{address:?} is not an address"))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_own = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    match uri.scheme_str() {
        Some("https") if !host.is_empty() && !has_user => Ok(uri),
        Some("http") if is_own && !has_user => Ok(uri),
        _ => Err(format!("{address:?} is not an https:// address; http:// is allowed for the loopback only")),
    }
}

/// Methods whose callers need a token with scopes: `[gateway.required_scopes.export]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table with methods and scopes")]
pub struct RequiredScopesConfig {
    /// Methods (`acme.shop.v1.Cart/Export`), or prefixes that end at a dot or slash (`acme.shop`).
    pub methods: Vec<String>,
    /// The scopes that a token must have, all of them.
    pub scopes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TokenIssuerConfig {
        TokenIssuerConfig {
            issuer: "https://login.acme.test".to_owned(),
            audiences: vec!["api".to_owned()],
            algorithms: vec![IssuerAlgorithm::Es256],
            ..TokenIssuerConfig::default()
        }
    }

    #[test]
    fn incomplete_issuer_is_refused() {
        assert_eq!(config().check(), Ok(()));
        for (expected, wrong) in [
            ("issuer:", TokenIssuerConfig { issuer: "http://login.acme.test".to_owned(), ..config() }),
            ("issuer:", TokenIssuerConfig { issuer: "https://a@b.test".to_owned(), ..config() }),
            ("issuer:", TokenIssuerConfig { issuer: "https://b.test/?a".to_owned(), ..config() }),
            ("jwks_uri:", TokenIssuerConfig { jwks_uri: "file:///etc/passwd".to_owned(), ..config() }),
            ("audiences:", TokenIssuerConfig { audiences: Vec::new(), ..config() }),
            ("algorithms:", TokenIssuerConfig { algorithms: Vec::new(), ..config() }),
            ("clock_skew:", TokenIssuerConfig { clock_skew: Span(Duration::from_secs(301)), ..config() }),
            ("refresh:", TokenIssuerConfig { refresh: Span(Duration::ZERO), ..config() }),
            ("keys_max_age:", TokenIssuerConfig { keys_max_age: Span(Duration::from_secs(599)), ..config() }),
            ("keys_max_age: 5m is less than twice `refresh`, 5m", {
                TokenIssuerConfig { keys_max_age: Span(Duration::from_secs(300)), ..config() }
            }),
            (
                "keys_max_age: 31d is not",
                TokenIssuerConfig { keys_max_age: Span(Duration::from_secs(31 * 86_400)), ..config() },
            ),
        ] {
            let error = wrong.check().unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        for own in ["http://localhost:1/a", "http://127.0.0.1", "http://[::1]:8080/keys"] {
            assert!(fetchable(own).is_ok(), "{own}");
        }
        assert!(toml_algorithm("none").is_err() && toml_algorithm("HS256").is_err() && toml_algorithm("EdDSA").is_ok());
    }

    fn toml_algorithm(name: &str) -> Result<IssuerAlgorithm, serde_json::Error> {
        serde_json::from_value(name.into())
    }
}
