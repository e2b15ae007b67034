//! Tokens of issuers outside the mesh, by RFC 7519, RFC 8725 and RFC 9068. They are never accepted as our own: their key,
//! their issuer and their audience are others.

mod keys;
mod refusal;
mod stated;

use std::{collections::HashMap, time::Duration};

use jsonwebtoken::{Algorithm, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

pub use keys::IssuerKeys;
pub use refusal::IssuerRefusal;
pub use stated::{StatedToken, stated_issuer};

use crate::Timestamp;

/// The longest subject (OpenID Connect Core, section 2).
const MOST_SUBJECT: usize = 255;
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
#[derive(Debug, Clone)]
pub struct IssuerClaims {
    /// `sub`: printable ASCII.
    pub subject: String,
    /// `scope`, or `scp`.
    pub scopes: Vec<String>,
    /// When it expires, with the tolerance for the clock.
    pub expires: Timestamp,
    /// All claims, as the token has them.
    all: HashMap<String, Box<RawValue>>,
}

impl IssuerRules {
    /// Verifies a token. Keys and addresses of keys in the token's own header are not read.
    pub fn verify(&self, token: &str, keys: &IssuerKeys, now: Timestamp) -> Result<IssuerClaims, IssuerRefusal> {
        super::install();
        let header = jsonwebtoken::decode_header(token).map_err(|_| IssuerRefusal::Malformed)?;
        if !self.algorithms.iter().any(|one| one.algorithm() == header.alg) {
            return Err(IssuerRefusal::Algorithm);
        }
        if !header.typ.as_ref().is_none_or(|typ| TYPES.iter().any(|one| one.eq_ignore_ascii_case(typ))) {
            return Err(IssuerRefusal::Type);
        }
        if header.crit.is_some() {
            return Err(IssuerRefusal::CriticalExtension);
        }
        let mut validation = Validation::new(header.alg);
        // The times are checked by our own clock.
        validation.validate_exp = false;
        validation.set_audience(&self.audiences);
        validation.set_issuer(&[&self.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        for key in keys.of(&header) {
            match jsonwebtoken::decode(token, key, &validation).map_err(|error| IssuerRefusal::of(&error)) {
                Err(IssuerRefusal::Signature) => {}
                decoded => return self.read(decoded?.claims, now),
            }
        }
        // A token without a key id may be signed with a new key.
        let is_unknown = header.kid.is_none() || keys.of(&header).next().is_none();
        Err(if is_unknown { IssuerRefusal::UnknownKey } else { IssuerRefusal::Signature })
    }

    fn read(&self, all: HashMap<String, Box<RawValue>>, now: Timestamp) -> Result<IssuerClaims, IssuerRefusal> {
        let value = |name| match all.get(name) {
            Some(raw) => serde_json::from_str(raw.get()).map_err(|_| IssuerRefusal::Claim(name)),
            None => Ok(Value::Null),
        };
        let time = |name| match value(name)? {
            Value::Null => Ok(None),
            value => seconds(&value).map(Some).ok_or(IssuerRefusal::Claim(name)),
        };
        let expires = time("exp")?.ok_or(IssuerRefusal::Claim("exp"))? + self.clock_skew;
        let latest = now + self.clock_skew;
        for name in ["nbf", "iat"] {
            if time(name)?.is_some_and(|begins| begins > latest) {
                return Err(IssuerRefusal::Early(name));
            }
        }
        if expires <= now {
            return Err(IssuerRefusal::Expired);
        }
        let subject = value("sub")?.as_str().unwrap_or_default().to_owned();
        let is_plain = subject.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if subject.is_empty() || subject.len() > MOST_SUBJECT || !is_plain {
            return Err(IssuerRefusal::Claim("sub"));
        }
        let scope = if all.contains_key("scope") { "scope" } else { "scp" };
        let scopes = scopes(&value(scope)?);
        Ok(IssuerClaims { subject, scopes, expires, all })
    }
}

impl IssuerClaims {
    /// A claim that is a text, a number or a boolean. A number has all digits of the token: as a float it could be that of
    /// another caller.
    pub fn text(&self, name: &str) -> Option<String> {
        let raw = self.all.get(name)?.get();
        match raw.as_bytes().first()? {
            b'"' => serde_json::from_str(raw).ok(),
            b'-' | b'0'..=b'9' | b't' | b'f' => Some(raw.to_owned()),
            _ => None,
        }
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
