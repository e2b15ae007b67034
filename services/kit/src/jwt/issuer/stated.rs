//! What a token states, before it is verified.

use jsonwebtoken::{Algorithm, dangerous::insecure_decode};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The `iss` of a token that is not verified, to select the rules that verify it.
pub fn stated_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Stated {
        iss: String,
    }
    jsonwebtoken::dangerous::insecure_decode_claims::<Stated>(token).ok().map(|stated| stated.iss)
}

/// What a token states about itself, to explain to its owner why it is refused. Nothing of it is verified.
#[derive(Debug)]
pub struct StatedToken {
    /// `alg`.
    pub algorithm: Algorithm,
    /// `kid`.
    pub key_id: Option<String>,
    /// `typ`.
    pub kind: Option<String>,
    /// All claims.
    pub claims: Map<String, Value>,
}

impl StatedToken {
    /// Reads a token. The error continues "the token".
    pub fn read(token: &str) -> Result<Self, String> {
        let decoded = insecure_decode(token).map_err(|error| format!("is no signed JSON Web Token: {error}"))?;
        let header = decoded.header;
        Ok(Self { algorithm: header.alg, key_id: header.kid, kind: header.typ, claims: decoded.claims })
    }
}
