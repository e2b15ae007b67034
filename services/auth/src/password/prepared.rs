//! Prepares passwords for hashing.

use icu_properties::{CodePointMapData, props::GeneralCategory};
use kit::error;
use tonic::Status;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

/// The shortest and the longest new password in characters, after preparation. NIST SP 800-63B-4, section 3.1.1.2: at
/// least 15 where the password is the only factor, at most 64 or more, and each code point counts as one.
const CHARACTERS: [usize; 2] = [15, 256];
/// The largest growth factor of NFC in UTF-8 (UAX #15, section 14).
const MOST_GROWTH: usize = 3;

/// A password in the clear, erased when dropped.
///
/// Devices send the same password in different code points: macOS decomposes, a keyboard layout types U+00A0. NIST SP
/// 800-63B-4 (section 3.1.1.2) recommends normalization before hashing. This type
/// uses the OpaqueString profile of RFC 8265 (section 4.2.2), which is made for passwords: spaces become U+0020, then
/// NFC. NFKC would also make different passwords equal, such as `2` and `²`.
#[derive(Clone)]
pub(crate) struct Password {
    prepared: Zeroizing<String>,
    /// The sent form, if it differs. Earlier versions hashed this form.
    sent: Option<Zeroizing<String>>,
}

impl Password {
    /// Prepares the sent password.
    pub(crate) fn new(sent: String) -> Self {
        let sent = Zeroizing::new(sent);
        // With the largest possible capacity: a reallocation would leave a copy in memory.
        let mut prepared = Zeroizing::new(String::with_capacity(MOST_GROWTH * sent.len()));
        prepared.extend(sent.chars().map(|c| if is_space(c) { ' ' } else { c }).nfc());
        let sent = (*sent != *prepared).then_some(sent);
        Self { prepared, sent }
    }

    /// The form that is hashed.
    pub(super) fn prepared(&self) -> &str {
        &self.prepared
    }

    /// The sent form, if it differs from the prepared one.
    pub(super) fn as_sent(&self) -> Option<&str> {
        self.sent.as_ref().map(|sent| sent.as_str())
    }

    /// Refuses a new password in `field` that is too short or too long. The contract bounds the size of the sent form
    /// only: preparation may make it shorter or longer.
    pub(crate) fn check_length(&self, field: &str) -> Result<(), Status> {
        let ([least, most], characters) = (CHARACTERS, self.prepared.chars().count());
        let invalid = |reason, message: String| Err(error::invalid_field(field, reason, &message));
        if characters < least {
            return invalid("PASSWORD_TOO_SHORT", format!("must have at least {least} characters"));
        }
        if characters > most {
            return invalid("PASSWORD_TOO_LONG", format!("must have at most {most} characters"));
        }
        Ok(())
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.prepared == other.prepared
    }
}

fn is_space(c: char) -> bool {
    CodePointMapData::<GeneralCategory>::new().get(c) == GeneralCategory::SpaceSeparator
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_one_password_are_equal() {
        let password = |text: &str| Password::new(text.to_owned());
        for (sent, prepared) in [
            ("Gru\u{308}\u{df}e", "Gr\u{fc}\u{df}e"),
            ("a\u{a0}b\u{3000}c", "a b c"),
            ("\u{212b}", "\u{c5}"),
            // Composition exclusions grow.
            ("\u{fb2c}", "\u{5e9}\u{5bc}\u{5c1}"),
        ] {
            assert_eq!(password(sent).prepared(), prepared);
            assert_eq!(password(sent).as_sent(), Some(sent));
            assert!(password(sent) == password(prepared));
            assert_eq!(password(prepared).as_sent(), None);
        }
        // Case, surrounding blanks, compatibility characters and invisible characters are kept.
        for same in ["Abc", " abc ", "x\u{b2}", "\u{fb01}sh", "a\u{200b}b"] {
            assert_eq!((password(same).prepared(), password(same).as_sent()), (same, None));
        }
    }

    #[test]
    fn length_is_counted_after_preparation() {
        let reason =
            |text: String| Password::new(text).check_length("password").err().map(|status| status.message().to_owned());
        assert_eq!(reason("u\u{308}".repeat(15)), None);
        assert_eq!(reason("u\u{308}".repeat(14)).as_deref(), Some("password: must have at least 15 characters"));
        assert_eq!(reason("u\u{308}".repeat(256)), None);
        assert_eq!(reason("u\u{308}".repeat(257)).as_deref(), Some("password: must have at most 256 characters"));
    }
}
