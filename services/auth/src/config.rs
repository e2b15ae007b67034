//! What can be configured.

use std::time::Duration;

use kit::{
    config::{Secret, Span},
    keys::LONGEST_ACCESS,
    limiter::Quota,
};
use serde::{Deserialize, Serialize};

/// The section `[auth]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where gRPC is served.
    pub listen: String,
    /// `postgres://…`. Empty: SQLite in the data folder.
    pub database_url: Secret,
    /// Connections to PostgreSQL.
    pub pool_size: u32,
    /// The folder with auth's secrets, as `trellis keys auth` writes it. Empty: they are made in the data folder.
    pub keys_dir: String,
    /// How long an access token is good: what a revocation may take to be felt where the hint of it is lost. At most
    /// an hour.
    pub access_lifetime: Span,
    /// How long a session lives without being used.
    pub refresh_lifetime: Span,
    /// How long a session lives at all.
    pub session_lifetime: Span,
    /// How long a used refresh token still returns its unused successor, 30s to 1h: longer than the timeout of every
    /// client, so that a lost response ends no session. See [`crate::domain::refresh`] for why this is safe.
    pub refresh_grace: Span,
    /// How long the users service gets during a sign-up.
    pub users_timeout: Span,
    /// How often the outbox is looked into without being told to: what a deletion may take to go on after a failure
    /// elsewhere, at least.
    pub outbox_interval: Span,
    /// Passwords that are hashed at once; each takes 19 MiB meanwhile. 0: one a core of the CPU quota, and
    /// no more than take half of the memory limit together.
    pub hashing_threads: usize,
    /// Passwords from unknown networks that wait for their turn; one more is refused as RESOURCE_EXHAUSTED.
    pub hashing_queue: usize,
    /// Passwords from networks from which the account was used before, and of sessions, that wait for their turn. They
    /// have a queue of their own, and of several threads one.
    pub hashing_queue_known: usize,
    /// Attempts to sign in to one account from one address (and `limits.networks` as many from wider networks), in each `attempts_by_address_period`: room for mistakes,
    /// none for guessing (OWASP ASVS 5, 6.3.1).
    pub attempts_by_address: u32,
    /// See `attempts_by_address`.
    pub attempts_by_address_period: Span,
    /// Attempts to sign in to one account from all networks together from which nobody has signed in to it, in each
    /// `attempts_period`. Networks and sessions that have keep their own, so that strangers lock nobody out.
    pub attempts: u32,
    /// See `attempts`.
    pub attempts_period: Span,
    /// Attempts from one address at whatever account (and `limits.networks` as many from wider networks), in each
    /// `attempts_by_address_period`.
    pub attempts_from_address: u32,
    /// Failed attempts of all unknown networks together in each `failures_period`. One more begins a strict regime for
    /// unknown networks, which lasts for `failures_period` after the last such failure.
    pub failures: u32,
    /// See `failures`.
    pub failures_period: Span,
    /// In the strict regime: attempts from one unknown address at whatever account (and `limits.networks` as many from
    /// wider networks), in each `attempts_by_address_period`.
    pub strict_attempts: u32,
    /// How often one refresh token may be presented, in each `refreshes_period`.
    pub refreshes: u32,
    /// Refresh tokens that one address may present, in each `refreshes_period`.
    pub refreshes_from_address: u32,
    /// See `refreshes`.
    pub refreshes_period: Span,
}

impl Default for Config {
    fn default() -> Self {
        let days = |days: u64| Span(Duration::from_secs(days * 86_400));
        Self {
            listen: "127.0.0.1:7002".to_owned(),
            database_url: Secret::default(),
            pool_size: 10,
            keys_dir: String::new(),
            access_lifetime: Span(Duration::from_secs(15 * 60)),
            refresh_lifetime: days(30),
            session_lifetime: days(180),
            refresh_grace: Span(Duration::from_secs(120)),
            users_timeout: Span(Duration::from_secs(5)),
            outbox_interval: Span(Duration::from_secs(2)),
            hashing_threads: 0,
            hashing_queue: 64,
            hashing_queue_known: 64,
            attempts_by_address: 10,
            attempts_by_address_period: Span(Duration::from_secs(15 * 60)),
            attempts: 100,
            attempts_period: Span(Duration::from_secs(3_600)),
            attempts_from_address: 300,
            failures: 600,
            failures_period: Span(Duration::from_secs(60)),
            strict_attempts: 3,
            refreshes: 60,
            refreshes_from_address: 600,
            refreshes_period: Span(Duration::from_secs(60)),
        }
    }
}

/// RefreshToken's deadline is 10 s, the timeout of the SDK 20 s.
const GRACES: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(3_600)];

impl Config {
    /// What types cannot say.
    pub fn check(&self) -> Result<(), String> {
        if self.access_lifetime.0 > LONGEST_ACCESS {
            return Err("auth.access_lifetime: at most 1h, so that ended sessions can be remembered".to_owned());
        }
        let [least, most] = GRACES;
        if !(least..=most).contains(&self.refresh_grace.0) {
            let grace = self.refresh_grace;
            return Err(format!("auth.refresh_grace: {grace} is not between {} and {}", Span(least), Span(most)));
        }
        Ok(())
    }

    /// How often one account may be tried from one address.
    pub(crate) fn attempts_by_address(&self) -> Quota {
        Quota::new(self.attempts_by_address, self.attempts_by_address_period.0, self.attempts_by_address)
    }

    /// How often one account may be tried by strangers.
    pub(crate) fn attempts(&self) -> Quota {
        Quota::new(self.attempts, self.attempts_period.0, self.attempts)
    }

    /// How often one address may try.
    pub(crate) fn attempts_from_address(&self) -> Quota {
        Quota::new(self.attempts_from_address, self.attempts_by_address_period.0, self.attempts_from_address)
    }

    /// How often all unknown networks together may fail.
    pub(crate) fn failures(&self) -> Quota {
        Quota::new(self.failures, self.failures_period.0, self.failures)
    }

    /// How often one unknown address may try in the strict regime.
    pub(crate) fn strict_attempts(&self) -> Quota {
        Quota::new(self.strict_attempts, self.attempts_by_address_period.0, self.strict_attempts)
    }

    /// How often one refresh token may be presented.
    pub(crate) fn refreshes(&self) -> Quota {
        Quota::new(self.refreshes, self.refreshes_period.0, self.refreshes)
    }

    /// How often one address may present any.
    pub(crate) fn refreshes_from_address(&self) -> Quota {
        Quota::new(self.refreshes_from_address, self.refreshes_period.0, self.refreshes_from_address)
    }
}
