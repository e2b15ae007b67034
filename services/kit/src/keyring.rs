//! Keys that encrypt other keys in a database, from a file of the operator.
//!
//! Each line of the file is a key of 32 bytes in base64. The first one encrypts, and all decrypt: a new key is added as
//! the first line, and an old one stays for as long as something is encrypted with it. Without a file, keys are stored
//! as they are.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::{SHA256, digest},
};
use zeroize::Zeroizing;

use crate::{ClockAndRng, secret_file};

/// The first byte of a stored key: it is stored as it is, or encrypted.
const PLAIN: u8 = 0;
const WRAPPED: u8 = 1;
/// The length of the id of the key that encrypts.
const ID_LEN: usize = 4;

/// The keys of a file, the one that encrypts first.
#[derive(Clone, Default)]
pub struct Keyring(Vec<WrappingKey>);

#[derive(Clone)]
struct WrappingKey {
    id: [u8; ID_LEN],
    key: LessSafeKey,
}

/// A file of keys that cannot be used. Displayed as one line on the terminal.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeyringError(String);

impl Keyring {
    /// Reads a file of keys.
    pub fn read(path: &Path) -> Result<Self, KeyringError> {
        let text = secret_file::read(path).map_err(|error| KeyringError(format!("{}: {error}", path.display())))?;
        Self::parse(&text).map_err(|why| KeyringError(format!("{}: {why}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
        let keys: Vec<_> = lines
            .map(|(at, line)| {
                let bytes = Zeroizing::new(BASE64.decode(line).unwrap_or_default());
                WrappingKey::new(&bytes).ok_or_else(|| {
                    format!("line {} is not a key: 32 bytes in base64, as `openssl rand -base64 32` prints", at + 1)
                })
            })
            .collect::<Result<_, _>>()?;
        if keys.is_empty() { Err("the file has no key".to_owned()) } else { Ok(Self(keys)) }
    }

    /// The stored form of `key`, bound to its owner `aad`.
    pub fn wrap(&self, key: &[u8], aad: &[u8], clock_rng: &ClockAndRng) -> Vec<u8> {
        let Some(with) = self.0.first() else { return [&[PLAIN], key].concat() };
        [&[WRAPPED], &with.id[..], &encrypt(&with.key, key, aad, clock_rng)].concat()
    }

    /// The key in a stored form; `None` if it was encrypted with a key that the file lacks, or for another owner.
    pub fn unwrap(&self, stored: &[u8], aad: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        match stored.split_first()? {
            (&PLAIN, key) => Some(Zeroizing::new(key.to_vec())),
            (&WRAPPED, wrapped) => {
                let (id, encrypted) = wrapped.split_at_checked(ID_LEN)?;
                let with = self.0.iter().find(|key| key.id == id)?;
                decrypt(&with.key, encrypted, aad)
            }
            _ => None,
        }
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keyring({} keys)", self.0.len())
    }
}

impl WrappingKey {
    fn new(bytes: &[u8]) -> Option<Self> {
        let mut id = [0; ID_LEN];
        id.iter_mut().zip(digest(&SHA256, bytes).as_ref()).for_each(|(to, from)| *to = *from);
        Some(Self { id, key: key(bytes)? })
    }
}

/// A key of AES-256-GCM; `None` if it has not 32 bytes.
pub fn key(bytes: &[u8]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, bytes).ok().map(LessSafeKey::new)
}

/// The nonce and the encrypted `plain`.
pub fn encrypt(key: &LessSafeKey, plain: &[u8], aad: &[u8], clock_rng: &ClockAndRng) -> Vec<u8> {
    let nonce = clock_rng.random::<NONCE_LEN>();
    let mut sealed = plain.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut sealed)
        .expect("the text is far below the cipher's limit");
    [&nonce[..], &sealed].concat()
}

/// What [`encrypt`] has encrypted; `None` if it was another key or owner.
pub fn decrypt(key: &LessSafeKey, encrypted: &[u8], aad: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = encrypted.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut sealed = Zeroizing::new(sealed.to_vec());
    let length = key.open_in_place(nonce, Aad::from(aad), &mut sealed).ok()?.len();
    sealed.truncate(length);
    Some(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const NEW: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    #[test]
    fn first_key_encrypts_and_all_decrypt() {
        let clock_rng = ClockAndRng::system();
        let (old, both) = (Keyring::parse(OLD).unwrap(), Keyring::parse(&format!("{NEW}\n\n{OLD}\n")).unwrap());
        let stored = old.wrap(&[7; 32], b"ada", &clock_rng);
        assert_eq!(both.unwrap(&stored, b"ada").unwrap().as_slice(), [7; 32]);
        assert!(!stored.windows(8).any(|part| part == [7; 8]));
        assert_eq!(both.unwrap(&stored, b"bob"), None, "it is the key of another owner");
        assert_eq!(old.unwrap(&both.wrap(&[7; 32], b"ada", &clock_rng), b"ada"), None, "the file lacks the new key");
        let plain = Keyring::default().wrap(&[7; 32], b"ada", &clock_rng);
        assert_eq!(old.unwrap(&plain, b"ada").unwrap().as_slice(), [7; 32], "it was stored before there was a file");
        assert_eq!(old.unwrap(&stored[..9], b"ada"), None);
    }

    #[test]
    fn malformed_file_is_refused_with_its_line() {
        assert!(Keyring::parse(&format!("{OLD}\nshort")).unwrap_err().starts_with("line 2 is not a key"));
        assert_eq!(Keyring::parse("\n").unwrap_err(), "the file has no key");
        assert_eq!(format!("{:?}", Keyring::parse(OLD).unwrap()), "Keyring(1 keys)");
    }
}
