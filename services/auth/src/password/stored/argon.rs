//! Argon2 in the PHC format: the hashes of this service, and imported ones.

use std::time::Duration;

use argon2::{
    Algorithm, Argon2, KeyId, Params, ParamsBuilder, PasswordHasher as _, Version,
    password_hash::phc::{self, Output},
};

use super::{Cost, Unusable};
use crate::{config::Argon2Config, keys::Pepper};

const NAME: &str = "Argon2";

/// An Argon2 hash.
#[derive(Clone)]
pub(crate) struct Argon2Hash {
    algorithm: Algorithm,
    version: Version,
    params: Params,
    salt: Vec<u8>,
    output: Output,
    pepper: Option<String>,
}

impl Argon2Hash {
    pub(super) fn parse(text: &str) -> Result<Self, Unusable> {
        let bad = |why| Unusable::Malformed(NAME, why);
        let parsed = phc::PasswordHash::new(text).map_err(|_| bad("it does not follow the PHC format"))?;
        let algorithm = Algorithm::try_from(parsed.algorithm.as_str()).map_err(|_| bad("its variant is unknown"))?;
        // The format names the version since 19.
        let version = Version::try_from(parsed.version.unwrap_or(0x10)).map_err(|_| bad("its version is unknown"))?;
        let params = Params::try_from(&parsed).map_err(|_| bad("its parameters are out of range"))?;
        let (Some(salt), Some(output)) = (parsed.salt, parsed.hash) else {
            return Err(bad("salt or hash is missing"));
        };
        let pepper = parsed.params.get_str("keyid").map(str::to_owned);
        Ok(Self { algorithm, version, params, salt: salt.to_vec(), output, pepper })
    }

    pub(super) fn pepper(&self) -> Option<&str> {
        self.pepper.as_deref()
    }

    /// A pass over a MiB takes about half a millisecond.
    pub(super) fn cost(&self) -> Cost {
        let (memory, passes) = (u64::from(self.params.m_cost()), u64::from(self.params.t_cost()));
        Cost { memory_kib: memory, time: Duration::from_micros(memory.saturating_mul(passes) / 2) }
    }

    pub(super) fn matches(&self, password: &[u8], pepper: &[u8]) -> bool {
        let Ok(argon2) = Argon2::new_with_secret(pepper, self.algorithm, self.version, self.params.clone()) else {
            return false;
        };
        let mut bytes = [0; Output::MAX_LENGTH];
        let Some(output) = bytes.get_mut(..self.output.len()) else { return false };
        let hashed = argon2.hash_password_into(password, &self.salt, output);
        hashed.is_ok() && Output::new(output).is_ok_and(|output| output == self.output)
    }
}

/// Hashes a password with Argon2id, which RFC 9106, section 4 and OWASP recommend.
pub(in crate::password) fn hash(password: &[u8], salt: &[u8], cost: Argon2Config, pepper: Option<&Pepper>) -> String {
    let mut params = ParamsBuilder::new();
    params.m_cost(cost.memory_kib).t_cost(cost.passes).p_cost(cost.lanes);
    if let Some(pepper) = pepper {
        params.keyid(KeyId::from_b64(pepper.id()).expect("the id of a pepper is base64 of 6 bytes"));
    }
    let params = params.build().expect("the ranges of the configuration are within Argon2's");
    let secret = pepper.map_or(&[][..], Pepper::secret);
    let argon2 =
        Argon2::new_with_secret(secret, Algorithm::Argon2id, Version::V0x13, params).expect("a pepper has 32 bytes");
    let hashed = argon2.hash_password_with_salt(password, salt);
    hashed.expect("Argon2 hashes a password of any length that the contract allows").to_string()
}

/// The beginning of the hashes that [`hash`] makes, up to the salt.
pub(in crate::password) fn prefix(cost: Argon2Config, pepper: Option<&Pepper>) -> String {
    let Argon2Config { memory_kib, passes, lanes } = cost;
    let key = pepper.map(|pepper| format!(",keyid={}", pepper.id())).unwrap_or_default();
    format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}{key}$")
}
