//! JSON Web Tokens. `jsonwebtoken` parses them and checks their claims. ring, which TLS needs anyway, does the
//! cryptography. Each kind of token has its own algorithm: ES256 for access tokens (RFC 9068), EdDSA for service
//! tokens. A token of one kind is never accepted as the other.

mod access_key;
mod issuer;
mod times;

use std::sync::Once;

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind, EncodingKey, Header, Validation,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{ErrorKind, Result},
};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
        RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaParameters, RsaPublicKeyComponents,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use signature::{Signer, Verifier};
use uuid::Uuid;

pub use access_key::AccessKey;
pub use issuer::{IssuerAlgorithm, IssuerClaims, IssuerKeys, IssuerRefusal, IssuerRules, StatedToken, stated_issuer};
pub use times::CLOCK_SKEW;
pub(crate) use times::{Timed, Times, Untimely, Window};

/// The `iss` of access tokens.
pub const ISSUER: &str = "trellis-auth";
/// The `aud` of access tokens: all services of the mesh.
pub const AUDIENCE: &str = "trellis";
/// The `typ` of access tokens (RFC 9068, section 2.1).
pub const ACCESS_TYPE: &str = "at+jwt";
/// The `typ` of service tokens.
pub const SERVICE_TYPE: &str = "trellis-service+jwt";

/// The claims of an access token.
#[derive(Debug, Serialize, Deserialize)]
pub struct AccessClaims {
    /// [`ISSUER`].
    pub iss: String,
    /// [`AUDIENCE`].
    pub aud: String,
    /// The subject: the account.
    pub sub: Uuid,
    /// The kind of the principal, with the claims of this kind.
    #[serde(flatten)]
    pub principal: PrincipalClaims,
    /// When it was issued: seconds since 1970.
    pub iat: i64,
    /// When it expires: seconds since 1970.
    pub exp: i64,
    /// Unique, so that two tokens of the same second differ.
    pub jti: Uuid,
    /// The account's roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Scopes, separated by blanks (RFC 8693).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
}

/// The claim `principal`, and the claims that only this kind of principal has. A token of another kind is refused, so
/// that no process takes a new kind of principal for a user.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "principal", rename_all = "snake_case")]
pub enum PrincipalClaims {
    /// A user in a session.
    User {
        /// The session.
        sid: Uuid,
        /// When the user proved who they are, which is when the session was opened: seconds since 1970 (RFC 9068,
        /// section 2.2.1).
        auth_time: i64,
        /// How they proved it (RFC 8176).
        amr: Vec<String>,
    },
}

/// The claims of a service token.
#[derive(Debug, Serialize, Deserialize)]
pub struct ServiceClaims {
    /// The calling service.
    pub sub: String,
    /// The called service.
    pub aud: String,
    /// When it was issued: seconds since 1970.
    pub iat: i64,
    /// When it expires: seconds since 1970.
    pub exp: i64,
}

impl Timed for AccessClaims {
    fn issued_and_expires(&self) -> (i64, i64) {
        (self.iat, self.exp)
    }
}

impl Timed for ServiceClaims {
    fn issued_and_expires(&self) -> (i64, i64) {
        (self.iat, self.exp)
    }
}

/// Our claims, and `nbf`, which any issuer may add.
#[derive(Deserialize)]
struct Dated<T> {
    /// The token must not be accepted before this time (RFC 7519, section 4.1.5).
    #[serde(default)]
    nbf: Option<i64>,
    #[serde(flatten)]
    claims: T,
}

/// Signs `claims`.
pub(crate) fn sign<T: Serialize>(
    algorithm: Algorithm,
    typ: &str,
    kid: &str,
    claims: &T,
    key: &EncodingKey,
) -> Result<String> {
    install();
    let mut header = Header::new(algorithm);
    header.typ = Some(typ.to_owned());
    header.kid = Some(kid.to_owned());
    jsonwebtoken::encode(&header, claims, key)
}

/// The key id of a token, if the token has this algorithm and type. Tokens with critical extensions are refused: no
/// extension is supported (RFC 7515, section 4.1.11).
pub(crate) fn key_id(token: &str, algorithm: Algorithm, typ: &str) -> Option<String> {
    let header = jsonwebtoken::decode_header(token).ok()?;
    let is_ours = header.alg == algorithm && header.typ.as_deref() == Some(typ) && header.crit.is_none();
    is_ours.then_some(header.kid).flatten()
}

/// The claims and times of a token, after checking its signature, audience and, if given, issuer. The caller checks the
/// times with its own clock: [`Window`].
pub(crate) fn verify<T: DeserializeOwned + Timed>(
    token: &str,
    algorithm: Algorithm,
    key: &DecodingKey,
    audience: &str,
    issuer: Option<&str>,
) -> Result<(T, Times)> {
    install();
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.set_audience(&[audience]);
    let mut required = vec!["exp", "aud", "sub"];
    if let Some(issuer) = issuer {
        validation.set_issuer(&[issuer]);
        required.push("iss");
    }
    validation.set_required_spec_claims(&required);
    let Dated { nbf: not_before, claims } = jsonwebtoken::decode::<Dated<T>>(token, key, &validation)?.claims;
    let (issued, expires) = claims.issued_and_expires();
    Ok((claims, Times { issued, expires, not_before }))
}

