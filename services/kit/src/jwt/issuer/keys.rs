//! The public keys of an issuer.

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind, Header,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

use super::IssuerAlgorithm;

/// RSA keys have at least this many bytes (RFC 7518, section 3.3), and at most as many as ring verifies.
const RSA_BYTES: [usize; 2] = [256, 1_024];
/// How many keys are tried for one token. Each costs a verification, and any client can send a token.
const MOST_TRIED: usize = 8;

/// The keys of an issuer.
pub struct IssuerKeys(Vec<IssuerKey>);

struct IssuerKey {
    id: Option<String>,
    /// Those that the key and the configuration allow.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl IssuerKeys {
    /// Reads a JWK set (RFC 7517). Keys of other kinds and purposes are skipped.
    pub fn read(set: &[u8], allowed: &[IssuerAlgorithm], most: usize) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct KeySetForm {
            keys: Vec<Value>,
        }
        let KeySetForm { keys } = serde_json::from_slice(set).map_err(|e| format!("is not a JWK set: {e}"))?;
        if keys.len() > most {
            return Err(format!("has {} keys, more than {most}", keys.len()));
        }
        let allowed: Vec<_> = allowed.iter().map(|one| one.algorithm()).collect();
        let keys: Vec<_> = keys.into_iter().filter_map(|key| IssuerKey::read(key, &allowed)).collect();
        if keys.is_empty() { Err("has no key for one of the algorithms".to_owned()) } else { Ok(Self(keys)) }
    }

    /// The ids of the keys; `None`: a key without one.
    pub fn ids(&self) -> impl Iterator<Item = Option<&str>> {
        self.0.iter().map(|key| key.id.as_deref())
    }

    /// The keys that may have signed a token: those with its key id, or all if it has none, as far as they suit its
    /// algorithm. Providers publish several keys with one id, and keys without an id.
    pub(super) fn of(&self, header: &Header) -> impl Iterator<Item = &DecodingKey> {
        let suits =
            |key: &&IssuerKey| key.algorithms.contains(&header.alg) && (header.kid.is_none() || key.id == header.kid);
        self.0.iter().filter(suits).map(|key| &key.key).take(MOST_TRIED)
    }
}

impl IssuerKey {
    fn read(key: Value, allowed: &[Algorithm]) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(key).ok()?;
        let common = &jwk.common;
        let signs = common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
        let verifies = common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
        let of_kind: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => &[Algorithm::RS256, Algorithm::PS256],
            AlgorithmParameters::EllipticCurve(of) if of.curve == EllipticCurve::P256 => &[Algorithm::ES256],
            AlgorithmParameters::OctetKeyPair(of) if of.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
            _ => return None,
        };
        let stated = |algorithm: &Algorithm| {
            common.key_algorithm.is_none_or(|only| only.to_string() == format!("{algorithm:?}"))
        };
        let algorithms = of_kind.iter().filter(|one| allowed.contains(one) && stated(one)).copied();
        let algorithms: Vec<_> = algorithms.filter(|_| signs && verifies).collect();
        let key = DecodingKey::from_jwk(&jwk).ok().filter(|key| is_strong(key) && !algorithms.is_empty())?;
        Some(Self { id: common.key_id.clone(), algorithms, key })
    }
}

/// RSA keys are long enough.
fn is_strong(key: &DecodingKey) -> bool {
    match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, .. } => {
            let [least, most] = RSA_BYTES;
            (least..=most).contains(&n.iter().skip_while(|byte| **byte == 0).count())
        }
        DecodingKeyKind::SecretOrDer(_) => true,
    }
}
