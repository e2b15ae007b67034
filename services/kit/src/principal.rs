//! The principal of a call: the party that makes it, as a credential proves.
//!
//! The enum is closed. A new kind of principal (an API key, a service account) adds a variant, and the compiler then
//! shows each decision that the kind needs: access rules, rate limits, the access log, caller tokens. A caller without
//! a credential is anonymous and has no principal.

use std::{fmt, sync::Arc};

use http::{HeaderName, HeaderValue};
use uuid::Uuid;

use crate::Timestamp;

/// The principal of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A user, by an access token of one of their sessions. Shared, because each call takes it from the cache of
    /// verified tokens.
    User(Arc<UserSession>),
    /// A service of the mesh that calls on its own behalf, by a service token.
    Service(MeshService),
    /// A user of another issuer, by its access token. The gateway knows them for external upstreams only: no service of
    /// the mesh sees them, and their names are no names of users.
    External(Arc<ExternalUser>),
}

/// A user's session, from a verified access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSession {
    /// The user: the token's subject.
    pub user: Uuid,
    /// The session that the token belongs to.
    pub id: Uuid,
    /// Roles of the account beyond an ordinary user.
    pub roles: Vec<String>,
    /// The scopes of the token.
    pub scopes: Vec<String>,
    /// When the user proved who they are. A refresh of the token does not change it.
    pub authenticated: Timestamp,
    /// How they proved it (RFC 8176).
    pub methods: Vec<String>,
    /// When the token expires. A stream ends then too.
    pub expires: Timestamp,
}

/// A user of another issuer, from a verified token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalUser {
    /// The name of the issuer in the configuration.
    pub issuer: Arc<str>,
    /// The token's subject. It is unique only with the issuer.
    pub subject: String,
    /// The scopes of the token.
    pub scopes: Vec<String>,
    /// By what limits count the caller. It contains the issuer.
    pub limit_key: String,
    /// The claims that upstreams receive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// When the token expires, with the tolerance for the issuer's clock.
    pub expires: Timestamp,
}

/// A service of the mesh, from a verified service token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshService(Arc<str>);

impl MeshService {
    /// The service with this name, which is also the id of its key.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MeshService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The verified client certificate of a connection to the gateway.
///
/// It is an attribute of a call, and no kind of principal: it proves which program or device has connected, while an
/// access token in the same call proves on whose behalf. So it satisfies no access rule for users, and no rate limit
/// counts by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject in the form of RFC 4514, in ASCII and without quotation marks.
    pub subject: String,
    /// The URIs of the subject alternative name.
    pub uris: Vec<String>,
    /// The DNS names of the subject alternative name.
    pub dns_names: Vec<String>,
    /// The SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
    /// When it expires.
    pub expires: Timestamp,
    /// The certificate (DER).
    pub der: Vec<u8>,
}

impl ClientCertificate {
    /// The most specific name: the first URI, else the first DNS name, else the subject.
    pub fn name(&self) -> &str {
        self.uris.first().or(self.dns_names.first()).unwrap_or(&self.subject)
    }
}

impl Principal {
    /// The kind, as the access log names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Service(_) => "service",
            Self::External(_) => "external",
        }
    }

    /// The roles. A service has none: the contract lists by name which services may call a method. Nor has a user of
    /// another issuer: its roles are not those of Trellis.
    pub fn roles(&self) -> &[String] {
        match self {
            Self::User(session) => &session.roles,
            Self::Service(_) | Self::External(_) => &[],
        }
    }

    /// The scopes.
    pub fn scopes(&self) -> &[String] {
        match self {
            Self::User(session) => &session.scopes,
            Self::Service(_) => &[],
            Self::External(user) => &user.scopes,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A session of an ordinary user.
    pub(crate) fn session() -> Arc<UserSession> {
        Arc::new(UserSession {
            user: Uuid::from_u128(1),
            id: Uuid::from_u128(2),
            roles: Vec::new(),
            scopes: Vec::new(),
            authenticated: Timestamp::from_micros(0),
            methods: vec!["pwd".to_owned()],
            expires: Timestamp::from_micros(1_000_000),
        })
    }
}
