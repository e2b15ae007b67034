//! Second factors of accounts, and the challenges of sign-ins that wait for one.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use kit::{ClockAndRng, Timestamp};
use ring::digest::{SHA256, digest};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{AccountId, SessionId, TokenHash, TotpCode, TotpStep, base32};

/// Identifies the token for secret scanners and people.
const PREFIX: &str = "trc_";
/// 256 bits, as those of other tokens.
const TOKEN_BYTES: usize = 32;
/// 120 bits. NIST SP 800-63B-4, section 3.1.2.2: look-up secrets of at least 112 bits need a plain hash only, and no
/// throttling.
const RECOVERY_BYTES: usize = 15;
/// Recovery codes of an account.
pub const RECOVERY_CODES: usize = 10;
/// Characters between two hyphens of a recovery code.
const GROUP: usize = 4;

/// The id of a second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FactorId(pub Uuid);

impl FactorId {
    /// The name of the resource in audit records.
    pub fn name(self, account: AccountId) -> String {
        format!("{}/factors/{}", account.name(), self.0)
    }

    /// What an encrypted secret is bound to: it opens for this factor of this account only.
    pub fn binding(self, account: AccountId) -> [u8; 32] {
        let mut binding = [0; 32];
        binding[..16].copy_from_slice(account.0.as_bytes());
        binding[16..].copy_from_slice(self.0.as_bytes());
        binding
    }
}

/// An authenticator app that is turned on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Factor {
    /// The id.
    pub id: FactorId,
    /// When it was turned on.
    pub create_time: Timestamp,
    /// When it was last used.
    pub last_use_time: Option<Timestamp>,
}

/// The second factors of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Factors {
    /// Those that are turned on.
    pub factors: Vec<Factor>,
    /// How many recovery codes are left.
    pub recovery_codes: u32,
}

/// An authenticator app that waits for its first code.
#[derive(Debug, Clone)]
pub struct PendingTotp {
    /// The id.
    pub id: FactorId,
    /// The account.
    pub account: AccountId,
    /// The account's `password_no` when the password was verified.
    pub password_no: i64,
    /// The session that may confirm it.
    pub session: SessionId,
    /// The encrypted secret.
    pub sealed_secret: Vec<u8>,
    /// When it was made.
    pub create_time: Timestamp,
}

/// The stored secret of an authenticator app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTotp {
    /// The id.
    pub id: FactorId,
    /// The encrypted secret.
    pub sealed_secret: Vec<u8>,
    /// The last step whose code was accepted.
    pub last_step: TotpStep,
}

/// A sign-in with the right password, before it is stored.
#[derive(Debug, Clone)]
pub struct NewChallenge {
    /// The hash of its token.
    pub hash: TokenHash,
    /// The account.
    pub account: AccountId,
    /// The account's `password_no` when the password was verified.
    pub password_no: i64,
    /// When it expires.
    pub expire_time: Timestamp,
}

/// A verified proof. Its use may still fail: another one may have used it first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactorProof {
    /// The code of this step.
    Totp(FactorId, TotpStep),
    /// The recovery code with this hash, which is verified by its use.
    Recovery(TokenHash),
}

/// A code that a person typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypedCode {
    /// Of an authenticator app.
    Totp(TotpCode),
    /// A recovery code, by its hash.
    Recovery(TokenHash),
}

impl TypedCode {
    /// Reads a code, without its spaces and hyphens. A text of another form is a recovery code that no account has.
    pub fn read(text: &str) -> Self {
        let text: Zeroizing<String> =
            Zeroizing::new(text.chars().filter(|sign| !sign.is_whitespace() && *sign != '-').collect());
        match TotpCode::parse(&text) {
            Some(code) => Self::Totp(code),
            None => Self::Recovery(RecoveryCode::read(&text).hash()),
        }
    }
}

/// A code that replaces a second factor once.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryCode(Zeroizing<Vec<u8>>);

impl RecoveryCode {
    /// A new code.
    pub fn generate(clock_rng: &ClockAndRng) -> Self {
        Self(Zeroizing::new(clock_rng.random::<RECOVERY_BYTES>().to_vec()))
    }

    fn read(text: &str) -> Self {
        Self(Zeroizing::new(base32::decode(text).unwrap_or_default()))
    }

    /// The code in the clear: groups of lower-case letters and digits.
    pub fn expose(&self) -> String {
        let text = Zeroizing::new(base32::encode(&self.0).to_ascii_lowercase());
        let groups: Vec<_> = text.as_bytes().chunks(GROUP).map(String::from_utf8_lossy).collect();
        groups.join("-")
    }

    /// The hash that is stored.
    pub fn hash(&self) -> TokenHash {
        TokenHash(digest(&SHA256, &self.0).as_ref().to_vec())
    }
}

impl fmt::Debug for RecoveryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryCode(***)")
    }
}

/// The token of a challenge in the clear. It is random and looked up by its hash, as that of a link.
#[derive(Clone, PartialEq, Eq)]
pub struct ChallengeToken(Zeroizing<String>);

impl ChallengeToken {
    /// A new token.
    pub fn generate(clock_rng: &ClockAndRng) -> Self {
        Self::from(format!("{PREFIX}{}", BASE64URL.encode(clock_rng.random::<TOKEN_BYTES>())))
    }

    /// The token in the clear, for the response.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The hash that is stored.
    pub fn hash(&self) -> TokenHash {
        TokenHash(digest(&SHA256, self.0.as_bytes()).as_ref().to_vec())
    }
}

impl From<String> for ChallengeToken {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for ChallengeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChallengeToken(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_people_type_them() {
        let code = RecoveryCode(Zeroizing::new((0..15).collect()));
        let (shown, read) = (code.expose(), TypedCode::Recovery(code.hash()));
        assert_eq!(shown, "aaaq-eaye-auda-ocaj-bifq-ydio");
        let plain = shown.replace('-', "");
        for typed in [shown.clone(), shown.to_uppercase(), shown.replace('-', " "), format!("\t{plain}\n")] {
            assert_eq!(TypedCode::read(&typed), read, "{typed}");
        }
        for typed in ["123456", " 123 456 ", "123-456"] {
            assert_eq!(Some(TypedCode::read(typed)), TotpCode::parse("123456").map(TypedCode::Totp));
        }
        for typed in ["", "12345", &shown[1..], &format!("{shown}a"), "0", "1234567"] {
            let other = TypedCode::read(typed);
            assert!(matches!(other, TypedCode::Recovery(_)) && other != read, "{typed}");
        }
    }

    #[test]
    fn debug_output_hides_codes_and_tokens() {
        let clock_rng = ClockAndRng::system();
        let (code, token) = (RecoveryCode::generate(&clock_rng), ChallengeToken::generate(&clock_rng));
        assert!(token.expose().starts_with("trc_") && token.expose().len() == 47);
        assert_eq!(format!("{code:?} {token:?}"), "RecoveryCode(***) ChallengeToken(***)");
    }

    #[test]
    fn binding_differs_for_each_account_and_factor() {
        let [one, two] = [1, 2].map(Uuid::from_u128);
        let of = |factor, account| FactorId(factor).binding(AccountId(account));
        assert!(of(one, two) != of(two, one) && of(one, one) != of(one, two));
    }
}
