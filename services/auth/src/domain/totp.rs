//! Codes of authenticator apps: TOTP (RFC 6238) with SHA-1, six digits and steps of 30 seconds, which all apps support.

use std::fmt;

use kit::{ClockAndRng, Timestamp};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ring::hmac;
use zeroize::Zeroizing;

use super::base32;

/// RFC 4226, section 4, R6: 160 bits are recommended, 128 required.
const SECRET_BYTES: usize = 20;
/// RFC 6238, section 5.2: 30 seconds are recommended.
const STEP_SECONDS: i64 = 30;
/// RFC 6238, sections 5.2 and 6: one step for the delay of the network, and for a clock that differs.
const DRIFT: i64 = 1;
const MODULUS: u32 = 1_000_000;

/// The secret that an authenticator app shares with the server.
#[derive(Clone, PartialEq, Eq)]
pub struct TotpSecret(Zeroizing<Vec<u8>>);

/// A code of six digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TotpCode(u32);

/// The number of a step of 30 seconds since 1970. Each step has one code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TotpStep(pub i64);

impl TotpSecret {
    /// A new secret.
    pub fn generate(clock_rng: &ClockAndRng) -> Self {
        Self(Zeroizing::new(clock_rng.random::<SECRET_BYTES>().to_vec()))
    }

    /// Reads the form that is stored and shown. `None`: it is another text.
    pub fn from_base32(text: &str) -> Option<Self> {
        base32::decode(text).filter(|bytes| bytes.len() == SECRET_BYTES).map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// The secret in base32, as people type it into an app.
    pub fn to_base32(&self) -> Zeroizing<String> {
        Zeroizing::new(base32::encode(&self.0))
    }

    /// The address that apps read from the QR code. `issuer` and `account` are what the app shows beside the code.
    pub fn uri(&self, issuer: &str, account: &str) -> Zeroizing<String> {
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let (issuer, account, secret) = (encoded(issuer), encoded(account), self.to_base32());
        Zeroizing::new(format!(
            "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}&algorithm=SHA1&digits=6&period={STEP_SECONDS}",
            *secret
        ))
    }

    /// The step of the code, if it is one of those that are accepted `now` and later than `last`, which was accepted
    /// before. Compares all of them, so that the time does not depend on which one it is.
    pub fn step_of(&self, code: TotpCode, now: Timestamp, last: TotpStep) -> Option<TotpStep> {
        let current = now.as_secs().div_euclid(STEP_SECONDS);
        let mut found = None;
        for step in current - DRIFT..=current + DRIFT {
            if self.code(TotpStep(step)) == code && step > last.0 {
                found = Some(TotpStep(step));
            }
        }
        found
    }

    /// The code of a step (RFC 4226, section 5.3).
    pub fn code(&self, step: TotpStep) -> TotpCode {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &step.0.to_be_bytes());
        let tag = tag.as_ref();
        let offset = usize::from(tag[tag.len() - 1] & 0xf);
        let mut chosen = [0; 4];
        chosen.copy_from_slice(&tag[offset..offset + 4]);
        TotpCode((u32::from_be_bytes(chosen) & 0x7fff_ffff) % MODULUS)
    }
}

impl TotpStep {
    /// Before every step.
    pub const NONE: Self = Self(-1);
}

impl TotpCode {
    /// Reads six digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_code = text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_code.then(|| text.parse().ok()).flatten().map(Self)
    }
}

impl fmt::Display for TotpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}", self.0)
    }
}

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpSecret(***)")
    }
}

impl fmt::Debug for TotpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpCode(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> TotpSecret {
        TotpSecret(Zeroizing::new(b"12345678901234567890".to_vec()))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    /// RFC 4226, appendix D, and RFC 6238, appendix B: the last six digits.
    #[test]
    fn codes_are_those_of_the_standards() {
        let of_steps =
            ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"];
        for (step, code) in (0..).zip(of_steps) {
            assert_eq!(secret().code(TotpStep(step)).to_string(), code);
        }
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let step = secret().step_of(TotpCode::parse(code).unwrap(), at(seconds), TotpStep::NONE);
            assert_eq!(step, Some(TotpStep(seconds / 30)), "{code}");
        }
    }

    #[test]
    fn code_is_valid_for_one_step_around_and_once() {
        let code = secret().code(TotpStep(100));
        let step = |seconds, last| secret().step_of(code, at(seconds), TotpStep(last)).is_some();
        for (seconds, is_valid) in [(2_969, false), (2_970, true), (3_000, true), (3_059, true), (3_060, false)] {
            assert_eq!(step(seconds, -1), is_valid, "{seconds}");
        }
        assert!(step(3_000, 99));
        assert!(!step(3_000, 100), "it was accepted before");
        assert!(!step(3_000, 101), "a later one was accepted before");
    }

    #[test]
    fn secret_is_shown_as_apps_read_it() {
        let secret = TotpSecret::from_base32("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ").unwrap();
        assert_eq!(secret, self::secret());
        let uri = secret.uri("My & Chat", "ada@example.org");
        let expected = "otpauth://totp/My%20%26%20Chat:ada%40example%2Eorg?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
                        &issuer=My%20%26%20Chat&algorithm=SHA1&digits=6&period=30";
        assert_eq!(*uri, expected);
        assert_eq!(TotpSecret::from_base32("GEZDGNBV"), None);
        assert_eq!(format!("{secret:?} {:?}", secret.code(TotpStep(1))), "TotpSecret(***) TotpCode(***)");
    }

    #[test]
    fn only_six_digits_are_a_code() {
        for text in ["12345", "1234567", "12345a", "+12345", "１２３４５６", ""] {
            assert_eq!(TotpCode::parse(text), None, "{text}");
        }
        assert_eq!(TotpCode::parse("005924").unwrap().to_string(), "005924");
    }
}
