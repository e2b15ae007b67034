//! Tokens of issuers outside the mesh, by RFC 7519, RFC 8725 and RFC 9068. They are never accepted as our own: their key,
//! their issuer and their audience are others.

use std::time::Duration;

use jsonwebtoken::{
    Algorithm, DecodingKey, Header, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Timestamp;

/// The longest subject (OpenID Connect Core, section 2).
const MOST_SUBJECT: usize = 255;
/// RSA keys have at least this many bytes (RFC 7518, section 3.3), and at most as many as ring verifies.
const RSA_BYTES: [usize; 2] = [256, 1_024];
/// The types of tokens. Other kinds of JWT state another type (RFC 8725, section 3.11).
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];

/// An algorithm of signatures. All are asymmetric: `none` and the HMACs do not exist here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "RFC 7518 and RFC 8037 define the names")]
pub enum IssuerAlgorithm {
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "PS256")]
    Ps256,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl IssuerAlgorithm {
    fn algorithm(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Ps256 => Algorithm::PS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

/// What a token of an issuer must state.
#[derive(Debug, Clone)]
pub struct IssuerRules {
    /// `iss`, exactly.
    pub issuer: String,
    /// `aud` has one of these.
    pub audiences: Vec<String>,
    /// `alg` is one of these.
    pub algorithms: Vec<IssuerAlgorithm>,
    /// By how much the clock of the issuer may differ.
    pub clock_skew: Duration,
}

/// The claims of a verified token.
#[derive(Debug, Clone, PartialEq)]
pub struct IssuerClaims {
    /// `sub`: printable ASCII.
    pub subject: String,
    /// `scope`, or `scp`.
    pub scopes: Vec<String>,
    /// When it expires, with the tolerance for the clock.
    pub expires: Timestamp,
    /// All claims.
    pub all: Map<String, Value>,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssuerRefusal {
    /// No key of the issuer has its key id. The issuer may have published it a moment ago.
    UnknownKey,
    /// It has expired.
    Expired,
    /// It is forged, malformed, or for another audience.
    Invalid,
}

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

    /// The key of a token. One without a key id is verified by the only key that its algorithm has.
    fn of(&self, header: &Header) -> Option<&IssuerKey> {
        let mut suitable = self.0.iter().filter(|key| key.algorithms.contains(&header.alg));
        match &header.kid {
            Some(id) => suitable.find(|key| key.id.as_ref() == Some(id)),
            None => suitable.next().filter(|_| suitable.next().is_none()),
        }
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
        jsonwebtoken::DecodingKeyKind::RsaModulusExponent { n, .. } => {
            let [least, most] = RSA_BYTES;
            (least..=most).contains(&n.iter().skip_while(|byte| **byte == 0).count())
        }
        jsonwebtoken::DecodingKeyKind::SecretOrDer(_) => true,
    }
}

/// The `iss` of a token that is not verified, to select the rules that verify it.
pub fn stated_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Stated {
        iss: String,
    }
    jsonwebtoken::dangerous::insecure_decode_claims::<Stated>(token).ok().map(|stated| stated.iss)
}

impl IssuerRules {
    /// Verifies a token. Keys and addresses of keys in the token's own header are not read.
    pub fn verify(&self, token: &str, keys: &IssuerKeys, now: Timestamp) -> Result<IssuerClaims, IssuerRefusal> {
        super::install();
        let header = jsonwebtoken::decode_header(token).map_err(|_| IssuerRefusal::Invalid)?;
        let is_type = |typ: &String| TYPES.iter().any(|one| one.eq_ignore_ascii_case(typ));
        let is_allowed = self.algorithms.iter().any(|one| one.algorithm() == header.alg);
        if !is_allowed || header.crit.is_some() || !header.typ.as_ref().is_none_or(is_type) {
            return Err(IssuerRefusal::Invalid);
        }
        let key = keys.of(&header).ok_or(IssuerRefusal::UnknownKey)?;
        let mut validation = Validation::new(header.alg);
        // The times are checked by our own clock.
        validation.validate_exp = false;
        validation.set_audience(&self.audiences);
        validation.set_issuer(&[&self.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &validation);
        self.read(decoded.map_err(|_| IssuerRefusal::Invalid)?.claims, now)
    }

    fn read(&self, all: Map<String, Value>, now: Timestamp) -> Result<IssuerClaims, IssuerRefusal> {
        let time = |name: &str| match all.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => seconds(value).map(Some).ok_or(IssuerRefusal::Invalid),
        };
        let expires = time("exp")?.ok_or(IssuerRefusal::Invalid)? + self.clock_skew;
        let latest = now + self.clock_skew;
        if [time("nbf")?, time("iat")?].into_iter().flatten().any(|begins| begins > latest) {
            return Err(IssuerRefusal::Invalid);
        }
        if expires <= now {
            return Err(IssuerRefusal::Expired);
        }
        let subject = all.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_plain = subject.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if subject.is_empty() || subject.len() > MOST_SUBJECT || !is_plain {
            return Err(IssuerRefusal::Invalid);
        }
        let scopes = all.get("scope").or_else(|| all.get("scp")).map(scopes).unwrap_or_default();
        Ok(IssuerClaims { subject, scopes, expires, all })
    }
}

/// A NumericDate, which may have a fraction (RFC 7519, section 2).
fn seconds(value: &Value) -> Option<Timestamp> {
    let seconds = value.as_f64().filter(|seconds| (0.0..1e11).contains(seconds))?;
    Some(Timestamp::from_micros(0) + Duration::from_secs_f64(seconds))
}

/// A text with blanks (RFC 8693), or a list.
fn scopes(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => text.split_ascii_whitespace().map(str::to_owned).collect(),
        Value::Array(all) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}
