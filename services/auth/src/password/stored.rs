//! Stored hashes: of this service, and of accounts that were imported from others. Each hash states how it was made.

mod argon;
mod bcrypt;
mod fields;
mod pbkdf2;
mod scrypt;

use std::time::Duration;

use argon::Argon2Hash;
pub(super) use argon::{hash, prefix};
use bcrypt::Bcrypt;
use pbkdf2::Pbkdf2;
use scrypt::Scrypt;

/// The longest verification on one core: a hash that needs longer is refused, so that no stored text occupies a thread.
const LONGEST: Duration = Duration::from_secs(5);

/// Why a stored hash cannot be verified. For operators; it contains no part of the hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    /// No algorithm begins like this.
    #[error(
        "is of no known format; known are Argon2 ($argon2id$...), bcrypt ($2b$...), scrypt ($scrypt$...) and PBKDF2 \
         ($pbkdf2-sha256$..., or Django's pbkdf2_sha256$...)"
    )]
    Unknown,
    /// A part of it is missing or invalid.
    #[error("is not a complete {0} hash: {1}")]
    Malformed(&'static str, &'static str),
    /// It would occupy the machine.
    #[error("takes about {0} s to verify; the most is 5 s")]
    TooLong(u64),
    /// It would occupy the memory.
    #[error("takes {0} MiB to verify; the most is {1} MiB")]
    TooLarge(u64, u64),
    /// This process does not have its pepper.
    #[error("has the pepper {0}, which this process does not have; give all replicas the same peppers.keys")]
    NoPepper(String),
}

/// What a verification takes, estimated for one core of 2026.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    /// The memory in KiB.
    pub(crate) memory_kib: u64,
    /// The time.
    pub(crate) time: Duration,
}

/// A stored hash.
#[derive(Clone)]
pub(crate) enum Stored {
    /// Of this service, or imported.
    Argon2(Box<Argon2Hash>),
    /// Imported.
    Bcrypt(Bcrypt),
    /// Imported.
    Scrypt(Scrypt),
    /// Imported.
    Pbkdf2(Pbkdf2),
}

impl Stored {
    /// Parses a hash whose verification takes a bearable time.
    pub(crate) fn parse(text: &str) -> Result<Self, Unusable> {
        // Django writes its own name of the algorithm before the hash.
        let text = text.strip_prefix("argon2").filter(|rest| rest.starts_with("$argon2")).unwrap_or(text);
        let text = text.strip_prefix("bcrypt$").unwrap_or(text);
        let stored = if text.starts_with("$argon2") {
            Self::Argon2(Box::new(Argon2Hash::parse(text)?))
        } else if text.starts_with("$2") {
            Self::Bcrypt(Bcrypt::parse(text)?)
        } else if text.starts_with("$scrypt$") {
            Self::Scrypt(Scrypt::parse(text)?)
        } else if text.starts_with("$pbkdf2") || text.starts_with("pbkdf2_") {
            Self::Pbkdf2(Pbkdf2::parse(text)?)
        } else {
            return Err(Unusable::Unknown);
        };
        let time = stored.cost().time;
        if time > LONGEST { Err(Unusable::TooLong(time.as_secs())) } else { Ok(stored) }
    }

    /// What its verification takes.
    pub(crate) fn cost(&self) -> Cost {
        match self {
            Self::Argon2(hash) => hash.cost(),
            Self::Bcrypt(hash) => hash.cost(),
            Self::Scrypt(hash) => hash.cost(),
            Self::Pbkdf2(hash) => hash.cost(),
        }
    }

    /// The id of the pepper that it needs.
    pub(crate) fn pepper(&self) -> Option<&str> {
        match self {
            Self::Argon2(hash) => hash.pepper(),
            Self::Bcrypt(_) | Self::Scrypt(_) | Self::Pbkdf2(_) => None,
        }
    }

    /// Whether it is the hash of `password`, in a time that depends on the hash only.
    pub(crate) fn matches(&self, password: &[u8], pepper: &[u8]) -> bool {
        match self {
            Self::Argon2(hash) => hash.matches(password, pepper),
            Self::Bcrypt(hash) => hash.matches(password),
            Self::Scrypt(hash) => hash.matches(password),
            Self::Pbkdf2(hash) => hash.matches(password),
        }
    }
}

#[cfg(test)]
#[path = "stored_tests.rs"]
mod tests;
