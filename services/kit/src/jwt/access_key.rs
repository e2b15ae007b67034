//! The private key that signs access tokens.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use jsonwebtoken::{Algorithm, EncodingKey, errors::Result};
use ring::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};

use super::{ACCESS_TYPE, AccessClaims};
use crate::jwk::Jwk;

/// An ES256 key pair.
pub struct AccessKey {
    key: EncodingKey,
    jwk: Jwk,
}

impl AccessKey {
    /// A new key, as PKCS#8.
    pub fn generate() -> Vec<u8> {
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .expect("the system gives randomness")
            .as_ref()
            .to_vec()
    }

    /// Parses PKCS#8; `None` if it is not a P-256 key.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &SystemRandom::new()).ok()?;
        // An uncompressed point: 0x04, then both coordinates of 32 bytes.
        let (x, y) = pair.public_key().as_ref().get(1..65)?.split_at(32);
        let (x, y) = (BASE64URL.encode(x), BASE64URL.encode(y));
        Some(Self { key: EncodingKey::from_ec_der(pkcs8), jwk: jwk(x, y) })
    }

    /// The public key.
    pub fn jwk(&self) -> &Jwk {
        &self.jwk
    }

    /// Signs an access token.
    pub fn sign(&self, claims: &AccessClaims) -> Result<String> {
        super::sign(Algorithm::ES256, ACCESS_TYPE, &self.jwk.kid, claims, &self.key)
    }
}

/// The JWK of a public key. Its id is the thumbprint (RFC 7638): the required members in the order of their names.
fn jwk(x: String, y: String) -> Jwk {
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    let owned = str::to_owned;
    Jwk {
        kid: BASE64URL.encode(digest(&SHA256, canonical.as_bytes())),
        kty: owned("EC"),
        crv: owned("P-256"),
        alg: owned("ES256"),
        usage: owned("sig"),
        x,
        y,
    }
}
