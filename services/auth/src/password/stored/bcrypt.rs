//! bcrypt ("A Future-Adaptable Password Scheme", Provos and Mazières 1999): `$2b$12$`, 22 characters of salt, 31 of hash.
//! The variants 2a, 2b and 2y differ in the bugs of their first programs only.

use std::time::Duration;

use blowfish::Blowfish;

use super::{
    Cost, Unusable,
    fields::{are_equal, decode_bcrypt},
};

const NAME: &str = "bcrypt";
const SALT: usize = 16;
const SALT_CHARACTERS: usize = 22;
/// Of the 24 bytes of the result, 23 are stored.
const HASH: usize = 23;
/// bcrypt ignores the rest of a password. New hashes of this service do not.
const LONGEST_KEY: usize = 72;
/// "OrpheanBeholderScryDoubt", which is encrypted 64 times.
const TEXT: [u32; 6] = [0x4f72_7068, 0x6561_6e42, 0x6568_6f6c, 0x6465_7253, 0x6372_7944, 0x6f75_6274];

/// A bcrypt hash.
#[derive(Clone)]
pub(crate) struct Bcrypt {
    cost: u32,
    salt: [u8; SALT],
    hash: Vec<u8>,
}

impl Bcrypt {
    pub(super) fn parse(text: &str) -> Result<Self, Unusable> {
        let bad = |why| Unusable::Malformed(NAME, why);
        let parts: Vec<&str> = text.split('$').collect();
        let ["", "2a" | "2b" | "2y", cost, rest] = parts[..] else {
            return Err(bad("expected $2a$, $2b$ or $2y$, the cost, and 53 characters"));
        };
        let cost = cost.parse().ok().filter(|cost| (4..=31).contains(cost)).ok_or(bad("its cost is not 04 to 31"))?;
        let (salt, hash) = rest.split_at_checked(SALT_CHARACTERS).ok_or(bad("its salt is too short"))?;
        let salt = decode_bcrypt(salt).and_then(|salt| salt.try_into().ok()).ok_or(bad("its salt is invalid"))?;
        let hash = decode_bcrypt(hash).filter(|hash| hash.len() == HASH).ok_or(bad("its hash is invalid"))?;
        Ok(Self { cost, salt, hash })
    }

    /// A cost of 12 takes about 250 ms.
    pub(super) fn cost(&self) -> Cost {
        Cost { memory_kib: 4, time: Duration::from_micros((1 << self.cost) * 64) }
    }

    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let mut key: Vec<u8> = password.iter().copied().chain([0]).take(LONGEST_KEY).collect();
        let mut state = Blowfish::bc_init_state();
        state.salted_expand_key(&self.salt, &key);
        for _ in 0..1_u64 << self.cost {
            state.bc_expand_key(&key);
            state.bc_expand_key(&self.salt);
        }
        zeroize::Zeroize::zeroize(&mut key);
        let mut bytes = Vec::with_capacity(HASH + 1);
        for pair in TEXT.chunks_exact(2) {
            let mut words = [pair[0], pair[1]];
            for _ in 0..64 {
                words = state.bc_encrypt(words);
            }
            bytes.extend(words.into_iter().flat_map(u32::to_be_bytes));
        }
        bytes.truncate(HASH);
        are_equal(&bytes, &self.hash)
    }
}
