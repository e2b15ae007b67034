//! E-mail addresses, in the one form in which they are stored and compared.

use std::fmt;

use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{DefaultIgnorableCodePoint, GeneralCategory, JoinControl},
};
use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use proto::validate::BLANK;
use unicode_normalization::UnicodeNormalization as _;

use super::AccountId;

/// RFC 5321, section 4.5.3.1.3: a path has at most 256 bytes, two of which are its brackets.
const MOST_BYTES: usize = 254;
/// Characters allowed before the @ besides letters and digits: those of `atext` (RFC 5322), and dots.
const LOCAL_SIGNS: &str = ".!#$%&'*+/=?^_`{|}~-";

/// An e-mail address in the one form in which it is stored and compared: the part before the @ in lower case and NFC
/// (RFC 6531), the domain in lower case and in punycode (UTS #46, nontransitional).
///
/// Both databases compare bytes: all folding is done here. Rows of earlier versions need no migration: those versions
/// accepted ASCII only and stored it in lower case, which is this form. The exception are domains whose punycode is
/// invalid, and [`EmailAddress::lookup`] finds those.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EmailAddress(String);

/// Why a text is not an e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEmail {
    /// It does not have the form `name@domain`.
    #[error("must be an e-mail address such as ada@example.com")]
    Form,
    /// It has characters that are invisible, reorder text, or have no meaning in Unicode.
    #[error("must not contain invisible characters; delete it and type it by hand")]
    Hidden,
    /// No domain can have this name.
    #[error("must end with a valid domain after the @, such as example.com")]
    Domain,
    /// It is longer than mail servers accept.
    #[error("must have at most 254 bytes with its domain in punycode; use a shorter address")]
    TooLong,
}

impl EmailAddress {
    /// Parses an address as typed by a person; surrounding white space is ignored.
    pub fn parse(text: &str) -> Result<Self, InvalidEmail> {
        let (local, domain) = text.trim().rsplit_once('@').ok_or(InvalidEmail::Form)?;
        if has_hidden(local, domain) {
            return Err(InvalidEmail::Hidden);
        }
        if local.is_empty() || !local.chars().all(may_stand_before_at) {
            return Err(InvalidEmail::Form);
        }
        let domain = Uts46::new()
            .to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
            .map_err(|_| InvalidEmail::Domain)?;
        // The lower case of a composed letter may be decomposed, so normalize again.
        let local: String = local.nfc().collect::<String>().to_lowercase().nfc().collect();
        let address = format!("{local}@{domain}");
        if address.len() > MOST_BYTES {
            return Err(InvalidEmail::TooLong);
        }
        Ok(Self(address))
    }

    /// The address to look up an account by. An invalid address is looked up like any other: an earlier version may
    /// have accepted it, and otherwise the response is the same as for an unknown address. A text without an @ finds
    /// nothing, not even the placeholder of an account without an address.
    pub fn lookup(text: &str) -> Self {
        let typed = || Self(if text.contains('@') { text.trim().to_lowercase() } else { String::new() });
        Self::parse(text).unwrap_or_else(|_| typed())
    }

    /// The address from a database row.
    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }

    /// Replaces a deleted account's address, which becomes free again. It has no @, so it equals no real address.
    pub fn deleted(account: AccountId) -> Self {
        Self(format!("deleted:{}", account.0))
    }

    /// Replaces the address of an account that lost it to its owner. It has no @ either.
    pub fn released(account: AccountId) -> Self {
        Self(format!("released:{}", account.0))
    }

    /// Whether it is an address, and not a placeholder.
    pub fn is_real(&self) -> bool {
        self.0.contains('@')
    }

    /// The address for a reader who may not be its owner: `a***@example.org`.
    pub fn masked(&self) -> String {
        let (local, domain) = self.0.rsplit_once('@').unwrap_or_default();
        format!("{}***@{domain}", local.chars().next().unwrap_or_default())
    }

    /// The text of the address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Hides the address from logs.
impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress(***)")
    }
}

fn may_stand_before_at(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphanumeric() || LOCAL_SIGNS.contains(c) } else { !c.is_whitespace() }
}

/// Joiners in a domain are left to IDNA, which allows them where they are visible (RFC 5892, appendix A), as in
/// Persian.
fn has_hidden(local: &str, domain: &str) -> bool {
    let is_joiner = |c| CodePointSetData::new::<JoinControl>().contains(c);
    local.chars().any(is_hidden) || domain.chars().any(|c| is_hidden(c) && !is_joiner(c))
}

