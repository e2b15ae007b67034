//! The configuration of auth.

mod factors;
mod mail;

use std::time::Duration;

pub use factors::FactorsConfig;
use kit::{
    config::{Secret, Span},
    keys::LONGEST_ACCESS,
    limiter::Quota,
};
pub use mail::{MailConfig, MailboxMode, Tls};
use serde::{Deserialize, Serialize};

/// The most roles of the operator. An account may have all of them, and each of its access tokens carries them.
const MOST_OWN_ROLES: usize = 16;

/// The section `[auth.argon2]`: the cost of new password hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Argon2Config {
    /// The memory of one hash, in KiB.
    pub memory_kib: u32,
    /// The passes over the memory.
    pub passes: u32,
    /// The lanes. They are computed one after another, so that they cost an attacker with many cores less time, not more.
    pub lanes: u32,
}

/// OWASP Password Storage Cheat Sheet, Argon2id: 19 MiB, 2 passes, 1 lane. One hash takes about 20 ms of one core.
impl Default for Argon2Config {
    fn default() -> Self {
        Self { memory_kib: 19_456, passes: 2, lanes: 1 }
    }
}

/// The same page: the least passes for a memory of at least so many KiB. All of them resist guessing alike.
const LEAST_PASSES: [(u32, u32); 5] = [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5)];

impl Argon2Config {
    fn check(self) -> Result<(), String> {
        let row = LEAST_PASSES.into_iter().find(|(memory, _)| self.memory_kib >= *memory);
        let (_, least) = row.ok_or("auth.argon2.memory_kib: at least 7168")?;
        if self.passes >= least {
            return Ok(());
        }
        Err(format!(
            "auth.argon2.passes: {} is below {least}, the least for a memory of {} KiB; with more memory fewer are enough",
            self.passes, self.memory_kib
        ))
    }
}

/// The section `[auth]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The address on which gRPC is served.
    pub listen: String,
    /// `postgres://…`. Empty: SQLite in the data folder.
    pub database_url: Secret,
    /// Connections to PostgreSQL.
    pub pool_size: u32,
    /// The folder with auth's secrets, as `trellis keys auth` writes it. Empty: auth creates them in the data folder.
    pub keys_dir: String,
    /// The peppers of password hashes, instead of the file `peppers.keys` in `keys_dir`: the text of that file, for
    /// example in a variable.
    pub peppers: Secret,
    /// A command that prints the same text, for example from a vault: the program and its arguments. It runs once, at the
    /// start.
    pub peppers_command: Vec<String>,
    /// How long an access token is valid. A revocation whose signal is lost takes effect after this time. At most an
    /// hour.
    pub access_lifetime: Span,
    /// How long a session lives without a refresh.
    pub refresh_lifetime: Span,
    /// How long a session lives at most.
    pub session_lifetime: Span,
    /// How long the code is valid with which the first admin claims the role.
    pub admin_code_lifetime: Span,
    /// Roles of your own besides those of the contract, which admins may grant. They are in the access tokens, for your
    /// own services and for rules of the gateway, and grant no permission in Trellis.
    pub own_roles: Vec<String>,
    /// How long a used refresh token still returns its unused successor, 30s to 1h. It must be longer than the timeout
    /// of every client, so that a lost response does not end a session. [`crate::domain::refresh`] explains why this is
    /// safe.
    pub refresh_grace: Span,
    /// The timeout of calls to the users service during a sign-up.
    pub users_timeout: Span,
    /// Passwords that are hashed at once; each uses `argon2.memory_kib` meanwhile. 0: one per core of the CPU quota, but
    /// together no more than half of the memory limit.
    pub hashing_threads: usize,
    /// The most passwords from unknown networks in the queue. Further ones are refused with RESOURCE_EXHAUSTED.
    pub hashing_queue: usize,
    /// The most passwords of sessions and of networks from which the account was used before, in a separate queue. If
    /// there are several threads, one is reserved for it.
    pub hashing_queue_known: usize,
    /// The list of breached passwords, which new passwords must not be in: a sorted file of SHA-1 hashes, or a folder of
    /// ranges, as the downloader of Pwned Passwords writes them. Empty: there is no list.
    pub breached_passwords: String,
    /// Attempts to sign in to one account from one address (and `limits.networks` as many from wider networks), in each
    /// `attempts_by_address_period`: enough for typing errors, too few for guessing (OWASP ASVS 5, 6.3.1).
    pub attempts_by_address: u32,
    /// See `attempts_by_address`.
    pub attempts_by_address_period: Span,
    /// Attempts to sign in to one account from all unknown networks together, in each `attempts_period`. Known networks
    /// and sessions keep their own limits, so that an attacker cannot lock the owner out.
    pub attempts: u32,
    /// See `attempts`.
    pub attempts_period: Span,
    /// Attempts from one address at all accounts together (and `limits.networks` as many from wider networks), in each
    /// `attempts_by_address_period`.
    pub attempts_from_address: u32,
    /// Failed attempts of all unknown networks together in each `failures_period`. One more starts the strict regime
    /// for unknown networks, which lasts for `failures_period` after the last such failure.
    pub failures: u32,
    /// See `failures`.
    pub failures_period: Span,
    /// In the strict regime: attempts from one unknown address at all accounts together (and `limits.networks` as many
    /// from wider networks), in each `attempts_by_address_period`.
    pub strict_attempts: u32,
    /// How often one refresh token may be presented, in each `refreshes_period`.
    pub refreshes: u32,
    /// Refresh tokens that one address may present, in each `refreshes_period`.
    pub refreshes_from_address: u32,
    /// See `refreshes`.
    pub refreshes_period: Span,
    /// Mails, and the links in them.
    pub mail: MailConfig,
    /// Second factors.
    pub factors: FactorsConfig,
    /// The cost of new password hashes.
    pub argon2: Argon2Config,
}

