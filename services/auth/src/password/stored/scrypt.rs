//! scrypt (RFC 7914) in the PHC format: `$scrypt$ln=17,r=8,p=1$SALT$HASH`.

use std::time::Duration;

use scrypt::Params;

use super::{
    Cost, Unusable,
    fields::{are_equal, decode, number},
};

const NAME: &str = "scrypt";
/// Beyond these, the cost is far too high, and its product would overflow.
const MOST_LOG_N: u32 = 30;
const MOST: u32 = 1 << 15;

/// A scrypt hash.
#[derive(Clone)]
pub(crate) struct Scrypt {
    log_n: u8,
    r: u32,
    p: u32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Scrypt {
    pub(super) fn parse(text: &str) -> Result<Self, Unusable> {
        let bad = |why| Unusable::Malformed(NAME, why);
        let parts: Vec<&str> = text.split('$').collect();
        let ["", "scrypt", parameters, salt, hash] = parts[..] else {
            return Err(bad("expected $scrypt$ln=N,r=N,p=N$SALT$HASH"));
        };
        let parameter = |name, most| number(parameters, name).filter(|number| (1..=most).contains(number));
        let log_n = parameter("ln", MOST_LOG_N).and_then(|log_n| u8::try_from(log_n).ok());
        let (Some(log_n), Some(r), Some(p)) = (log_n, parameter("r", MOST), parameter("p", MOST)) else {
            return Err(bad("ln, r or p is missing or out of range"));
        };
        let salt = decode(salt).ok_or(bad("its salt is not base64"))?;
        let hash = decode(hash).filter(|hash| (16..=64).contains(&hash.len())).ok_or(bad("its hash is invalid"))?;
        Ok(Self { log_n, r, p, salt, hash })
    }

    /// A MiB takes about 3 ms, in each of the `p` rounds.
    pub(super) fn cost(&self) -> Cost {
        let memory_kib = (u64::from(self.r) << self.log_n) / 8;
        Cost { memory_kib, time: Duration::from_micros(memory_kib.saturating_mul(3).saturating_mul(self.p.into())) }
    }

    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let Ok(params) = Params::new(self.log_n, self.r, self.p) else { return false };
        let mut hash = vec![0; self.hash.len()];
        scrypt::scrypt(password, &self.salt, &params, &mut hash).is_ok() && are_equal(&hash, &self.hash)
    }
}
