//! E-mails that the service sends, and the tokens of their links.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use kit::{ClockAndRng, Timestamp};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{AccountId, Client, EmailAddress, TokenHash};

/// Identifies the token for secret scanners and people.
const PREFIX: &str = "trm_";
/// 256 bits. OWASP Forgot Password Cheat Sheet: long enough to resist guessing, from a secure generator; 128 bits would
/// be.
const BYTES: usize = 32;
/// The longest language tag that is stored. RFC 5646, section 4.4.1 recommends room for 35 characters.
const LANGUAGE_BYTES: usize = 35;

/// What a mail is about. The name is part of the database and of the names of templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailKind {
    /// A link to set a new password.
    PasswordReset,
    /// A link to verify the address, after a sign-up or on demand.
    EmailVerification,
    /// To a new address: a link that confirms the change.
    EmailChange,
    /// To the current address: a change was asked for.
    EmailChangeRequested,
    /// To the previous address: a link that undoes the change.
    EmailChanged,
    /// The password was changed or reset.
    PasswordChanged,
    /// A sign-in from a network that none of the account's newest sessions has used.
    NewDevice,
    /// An old refresh token was presented, and its session was ended.
    SessionEnded,
}

impl MailKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::PasswordReset,
        Self::EmailVerification,
        Self::EmailChange,
        Self::EmailChangeRequested,
        Self::EmailChanged,
        Self::PasswordChanged,
        Self::NewDevice,
        Self::SessionEnded,
    ];

    /// The name in the database, and of the templates.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PasswordReset => "password_reset",
            Self::EmailVerification => "email_verification",
            Self::EmailChange => "email_change",
            Self::EmailChangeRequested => "email_change_requested",
            Self::EmailChanged => "email_changed",
            Self::PasswordChanged => "password_changed",
            Self::NewDevice => "new_device",
            Self::SessionEnded => "session_ended",
        }
    }

    /// Reads the name in the database.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The part of the page's address that the link of the mail opens. `None`: the mail has no link.
    pub fn page(self) -> Option<&'static str> {
        match self {
            Self::PasswordReset => Some("reset-password"),
            Self::EmailVerification => Some("verify-email"),
            Self::EmailChange => Some("confirm-email"),
            Self::EmailChanged => Some("undo-email-change"),
            Self::EmailChangeRequested | Self::PasswordChanged | Self::NewDevice | Self::SessionEnded => None,
        }
    }

    /// Whether its link proves another address than that of the account: a new or a previous one.
    pub fn proves_another_address(self) -> bool {
        matches!(self, Self::EmailChange | Self::EmailChanged)
    }
}

/// A mail before it is stored.
#[derive(Debug, Clone)]
pub struct NewMail {
    /// Its id, and the id of the job that sends it.
    pub id: Uuid,
    /// What it is about.
    pub kind: MailKind,
    /// The account. `None`: the account with the address, if there is one when the mail is written.
    pub account: Option<AccountId>,
    /// Where it goes. `None`: to the verified address of the account; without one, nowhere.
    pub recipient: Option<EmailAddress>,
    /// The language that the client prefers, if the account has none.
    pub language: Language,
    /// Further values of its text.
    pub details: MailDetails,
    /// When it was caused.
    pub create_time: Timestamp,
}

impl NewMail {
    /// A mail that `client` causes, of no account yet.
    pub fn new(id: Uuid, kind: MailKind, client: Client, now: Timestamp) -> Self {
        let Client { user_agent, address, language } = client;
        let details = MailDetails { user_agent, address, ..MailDetails::default() };
        Self { id, kind, account: None, recipient: None, language, details, create_time: now }
    }

    /// The same mail of an account.
    #[must_use]
    pub fn of(self, account: AccountId) -> Self {
        Self { account: Some(account), ..self }
    }

    /// The same mail to another recipient.
    #[must_use]
    pub fn to(self, recipient: EmailAddress) -> Self {
        Self { recipient: Some(recipient), ..self }
    }
}

/// Values of the text of a mail. Stored as JSON: later releases read it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MailDetails {
    /// The `user-agent` of the client that caused it.
    pub user_agent: String,
    /// The address of that client.
    pub address: String,
    /// The new e-mail address of the account, masked.
    pub new_email: String,
}

/// A stored mail.
#[derive(Debug, Clone)]
pub struct StoredMail {
    /// Its id.
    pub id: Uuid,
    /// What it is about.
    pub kind: MailKind,
    /// The account, if it is known.
    pub account: Option<AccountId>,
    /// Where it goes.
    pub recipient: EmailAddress,
    /// The language of the account, or else of the client that caused it.
    pub language: Language,
    /// Further values of its text.
    pub details: MailDetails,
    /// The encrypted token of its link, once there is one.
    pub sealed_token: Option<Vec<u8>>,
    /// When the link expires.
    pub expire_time: Option<Timestamp>,
    /// When it was caused.
    pub create_time: Timestamp,
}

