//! The configuration of databases.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::Migrated;
use crate::bulkhead::Bounds;
use kit::{config::Span, keyring::Keyring};

/// The section `[database]`: the timeouts and queues of services in front of their databases.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long a call waits for a free connection. SQLite: how long a change waits for another process that has locked
    /// the file.
    pub acquire_timeout: Span,
    /// How long a statement waits for a lock, and how long a change waits for other changes of the same resource. A
    /// change may wait for both. SQLite: how long a change waits for the only writer.
    pub lock_timeout: Span,
    /// How long a statement may take. SQLite: how long a read waits for a free connection.
    pub statement_timeout: Span,
    /// How long a transaction may be open without a statement. PostgreSQL then ends it and its connection, so that a
    /// stopped process holds no locks.
    pub idle_transaction_timeout: Span,
    /// How often PostgreSQL checks during a statement whether the client is still connected. `0s`: never, for systems
    /// without support.
    pub client_check: Span,
    /// How long PostgreSQL keeps a connection whose client does not respond to TCP.
    pub peer_timeout: Span,
    /// Changes of one resource (a conversation, an account) that hold a connection at once.
    pub row_writers: usize,
    /// Changes of one resource that wait, without a connection; one more is RESOURCE_EXHAUSTED.
    pub row_queue: usize,
    /// How long a migration waits for a lock on a table.
    pub migration_lock_timeout: Span,
    /// How long one statement of a migration may take. `0s`: unlimited.
    pub migration_statement_timeout: Span,
    /// How often deleted data is removed from SQLite's write-ahead log.
    pub purge_interval: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            acquire_timeout: Span(Duration::from_secs(1)),
            lock_timeout: Span(Duration::from_millis(1_500)),
            statement_timeout: Span(Duration::from_secs(4)),
            idle_transaction_timeout: Span(Duration::from_secs(3)),
            client_check: Span(Duration::from_secs(1)),
            peer_timeout: Span(Duration::from_secs(15)),
            row_writers: 2,
            row_queue: 256,
            migration_lock_timeout: Span(Duration::from_secs(10)),
            migration_statement_timeout: Span(Duration::from_secs(10 * 60)),
            purge_interval: Span(Duration::from_secs(10)),
        }
    }
}

impl Config {
    /// Returns an error for waits that contradict each other, or `shortest`, the shortest deadline of a method: waits for
    /// the database must end before it, so that the caller gets the reason.
    pub fn check(&self, shortest: Duration) -> Result<(), String> {
        let waits = [
            ("acquire_timeout", self.acquire_timeout),
            ("lock_timeout", self.lock_timeout),
            ("statement_timeout", self.statement_timeout),
            ("idle_transaction_timeout", self.idle_transaction_timeout),
        ];
        for (key, wait) in waits {
            if wait.0 >= shortest {
                let shortest = Span(shortest);
                return Err(format!(
                    "database.{key}: {wait} is not below {shortest}, the shortest deadline of a method; set a shorter time"
                ));
            }
        }
        // A change waits for other changes, for a connection, and for the lock. If that took longer than the deadline,
        // the caller would get DEADLINE_EXCEEDED instead of LOCKED.
        let sum = Span(self.acquire_timeout.0 + 2 * self.lock_timeout.0);
        if sum.0 >= shortest {
            return Err(format!(
                "database.acquire_timeout and database.lock_timeout: {} + 2 × {} = {sum} is not below {}, the shortest \
                 deadline of a method; set a shorter time for one of them",
                self.acquire_timeout,
                self.lock_timeout,
                Span(shortest)
            ));
        }
        if self.lock_timeout.0 >= self.statement_timeout.0 {
            let (lock, statement) = (self.lock_timeout, self.statement_timeout);
            return Err(format!("database.lock_timeout: {lock} is not below database.statement_timeout, {statement}"));
        }
        Ok(())
    }

    /// The bounds for changes of one resource.
    pub(super) fn bounds(&self) -> Bounds {
        Bounds { running: self.row_writers, waiting: self.row_queue, patience: self.lock_timeout.0 }
    }
}

/// What the opening of a store does with a schema that is older than this program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OlderSchema {
    /// It is brought up to date.
    #[default]
    Migrate,
    /// The store is not opened, and nothing is changed: for commands that only read.
    Refuse,
}

/// The settings of one service's store.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Connections to PostgreSQL.
    pub pool_size: u32,
    /// The settings of all databases.
    pub database: Config,
    /// The keys that encrypt the keys of persons in the audit log.
    pub audit_keys: Keyring,
    /// What happens to an older schema.
    pub older_schema: OlderSchema,
    /// Set when the store is opened: what its migrations did.
    pub migrated: Arc<OnceLock<Migrated>>,
}

/// With the default settings of all databases.
impl From<u32> for Settings {
    fn from(pool_size: u32) -> Self {
        Self { pool_size, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.check(Duration::from_secs(5)).unwrap_err()
    }

    #[test]
    fn each_wait_must_be_shorter_than_the_shortest_deadline() {
        assert_eq!(Config::default().check(Duration::from_secs(5)), Ok(()));
        let five = Span(Duration::from_secs(5));
        for (key, line) in [
            ("acquire", refused(|c| c.acquire_timeout = five)),
            ("lock", refused(|c| c.lock_timeout = five)),
            ("statement", refused(|c| c.statement_timeout = five)),
            ("idle_transaction", refused(|c| c.idle_transaction_timeout = five)),
        ] {
            let why = "5s is not below 5s, the shortest deadline of a method; set a shorter time";
            assert_eq!(line, format!("database.{key}_timeout: {why}"));
        }
        let line = refused(|c| c.statement_timeout = c.lock_timeout);
        assert_eq!(line, "database.lock_timeout: 1500ms is not below database.statement_timeout, 1500ms");
    }

    #[test]
    fn sum_of_waits_must_be_shorter_than_the_shortest_deadline() {
        let two = Span(Duration::from_secs(2));
        let line = refused(|c| c.lock_timeout = two);
        let wanted = "database.acquire_timeout and database.lock_timeout: 1s + 2 × 2s = 5s is not below 5s, the \
                      shortest deadline of a method; set a shorter time for one of them";
        assert_eq!(line, wanted);
        // One key alone would be accepted.
        let one = Span(Duration::from_secs(1));
        let config = Config { acquire_timeout: two, lock_timeout: one, ..Config::default() };
        assert_eq!(config.check(Duration::from_secs(5)), Ok(()));
    }
}
