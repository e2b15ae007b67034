//! The configuration of second factors.

use std::time::Duration;

use kit::config::Span;
use serde::{Deserialize, Serialize};

use crate::store::MostAttempts;

/// The longest `issuer`: apps show it in one line, and the QR code stays small.
const ISSUER_CHARACTERS: usize = 64;

/// The section `[auth.factors]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FactorsConfig {
    /// The name of this server in authenticator apps.
    pub issuer: String,
    /// How long a sign-in waits for the second factor.
    pub challenge_lifetime: Span,
    /// Codes for one sign-in. Then the password is needed again.
    pub challenge_attempts: u32,
    /// How long a new authenticator app waits for its first code.
    pub enrolment_lifetime: Span,
    /// Roles that have no effect in sessions without a proof of the second factor.
    pub required_for_roles: Vec<String>,
    /// Wrong codes of the authenticator app in a row, after which only a recovery code or a new password helps.
    pub failures: u32,
}

impl Default for FactorsConfig {
    fn default() -> Self {
        Self {
            issuer: "Trellis".to_owned(),
            challenge_lifetime: Span(Duration::from_secs(5 * 60)),
            challenge_attempts: 5,
            enrolment_lifetime: Span(Duration::from_secs(15 * 60)),
            required_for_roles: Vec::new(),
            // NIST SP 800-63B-4, section 3.2.2: at most 100 consecutive failures.
            failures: 100,
        }
    }
}

impl FactorsConfig {
    /// Checks the rules that types cannot express.
    pub(super) fn check(&self) -> Result<(), String> {
        let is_shown = (1..=ISSUER_CHARACTERS).contains(&self.issuer.chars().count())
            && !self.issuer.contains(|sign: char| sign.is_control() || sign == ':');
        if is_shown {
            return Ok(());
        }
        Err(format!("auth.factors.issuer: 1 to {ISSUER_CHARACTERS} characters in one line, without a colon"))
    }

    /// The limits of attempts.
    pub(crate) fn most_attempts(&self) -> MostAttempts {
        MostAttempts { of_challenge: self.challenge_attempts, in_a_row: self.failures }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuer_is_what_apps_can_show() {
        let check = |issuer: &str| FactorsConfig { issuer: issuer.to_owned(), ..FactorsConfig::default() }.check();
        assert_eq!(check("Überall & Söhne"), Ok(()));
        for bad in ["", "a:b", "a\nb", &"x".repeat(65)] {
            assert!(check(bad).unwrap_err().starts_with("auth.factors.issuer: "), "{bad}");
        }
    }
}