/// The link of a mail before it is stored.
#[derive(Debug)]
pub struct NewLink {
    /// The hash of its token.
    pub hash: TokenHash,
    /// The token, encrypted for further attempts to send the mail.
    pub sealed: Vec<u8>,
    /// When it expires.
    pub expire_time: Timestamp,
}

/// The address of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// The address, or a placeholder.
    pub address: EmailAddress,
    /// When its owner verified it.
    pub verify_time: Option<Timestamp>,
}

/// A mail in the mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptMail {
    /// Its id.
    pub id: Uuid,
    /// Where it would go.
    pub recipient: String,
    /// Its subject.
    pub subject: String,
    /// Its plain text.
    pub text: String,
    /// When it was caused.
    pub create_time: Timestamp,
}

/// The token of a link in the clear: random, so that a plain hash of it is enough. It is looked up by that hash: the
/// time of the lookup depends on the hash only, which reveals nothing of the token.
#[derive(Clone, PartialEq, Eq)]
pub struct MailToken(Zeroizing<String>);

impl MailToken {
    /// A new token.
    pub fn generate(clock_rng: &ClockAndRng) -> Self {
        Self::from(format!("{PREFIX}{}", BASE64URL.encode(clock_rng.random::<BYTES>())))
    }

    /// The token in the clear, for the link.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The hash that is stored.
    pub fn hash(&self) -> TokenHash {
        TokenHash(digest(&SHA256, self.0.as_bytes()).as_ref().to_vec())
    }
}

impl From<String> for MailToken {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for MailToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MailToken(***)")
    }
}

/// The tag of a language, such as `de-AT`, in lower case. Empty: unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Language(String);

impl Language {
    /// The language that an `accept-language` header (RFC 9110, section 12.5.4) prefers.
    pub fn preferred(header: &str) -> Self {
        let weighted = header.split(',').take(16).filter_map(|item| {
            let (tag, parameters) = item.split_once(';').unwrap_or((item, ""));
            let weight = match parameters.trim().strip_prefix("q=") {
                Some(weight) => weight.parse::<f32>().ok()?,
                None => 1.0,
            };
            let tag = Self::stored(tag.trim());
            (weight > 0.0 && !tag.0.is_empty()).then_some((tag, weight))
        });
        // Of equal weights, the first.
        let best = weighted.reduce(|best, next| if next.1 > best.1 { next } else { best });
        best.map(|(tag, _)| tag).unwrap_or_default()
    }

    /// The language from a database row. Any other text than a tag counts as unknown.
    pub fn stored(tag: &str) -> Self {
        let is_tag = tag.len() <= LANGUAGE_BYTES && tag.split('-').all(is_subtag);
        Self(if is_tag { tag.to_ascii_lowercase() } else { String::new() })
    }

    /// The tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tag, then its shorter forms: `de-at`, `de`.
    pub fn forms(&self) -> impl Iterator<Item = &str> {
        let whole = Some(self.as_str()).filter(|tag| !tag.is_empty());
        std::iter::successors(whole, |tag| tag.rsplit_once('-').map(|(shorter, _)| shorter))
    }
}

fn is_subtag(text: &str) -> bool {
    (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferred_language_has_the_greatest_weight() {
        let of = |header| Language::preferred(header).0;
        assert_eq!(of("de-AT, de;q=0.9, en;q=0.8"), "de-at");
        assert_eq!(of("en;q=0.2,fr ; q=0.9"), "fr");
        assert_eq!((of("*"), of(""), of("en;q=0"), of("en;q=x")), Default::default());
        assert_eq!(of(&"x".repeat(100)), "");
        assert_eq!(Language::stored("de-AT").forms().collect::<Vec<_>>(), ["de-at", "de"]);
        assert_eq!(Language::default().forms().count(), 0);
    }

    #[test]
    fn debug_output_hides_the_token() {
        let token = MailToken::generate(&ClockAndRng::system());
        assert!(token.expose().starts_with("trm_") && token.expose().len() == 47);
        assert_eq!(format!("{token:?}"), "MailToken(***)");
    }

    #[test]
    fn kinds_have_the_names_of_their_templates() {
        for kind in MailKind::ALL {
            assert_eq!(MailKind::parse(kind.as_str()), Some(kind));
        }
        let stored: MailDetails = serde_json::from_str(r#"{"address":"10.0.0.1"}"#).unwrap();
        assert_eq!(stored.address, "10.0.0.1");
    }
}
