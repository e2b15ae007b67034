//! What can be configured.

use std::time::Duration;

use kit::config::{Secret, Span};
use serde::{Deserialize, Serialize};

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
            messaging_timeout: Span(Duration::from_secs(3)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Directory::{Auto, Contacts, Everybody};

    #[test]
    fn directory_without_a_choice_depends_on_the_process() {
        assert_eq!((Auto.in_force(true), Auto.in_force(false)), (Everybody, Contacts));
        for chosen in [Contacts, Everybody] {
            assert_eq!((chosen.in_force(true), chosen.in_force(false)), (chosen, chosen));
        }
    }
}
