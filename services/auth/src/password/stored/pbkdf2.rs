//! PBKDF2 (RFC 8018) with HMAC: `$pbkdf2-sha256$i=600000$SALT$HASH` (PHC), `$pbkdf2-sha256$29000$SALT$HASH` (passlib), or
//! `pbkdf2_sha256$870000$SALT$HASH` (Django, whose salt is text).

use std::{num::NonZeroU32, time::Duration};

use ring::pbkdf2::{self, PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA512};

use super::{
    Cost, Unusable,
    fields::{decode, number},
};

const NAME: &str = "PBKDF2";
/// A shorter hash would match by chance.
const SHORTEST: usize = 16;

/// A PBKDF2 hash.
#[derive(Clone)]
pub(crate) struct Pbkdf2 {
    algorithm: pbkdf2::Algorithm,
    iterations: NonZeroU32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Pbkdf2 {
    pub(super) fn parse(text: &str) -> Result<Self, Unusable> {
        let bad = |why| Unusable::Malformed(NAME, why);
        let parts: Vec<&str> = text.split('$').collect();
        let (name, iterations, salt, hash) = match parts[..] {
            ["", name, parameters, salt, hash] => {
                let iterations = parameters.parse().ok().or_else(|| number(parameters, "i"));
                (name, iterations, decode(salt).ok_or(bad("its salt is not base64"))?, hash)
            }
            [name, iterations, salt, hash] => (name, iterations.parse().ok(), salt.as_bytes().to_vec(), hash),
            _ => return Err(bad("expected the algorithm, the iterations, the salt and the hash between $")),
        };
        let algorithm = match name {
            "pbkdf2" | "pbkdf2-sha1" | "pbkdf2_sha1" => PBKDF2_HMAC_SHA1,
            "pbkdf2-sha256" | "pbkdf2_sha256" => PBKDF2_HMAC_SHA256,
            "pbkdf2-sha512" | "pbkdf2_sha512" => PBKDF2_HMAC_SHA512,
            _ => return Err(bad("its hash function is not SHA-1, SHA-256 or SHA-512")),
        };
        let iterations = iterations.and_then(NonZeroU32::new).ok_or(bad("its iterations are not a number"))?;
        let hash = decode(hash).filter(|hash| hash.len() >= SHORTEST).ok_or(bad("its hash is invalid"))?;
        Ok(Self { algorithm, iterations, salt, hash })
    }

    /// An iteration takes half a microsecond or a little more, for each block of output.
    pub(super) fn cost(&self) -> Cost {
        let block = if self.algorithm == PBKDF2_HMAC_SHA512 { 64 } else { 20 };
        let blocks = u64::try_from(self.hash.len().div_ceil(block)).unwrap_or(u64::MAX);
        let time = Duration::from_nanos(u64::from(self.iterations.get()).saturating_mul(blocks).saturating_mul(500));
        Cost { memory_kib: 1, time }
    }

    pub(super) fn matches(&self, password: &[u8]) -> bool {
        pbkdf2::verify(self.algorithm, self.iterations, &self.salt, password, &self.hash).is_ok()
    }
}
