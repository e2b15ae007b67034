//! What can be configured.

use std::time::Duration;

use kit::config::{Secret, Span};
use serde::{Deserialize, Serialize};

use crate::domain::Reserved;

/// The section `[users]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where gRPC is served.
    pub listen: String,
    /// `postgres://…`. Empty: SQLite in the data folder.
    pub database_url: Secret,
    /// Connections to PostgreSQL.
    pub pool_size: u32,
    /// Whom the directory shows.
    pub directory: Directory,
    /// Handles that no user may take, nor what looks like them.
    pub reserved_handles: Vec<String>,
    /// As `reserved_handles`: in addition to them.
    pub more_reserved_handles: Vec<String>,
    /// For how long a handle that a user changed for another one is free for that user only. Zero: for no time.
    pub handle_cooling: Span,
    /// How many handles may wait for one user at once.
    pub cooling_handles: u32,
    /// How long the messaging service gets to tell a user's contacts, where the directory shows only those.
    pub messaging_timeout: Span,
}

/// Whom the directory shows to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Directory {
    /// Everybody where all parts run in one process, else contacts.
    Auto,
    /// The people that one shares a conversation with, and whoever's exact handle one knows.
    Contacts,
    /// Everybody.
    Everybody,
}

impl Directory {
    /// The choice that is in force, in a process that runs all parts or not. Without one, a newcomer who tries Trellis on
    /// one machine finds the others; a service on its own shows strangers to nobody.
    #[must_use]
    pub fn in_force(self, all_parts: bool) -> Self {
        match self {
            Self::Auto if all_parts => Self::Everybody,
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
    /// What types cannot say.
    pub fn check(&self) -> Result<(), String> {
        let lists =
            [("reserved_handles", &self.reserved_handles), ("more_reserved_handles", &self.more_reserved_handles)];
        for (key, names) in lists {
            if let Some(name) = names.iter().find(|name| !is_name(name)) {
                return Err(format!("users.{key}: {name:?} is no handle: use small letters, digits and underscores"));
            }
        }
        if self.cooling_handles == 0 {
            return Err(
                "users.cooling_handles: at least 1; `users.handle_cooling = \"0s\"` ends the waiting".to_owned()
            );
        }
        Ok(())
    }

    /// The handles that no user may take.
    pub(crate) fn reserved(&self) -> Reserved {
        Reserved::new(self.reserved_handles.iter().chain(&self.more_reserved_handles))
    }
}

/// Whether a handle could be spelled so.
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
        let said = config.check().unwrap_err();
        assert!(said.starts_with("users.more_reserved_handles: \"Acme\" is no handle"), "{said}");
        let said = Config { cooling_handles: 0, ..Config::default() }.check().unwrap_err();
        assert!(said.starts_with("users.cooling_handles: at least 1"), "{said}");
    }

    #[test]
    fn directory_without_a_choice_depends_on_the_process() {
        use Directory::{Auto, Contacts, Everybody};
        assert_eq!((Auto.in_force(true), Auto.in_force(false)), (Everybody, Contacts));
        for chosen in [Contacts, Everybody] {
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
