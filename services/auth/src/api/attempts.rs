//! How often somebody may try. All limits of one attempt are decided at once, before anything is looked up that only
//! accounts have, so that the response is the same whether there is one.
//!
//! Nobody can lock somebody else out. A network has its own attempts at an account. Attempts from anywhere together are
//! limited too, or a crowd of addresses could guess for ever; but that limit counts only for networks from which nobody
//! has signed in to the account. Who has, and who holds a session, keeps what is theirs, whatever strangers do: their
//! passwords wait in a queue of their own, and neither wider networks nor the failures of others count against them.
//!
//! A network is counted by several prefix lengths: who has a /48 of IPv6 has 65 536 networks of a /64. And where too many
//! attempts of unknown networks have failed, everywhere together, each of them gets less for a while.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicI64, Ordering},
};

use kit::{
    Timestamp,
    context::User,
    error,
    limiter::{Ask, FailureMode, Key, Limit, MOST_NETWORKS, Network, Outcome, Quota, network, networks},
};
use tonic::Status;

use super::Api;
use crate::{
    domain::{EmailAddress, RefreshToken},
    password::Queue,
};

/// On a Cluster all of them are on one node, for accounts and addresses cross.
const SCOPE: &str = "auth";
/// How many of an account's newest sessions tell from where it is used.
const SESSIONS: u32 = 32;

/// Whether so many attempts of unknown networks have failed that each of them gets less.
#[derive(Default)]
pub(super) struct Strict {
    /// Until when, in microseconds.
    until: AtomicI64,
}

impl Strict {
    fn is_on(&self, now: Timestamp) -> bool {
        now.as_micros() < self.until.load(Ordering::Relaxed)
    }

    /// Goes on until then. Whether it was off.
    fn extend(&self, until: Timestamp, now: Timestamp) -> bool {
        self.until.fetch_max(until.as_micros(), Ordering::Relaxed) <= now.as_micros()
    }
}

impl Api {
    /// Counts an attempt to sign in. Returns the queue in which its password waits.
    pub(super) async fn count_sign_in(&self, email: &EmailAddress, address: Option<IpAddr>) -> Result<Queue, Status> {
        let config = &self.auth.config;
        let queue = if self.is_known(email, address).await? { Queue::Known } else { Queue::Unknown };
        let pseudonym = self.pseudonym(email);
        let mut limits = self.at_account(&pseudonym, address, queue);
        limits.extend(self.at_any(address, queue));
        if queue == Queue::Unknown {
            limits.push(limit(&[b"account", &pseudonym], config.attempts()));
            if self.strict.is_on(self.auth.clock_rng.now()) {
                limits.extend(self.by_networks(&[b"strict"], config.strict_attempts(), address, queue));
            }
        }
        self.take(&limits, "too many attempts to sign in to this account; wait as retry-after says").await?;
        Ok(queue)
    }

    /// Counts an attempt of an unknown network that has failed. One too many begins the strict regime. Known networks
    /// and sessions are not counted here, and not affected.
    pub(super) async fn count_failure(&self) {
        let config = &self.auth.config;
        let failures = [limit(&[b"failures"], config.failures())];
        if self.take(&failures, "").await.is_err() {
            let now = self.auth.clock_rng.now();
            if self.strict.extend(now + config.failures_period.0, now) {
                tracing::warn!(
                    auth.failures = config.failures,
                    auth.strict_attempts = config.strict_attempts,
                    "too many attempts to sign in have failed: unknown networks get less"
                );
            }
        }
    }

    /// Counts an attempt to sign up: a password may be guessed by it too, of a sign-up that was not finished. Attempts
    /// of others do not count, or an address could be kept from its owner.
    pub(super) async fn count_sign_up(&self, email: &EmailAddress, address: Option<IpAddr>) -> Result<(), Status> {
        let (pseudonym, quota) = (self.pseudonym(email), self.auth.config.attempts_by_address());
        let mut limits = self.by_networks(&[b"sign-up", &pseudonym], quota, address, Queue::Unknown);
        limits.extend(self.at_any(address, Queue::Unknown));
        self.take(&limits, "too many attempts to sign up with this address; wait as retry-after says").await
    }

