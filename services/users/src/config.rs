//! The configuration of users.

use std::time::Duration;

use kit::config::{Secret, Span};
use serde::{Deserialize, Serialize};

use crate::domain::Reserved;

/// The section `[users]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The address on which gRPC is served.
    pub listen: String,
    /// `postgres://…`. Empty: SQLite in the data folder.
    pub database_url: Secret,
    /// Connections to PostgreSQL.
    pub pool_size: u32,
    /// Which users the directory shows.
    pub directory: Directory,
    /// Handles that no user may take. Handles that look like them are reserved too.
    pub reserved_handles: Vec<String>,
    /// More of them, in addition to `reserved_handles`.
    pub more_reserved_handles: Vec<String>,
    /// How long a former handle stays reserved for the user who has changed it. Zero: not at all.
    pub handle_cooling: Span,
    /// The most former handles that are reserved for one user at once.
    pub cooling_handles: u32,
    /// The timeout of calls to the messaging service for a user's contacts, if the directory shows contacts only.
    pub messaging_timeout: Span,
}

/// Which users the directory shows to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Directory {
    /// All users if all services run in one process, else contacts.
    Auto,
    /// The users who share a conversation with the caller, and the user whose exact handle the caller searches for.
    Contacts,
    /// All users.
    All,
}

impl Directory {
    /// Resolves `Auto` for a process that runs all services or not. In one process, users who try Trellis on one
    /// machine find each other; a service on its own shows no users to strangers.
    #[must_use]
    pub fn in_force(self, all_parts: bool) -> Self {
        match self {
            Self::Auto if all_parts => Self::All,
            Self::Auto => Self::Contacts,
            chosen => chosen,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7001".to_owned(),
            database_url: Secret::default(),
            pool_size: 10,
            directory: Directory::Auto,
            reserved_handles: RESERVED.map(str::to_owned).into(),
            more_reserved_handles: Vec::new(),
            handle_cooling: Span(Duration::from_secs(90 * 86_400)),
            cooling_handles: 3,
            messaging_timeout: Span(Duration::from_secs(3)),
        }
    }
}

impl Config {
    /// Checks the rules that types cannot express.
    pub fn check(&self) -> Result<(), String> {
        let lists =
            [("reserved_handles", &self.reserved_handles), ("more_reserved_handles", &self.more_reserved_handles)];
        for (key, names) in lists {
            if let Some(name) = names.iter().find(|name| !is_name(name)) {
                return Err(format!(
                    "users.{key}: {name:?} is not a handle: use lowercase letters, digits and underscores"
                ));
            }
        }
        Ok(())
    }

    /// The handles that no user may take.
    pub(crate) fn reserved(&self) -> Reserved {
        Reserved::new(self.reserved_handles.iter().chain(&self.more_reserved_handles))
    }
}

/// Whether the text has only characters of handles.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Names of the operator, of roles, and of addresses that RFC 2142 reserves.
const RESERVED: [&str; 38] = [
    "abuse",
    "accounts",
    "admin",
    "administrator",
    "admins",
    "billing",
    "everyone",
    "help",
    "helpdesk",
    "hostmaster",
    "info",
    "legal",
    "mailer_daemon",
    "mod",
    "moderation",
    "moderator",
    "moderators",
    "mods",
    "no_reply",
    "official",
    "operator",
    "payments",
    "postmaster",
    "press",
    "privacy",
    "root",
    "safety",
    "security",
    "service",
    "staff",
    "superuser",
    "support",
    "sysadmin",
    "system",
    "trellis",
    "trust",
    "verified",
    "webmaster",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_reserved_handle_is_refused_with_its_key() {
        assert_eq!(Config::default().check(), Ok(()));
        let config = Config { more_reserved_handles: vec!["Acme".to_owned()], ..Config::default() };
        let error = config.check().unwrap_err();
        assert!(error.starts_with("users.more_reserved_handles: \"Acme\" is not a handle"), "{error}");
    }

    #[test]
    fn automatic_directory_depends_on_the_process() {
        use Directory::{All, Auto, Contacts};
        assert_eq!((Auto.in_force(true), Auto.in_force(false)), (All, Contacts));
        for chosen in [Contacts, All] {
            assert_eq!((chosen.in_force(true), chosen.in_force(false)), (chosen, chosen));
        }
    }

    #[test]
    fn operator_extends_or_replaces_the_reserved_handles() {
        let acme = || vec!["acme".to_owned()];
        let extended = Config { more_reserved_handles: acme(), ..Config::default() }.reserved();
        assert!(extended.contains("acme") && extended.contains("admin"));
        let replaced = Config { reserved_handles: acme(), ..Config::default() }.reserved();
        assert!(replaced.contains("acme") && !replaced.contains("admin"));
    }
}