/// Makes ring the crypto provider of this process, once.
pub(crate) fn install() {
    static PROVIDER: CryptoProvider =
        CryptoProvider { signer_factory: signer, verifier_factory: verifier, key_utils: KeyUtils::new_unimplemented() };
    static ONCE: Once = Once::new();
    // An error means that a test in the same process has installed this same provider.
    ONCE.call_once(|| PROVIDER.install_default().unwrap_or_default());
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    match algorithm {
        Algorithm::ES256 => {
            let random = SystemRandom::new();
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_bytes(), &random)
                .map_err(|_| ErrorKind::InvalidEcdsaKey)?;
            Ok(Box::new(Es256Signer(pair, random)))
        }
        Algorithm::EdDSA => {
            let pair = Ed25519KeyPair::from_pkcs8(key.as_bytes()).map_err(|_| ErrorKind::InvalidKeyFormat)?;
            Ok(Box::new(EdSigner(pair)))
        }
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let verifying: &'static dyn ring::signature::VerificationAlgorithm = match algorithm {
        Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED,
        Algorithm::EdDSA => &ED25519,
        Algorithm::RS256 => return RsaVerifier::boxed(*algorithm, &RSA_PKCS1_2048_8192_SHA256, key),
        Algorithm::PS256 => return RsaVerifier::boxed(*algorithm, &RSA_PSS_2048_8192_SHA256, key),
        _ => return Err(ErrorKind::InvalidAlgorithm.into()),
    };
    Ok(Box::new(RingVerifier { algorithm: *algorithm, verifying, public: key.try_get_as_bytes()?.to_vec() }))
}

struct Es256Signer(EcdsaKeyPair, SystemRandom);

impl Signer<Vec<u8>> for Es256Signer {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, signature::Error> {
        self.0.sign(&self.1, message).map(|s| s.as_ref().to_vec()).map_err(|_| signature::Error::new())
    }
}

impl JwtSigner for Es256Signer {
    fn algorithm(&self) -> Algorithm {
        Algorithm::ES256
    }
}

struct EdSigner(Ed25519KeyPair);

impl Signer<Vec<u8>> for EdSigner {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, signature::Error> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

impl JwtSigner for EdSigner {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

/// Verifies tokens of issuers outside the mesh: no token of our own is signed with RSA.
struct RsaVerifier {
    algorithm: Algorithm,
    parameters: &'static RsaParameters,
    public: RsaPublicKeyComponents<Vec<u8>>,
}

impl RsaVerifier {
    fn boxed(
        algorithm: Algorithm,
        parameters: &'static RsaParameters,
        key: &DecodingKey,
    ) -> Result<Box<dyn JwtVerifier>> {
        let DecodingKeyKind::RsaModulusExponent { n, e } = key.kind() else {
            return Err(ErrorKind::InvalidKeyFormat.into());
        };
        Ok(Box::new(Self { algorithm, parameters, public: RsaPublicKeyComponents { n: n.clone(), e: e.clone() } }))
    }
}

impl Verifier<Vec<u8>> for RsaVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        self.public.verify(self.parameters, message, signature).map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for RsaVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

struct RingVerifier {
    algorithm: Algorithm,
    verifying: &'static dyn ring::signature::VerificationAlgorithm,
    public: Vec<u8>,
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        ring::signature::UnparsedPublicKey::new(self.verifying, &self.public)
            .verify(message, signature)
            .map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The claims of a user's token, as processes of other versions read them.
    fn claims() -> Value {
        json!({
            "iss": "trellis-auth",
            "aud": "trellis",
            "sub": "00000000-0000-0000-0000-000000000001",
            "principal": "user",
            "sid": "00000000-0000-0000-0000-000000000002",
            "auth_time": 1_700_000_000,
            "amr": ["pwd"],
            "iat": 1_700_000_060,
            "exp": 1_700_000_960,
            "jti": "00000000-0000-0000-0000-000000000003",
            "roles": ["admin"],
            "scope": "read write",
        })
    }

    fn read(claims: Value) -> serde_json::Result<AccessClaims> {
        serde_json::from_value::<Dated<AccessClaims>>(claims).map(|dated| dated.claims)
    }

    #[test]
    fn claims_of_access_tokens_keep_their_form() {
        assert_eq!(serde_json::to_value(read(claims()).unwrap()).unwrap(), claims());
    }

    #[test]
    fn unknown_kind_of_principal_is_refused() {
        let with = |kind: Option<&str>| {
            let mut claims = claims();
            claims["principal"] = json!(kind);
            read(claims)
        };
        assert!(with(Some("user")).is_ok());
        assert!(with(Some("service_account")).is_err());
        assert!(with(None).is_err());
        // A session is what makes the principal a user's.
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove("sid");
        assert!(read(claims).is_err());
    }
}