    /// Counts a proof that a signed-in user gives once more: by the session, which strangers have not got.
    pub(super) async fn count_proof(&self, user: &User, address: Option<IpAddr>) -> Result<(), Status> {
        let mut limits = vec![limit(&[b"session", user.session.as_bytes()], self.auth.config.attempts_by_address())];
        limits.extend(self.at_any(address, Queue::Known));
        self.take(&limits, "too many attempts to prove the password; wait as retry-after says").await
    }

    /// A wrong one is a guess as any other.
    pub(super) async fn count_wrong_proof(&self, email: &EmailAddress, address: Option<IpAddr>) {
        // A refusal says that there are too many already.
        self.take(&self.at_account(&self.pseudonym(email), address, Queue::Known), "").await.ok();
    }

    /// Counts a refresh token that is presented. Its owner presents it once, or a few times when responses get lost.
    pub(super) async fn count_refresh(&self, token: &RefreshToken, address: Option<IpAddr>) -> Result<(), Status> {
        let config = &self.auth.config;
        let mut limits = vec![limit(&[b"refresh", &token.hash().0], config.refreshes())];
        if address.is_some() {
            limits.extend(self.by_networks(&[b"refreshes"], config.refreshes_from_address(), address, Queue::Unknown));
        }
        self.take(&limits, "too many refreshes; wait as retry-after says").await
    }

    /// Attempts at an account from one network.
    fn at_account(&self, pseudonym: &[u8], address: Option<IpAddr>, queue: Queue) -> Vec<Limit> {
        self.by_networks(&[b"from", pseudonym], self.auth.config.attempts_by_address(), address, queue)
    }

    /// Attempts of a network at whatever account. Without an address the call did not come in from outside.
    fn at_any(&self, address: Option<IpAddr>, queue: Queue) -> Vec<Limit> {
        let quota = self.auth.config.attempts_from_address();
        if address.is_some() { self.by_networks(&[b"address"], quota, address, queue) } else { Vec::new() }
    }

    /// A limit for each network of the address. Of a known one the narrowest only: its neighbors in a wider network do
    /// not count against it.
    fn by_networks(&self, key: &[&[u8]], quota: Quota, address: Option<IpAddr>, queue: Queue) -> Vec<Limit> {
        let address = address.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let most = if queue == Queue::Known { 1 } else { MOST_NETWORKS };
        let one = |network: Network| {
            let bytes = network.to_bytes();
            let key: Vec<&[u8]> = key.iter().copied().chain([&bytes[..]]).collect();
            limit(&key, quota.times(network.multiple))
        };
        networks(address, &self.networks).take(most).map(one).collect()
    }

    /// Whether somebody has signed in to the account from this network lately. One statement, which takes the same time
    /// whether there is an account.
    async fn is_known(&self, email: &EmailAddress, address: Option<IpAddr>) -> Result<bool, Status> {
        // Unspecified: the gateway could not read it. So every client behind that proxy would be known.
        let Some(here) = address.filter(|address| !address.is_unspecified()).map(network) else { return Ok(false) };
        let known = self.auth.store.list_addresses(email, SESSIONS).await?;
        Ok(known.iter().filter_map(|address| address.parse().ok()).any(|address: IpAddr| network(address) == here))
    }

    /// What stands for an e-mail address where others may look: without auth's secrets nobody can tell whose it is.
    fn pseudonym(&self, email: &EmailAddress) -> [u8; 32] {
        self.auth.keys.pseudonym(email.as_str())
    }

    async fn take(&self, limits: &[Limit], message: &str) -> Result<(), Status> {
        let ask = Ask { scope: SCOPE, limits, failure_mode: FailureMode::Local };
        match self.auth.limiter.decide(&ask).decision().await.outcome {
            Outcome::Refused { retry_after } => Err(error::exhausted("RATE_LIMITED", message, retry_after)),
            Outcome::Admitted | Outcome::Unavailable => Ok(()),
        }
    }
}

fn limit(key: &[&[u8]], quota: Quota) -> Limit {
    Limit { key: Key::new(&[&[SCOPE.as_bytes()], key].concat()), quota, cost: 1 }
}
