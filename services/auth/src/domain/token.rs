//! Refresh tokens: opaque to clients, stored by their hash.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use kit::ClockAndRng;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::{SHA256, digest},
};
use uuid::Uuid;
use zeroize::Zeroizing;

/// Identifies the token for secret scanners and people.
const PREFIX: &str = "trr_";
/// 256 bits; RFC 6749, section 10.10 requires 128.
const BYTES: usize = 32;

/// A refresh token in the clear.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken(Zeroizing<String>);

impl RefreshToken {
    /// A new token.
    pub fn generate(clock_rng: &ClockAndRng) -> Self {
        Self::from(format!("{PREFIX}{}", BASE64URL.encode(clock_rng.random::<BYTES>())))
    }

    /// The token in the clear, for the response.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The hash that is stored. A plain hash is enough, because the token is random.
    pub fn hash(&self) -> TokenHash {
        TokenHash(digest(&SHA256, self.0.as_bytes()).as_ref().to_vec())
    }
}

impl From<String> for RefreshToken {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshToken(***)")
    }
}

/// The SHA-256 of a refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHash(pub Vec<u8>);

impl TokenHash {
    /// A key to queue calls that present this token: its session is not known before the lookup.
    pub fn row(&self) -> Uuid {
        let mut name = [0; 16];
        name.iter_mut().zip(&self.0).for_each(|(to, from)| *to = *from);
        Uuid::from_bytes(name)
    }
}

/// Encrypts successors for the grace period, so that a reader of the database cannot use them.
pub struct Seal(LessSafeKey);

impl Seal {
    /// A seal with a key of 32 bytes; `None` for another length.
    pub fn new(key: &[u8]) -> Option<Self> {
        UnboundKey::new(&AES_256_GCM, key).ok().map(|key| Self(LessSafeKey::new(key)))
    }

    /// Encrypts `successor`, bound to its predecessor with the hash `of`.
    pub fn seal(&self, successor: &RefreshToken, of: &TokenHash, clock_rng: &ClockAndRng) -> Vec<u8> {
        self.seal_text(successor.expose(), &of.0, clock_rng)
    }

    /// Decrypts the successor of the token `of`; `None` if it was encrypted with another key or for another token.
    pub fn open(&self, sealed: &[u8], of: &TokenHash) -> Option<RefreshToken> {
        self.open_text(sealed, &of.0).map(RefreshToken::from)
    }

    /// Encrypts a token, bound to the id `of` of the row that keeps it.
    pub fn seal_text(&self, token: &str, of: &[u8], clock_rng: &ClockAndRng) -> Vec<u8> {
        let nonce = clock_rng.random::<NONCE_LEN>();
        let mut sealed = token.as_bytes().to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(of), &mut sealed)
            .expect("a token is far below the cipher's limit");
        [&nonce[..], &sealed].concat()
    }

    /// Decrypts a token; `None` if it was encrypted with another key or for another row.
    pub fn open_text(&self, sealed: &[u8], of: &[u8]) -> Option<String> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = self.0.open_in_place(nonce, Aad::from(of), &mut sealed).ok()?;
        std::str::from_utf8(plain).ok().map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_token_opens_for_its_predecessor_only() {
        let clock_rng = ClockAndRng::system();
        let seal = Seal::new(&[7; 32]).unwrap();
        let (old, successor) = (RefreshToken::generate(&clock_rng), RefreshToken::generate(&clock_rng));
        let sealed = seal.seal(&successor, &old.hash(), &clock_rng);
        assert!(!sealed.windows(8).any(|part| part == &successor.expose().as_bytes()[4..12]));
        assert_eq!(seal.open(&sealed, &old.hash()), Some(successor.clone()));
        assert_eq!(seal.open(&sealed, &successor.hash()), None);
        assert_eq!(Seal::new(&[8; 32]).unwrap().open(&sealed, &old.hash()), None);
        assert_eq!(seal.open(&sealed[..5], &old.hash()), None);
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Clients store tokens, the database their hashes and sealed successors.
    #[test]
    fn stored_forms_have_their_golden_bytes() {
        let token = RefreshToken::from("trr_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8".to_owned());
        let hash = "e8aab625de9aef2feb963be499baebce07b3d600b6c6b12167f59569aab0620e";
        assert_eq!(hex(&token.hash().0), hash);
        assert_eq!(hex(token.hash().row().as_bytes()), hash[..32]);
        let sealed: [u8; 35] = [
            0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x6c, 0xf3, 0x9b, 0x2f, 0x73, 0x6c, 0xae, 0x39, 0xd6, 0x04, 0x5a,
            0x6f, 0x5c, 0xf4, 0x22, 0x65, 0xa8, 0x11, 0x68, 0x36, 0x63, 0xb3, 0x06,
        ];
        let of = RefreshToken::from("trr_old".to_owned()).hash();
        let successor = Seal::new(&[7; 32]).unwrap().open(&sealed, &of);
        assert_eq!(successor, Some(RefreshToken::from("trr_new".to_owned())));
    }

    #[test]
    fn debug_output_hides_the_token() {
        let token = RefreshToken::generate(&ClockAndRng::system());
        assert!(token.expose().starts_with("trr_") && token.expose().len() == 47);
        assert_eq!(format!("{token:?}"), "RefreshToken(***)");
    }
}