fn is_hidden(c: char) -> bool {
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
        || BLANK.contains(&c)
        || matches!(
            category,
            GeneralCategory::Control
                | GeneralCategory::Format
                | GeneralCategory::LineSeparator
                | GeneralCategory::ParagraphSeparator
                | GeneralCategory::PrivateUse
                | GeneralCategory::Unassigned
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, InvalidEmail> {
        EmailAddress::parse(text).map(|address| address.0)
    }

    #[test]
    fn equal_addresses_have_one_stored_form() {
        for (text, expected) in [
            ("ada@example.com", "ada@example.com"),
            (" Ada.Lovelace+News@Example.COM ", "ada.lovelace+news@example.com"),
            ("ada@localhost", "ada@localhost"),
            ("ada@ex-ample.com", "ada@ex-ample.com"),
            ("ada@ab--cd.com", "ada@ab--cd.com"),
            // Unicode and punycode, in either case and normalization form.
            ("ada@b\u{fc}cher.example", "ada@xn--bcher-kva.example"),
            ("ada@bu\u{308}cher.example", "ada@xn--bcher-kva.example"),
            ("ada@B\u{dc}CHER.example", "ada@xn--bcher-kva.example"),
            ("ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
            ("ada@XN--BCHER-KVA.EXAMPLE", "ada@xn--bcher-kva.example"),
            // The sharp s is a separate letter (UTS #46, nontransitional).
            ("ada@fa\u{df}.de", "ada@xn--fa-hia.de"),
            ("ada@\u{4f8b}\u{5b50}\u{3002}\u{6d4b}\u{8bd5}", "ada@xn--fsqu00a.xn--0zwm56d"),
            ("ada@\u{1f4a9}.la", "ada@xn--ls8h.la"),
            // A joiner that Persian needs.
            ("ada@\u{646}\u{627}\u{645}\u{647}\u{200c}\u{627}\u{6cc}.com", "ada@xn--mgba3gch31f060k.com"),
            // Before the @.
            ("J\u{f6}rg@example.com", "j\u{f6}rg@example.com"),
            ("JO\u{308}RG@example.com", "j\u{f6}rg@example.com"),
            ("\u{7528}\u{6237}@example.com", "\u{7528}\u{6237}@example.com"),
            ("\u{39f}\u{394}\u{39f}\u{3a3}@example.com", "\u{3bf}\u{3b4}\u{3bf}\u{3c2}@example.com"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(expected), "{text}");
            assert_eq!(parsed(expected).as_deref(), Ok(expected), "the stored form is stable");
        }
    }

    #[test]
    fn invalid_address_is_refused() {
        use InvalidEmail::{Domain, Form, Hidden, TooLong};
        for (text, expected) in [
            ("", Form),
            ("ada", Form),
            ("@example.com", Form),
            ("ada@bob@example.com", Form),
            ("ada lovelace@example.com", Form),
            ("ada\u{a0}lovelace@example.com", Form),
            ("\"ada\"@example.com", Form),
            ("ada@", Domain),
            ("ada@example.com.", Domain),
            ("ada@example..com", Domain),
            ("ada@.example.com", Domain),
            ("ada@-example.com", Domain),
            ("ada@example-.com", Domain),
            ("ada@exam_ple.com", Domain),
            ("ada@exa mple.com", Domain),
            ("ada@[127.0.0.1]", Domain),
            ("ada@xn--a", Domain),
            ("ada@x\u{0}.com", Hidden),
            ("ada@example.com\nbcc: bob@example.com", Hidden),
            ("a\u{200b}da@example.com", Hidden),
            ("a\u{2800}da@example.com", Hidden),
            ("ada@exam\u{2800}ple.com", Hidden),
            ("a\u{202e}da@example.com", Hidden),
            ("a\u{200d}da@example.com", Hidden),
            ("a\u{115f}da@example.com", Hidden),
            ("a\u{fe0f}da@example.com", Hidden),
            ("a\u{e000}da@example.com", Hidden),
            ("ada@exam\u{200b}ple.com", Hidden),
            ("ada@exam\u{ad}ple.com", Hidden),
            ("ada@exam\u{202e}ple.com", Hidden),
            // A joiner that IDNA does not allow here.
            ("ada@exam\u{200c}ple.com", Domain),
        ] {
            assert_eq!(parsed(text), Err(expected), "{text:?}");
        }
        assert_eq!(parsed(&format!("ada@{}.com", "x".repeat(64))), Err(Domain), "a label of 64");
        assert_eq!(parsed(&format!("{}@example.com", "x".repeat(243))), Err(TooLong));
        assert_eq!(parsed(&format!("{}@example.com", "\u{fc}".repeat(122))), Err(TooLong), "bytes count");
        assert!(parsed(&format!("{}@example.com", "\u{fc}".repeat(121))).is_ok());
    }

    #[test]
    fn lookup_finds_rows_of_earlier_versions() {
        assert_eq!(EmailAddress::lookup(" Ada@B\u{fc}cher.example").0, "ada@xn--bcher-kva.example");
        // Earlier versions accepted this domain, though its punycode is invalid.
        assert_eq!(EmailAddress::lookup("Ada@xn--a").0, "ada@xn--a");
    }
}
