//! The public form of a key that verifies access tokens.

use serde::{Deserialize, Serialize};

/// A public key in the form of RFC 7517: an EC key on P-256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "RFC 7517 and RFC 7518 define the names")]
pub struct Jwk {
    pub kid: String,
    pub kty: String,
    pub crv: String,
    pub alg: String,
    #[serde(rename = "use")]
    pub usage: String,
    pub x: String,
    pub y: String,
}