impl Default for Config {
    fn default() -> Self {
        let days = |days: u64| Span(Duration::from_secs(days * 86_400));
        Self {
            listen: "127.0.0.1:7002".to_owned(),
            database_url: Secret::default(),
            pool_size: 10,
            keys_dir: String::new(),
            peppers: Secret::default(),
            peppers_command: Vec::new(),
            access_lifetime: Span(Duration::from_secs(15 * 60)),
            refresh_lifetime: days(30),
            session_lifetime: days(180),
            admin_code_lifetime: Span(Duration::from_secs(3_600)),
            own_roles: Vec::new(),
            refresh_grace: Span(Duration::from_secs(120)),
            users_timeout: Span(Duration::from_secs(5)),
            hashing_threads: 0,
            hashing_queue: 64,
            hashing_queue_known: 64,
            breached_passwords: String::new(),
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
            mail: MailConfig::default(),
            factors: FactorsConfig::default(),
            argon2: Argon2Config::default(),
        }
    }
}

impl Config {
    /// Checks the rules that types cannot express.
    pub fn check(&self) -> Result<(), String> {
        if self.access_lifetime.0 > LONGEST_ACCESS {
            return Err(
                "auth.access_lifetime: at most 1h, because ended sessions are listed for one hour only".to_owned()
            );
        }
        let is_name = |role: &String| {
            let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
            (1..=63).contains(&role.len()) && role.bytes().all(is_part)
        };
        if self.own_roles.len() > MOST_OWN_ROLES || !self.own_roles.iter().all(is_name) {
            return Err(format!(
                "auth.own_roles: at most {MOST_OWN_ROLES} names of at most 63 lower-case letters, digits, _ and -"
            ));
        }
        self.mail.check()?;
        self.factors.check()?;
        self.argon2.check()
    }

    /// Attempts at one account from one address.
    pub(crate) fn attempts_by_address(&self) -> Quota {
        Quota::new(self.attempts_by_address, self.attempts_by_address_period.0, self.attempts_by_address)
    }

    /// Attempts at one account from all unknown networks.
    pub(crate) fn attempts(&self) -> Quota {
        Quota::new(self.attempts, self.attempts_period.0, self.attempts)
    }

    /// Attempts from one address at all accounts.
    pub(crate) fn attempts_from_address(&self) -> Quota {
        Quota::new(self.attempts_from_address, self.attempts_by_address_period.0, self.attempts_from_address)
    }

    /// Failed attempts of all unknown networks.
    pub(crate) fn failures(&self) -> Quota {
        Quota::new(self.failures, self.failures_period.0, self.failures)
    }

    /// Attempts from one unknown address in the strict regime.
    pub(crate) fn strict_attempts(&self) -> Quota {
        Quota::new(self.strict_attempts, self.attempts_by_address_period.0, self.strict_attempts)
    }

    /// Uses of one refresh token.
    pub(crate) fn refreshes(&self) -> Quota {
        Quota::new(self.refreshes, self.refreshes_period.0, self.refreshes)
    }

    /// Uses of refresh tokens from one address.
    pub(crate) fn refreshes_from_address(&self) -> Quota {
        Quota::new(self.refreshes_from_address, self.refreshes_period.0, self.refreshes_from_address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cheaper_hashes_than_recommended_are_refused() {
        for (memory_kib, passes, is_valid) in [
            (19_456, 2, true),
            (19_456, 1, false),
            (47_103, 1, false),
            (47_104, 1, true),
            (2_097_152, 1, true),
            (12_288, 2, false),
            (7_168, 5, true),
            (7_168, 4, false),
            (7_167, 100, false),
        ] {
            let argon2 = Argon2Config { memory_kib, passes, lanes: 1 };
            let checked = Config { argon2, ..Config::default() }.check();
            assert_eq!(checked.is_ok(), is_valid, "{argon2:?}: {checked:?}");
        }
    }

    /// The timeout of the SDK: the longest time for which a client waits for a lost response.
    const CLIENT_TIMEOUT: Duration = Duration::from_secs(20);

    #[test]
    fn own_roles_are_names_that_admins_can_grant() {
        let check = |roles: &[&str]| {
            let own_roles = roles.iter().map(|role| (*role).to_owned()).collect();
            Config { own_roles, ..Config::default() }.check()
        };
        assert_eq!(check(&["on-call", "shop_manager2"]), Ok(()));
        for bad in [&["Admin"][..], &[""], &["a,b"], &["a"; MOST_OWN_ROLES + 1]] {
            assert!(check(bad).unwrap_err().starts_with("auth.own_roles: "), "{bad:?}");
        }
    }

    /// Regression: with 10 s a lost response ended the session of a client that waits for 20 s.
    #[test]
    fn default_grace_is_longer_than_the_timeout_of_every_client() {
        let default = Config::default();
        default.check().unwrap();
        assert!(default.refresh_grace.0 > CLIENT_TIMEOUT);
        assert_eq!(default.refresh_grace, Span(Duration::from_secs(120)), "as docs/configuration.md states");
    }
}
