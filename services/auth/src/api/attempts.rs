//! Rate limits of sign-in attempts. All limits of one attempt are decided at once, before the password is verified, and
//! the response is the same whether the account exists or not. Attempts count against one password of an account: after
//! a reset or a change, those before do not keep the owner out.
//!
//! An attacker cannot lock an owner out. Each network has its own limit for each account. A limit for all networks
//! together stops guessing from many addresses; it counts only networks from which no session of the account was
//! opened. Known networks and sessions keep their own limits: their passwords wait in a separate queue, and neither
//! wider networks nor failures of other clients count against them.
//!
//! A network is counted by several prefix lengths: a /48 of IPv6 contains 65 536 networks of a /64. After too many
//! failed attempts of all unknown networks together, the strict regime lowers the limit of each unknown network for a
//! while.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicI64, Ordering},
};

use kit::{
    Timestamp, error,
    limiter::{Ask, BucketKey, FailureMode, Limit, MOST_NETWORKS, Network, Outcome, Quota, network, networks},
};
use tonic::Status;

use super::{Api, sessions::ConfirmedSession};
use crate::{
    domain::{Account, EmailAddress, RefreshToken},
    password::Queue,
};

/// One scope for all keys: on a Redis Cluster they share a node, because one decision combines accounts and addresses.
const SCOPE: &str = "auth";
/// How many of an account's newest sessions define its known networks.
const SESSIONS: u32 = 32;

/// The strict regime: lower limits for unknown networks after too many failed attempts.
#[derive(Default)]
pub(super) struct Strict {
    /// When it ends, in microseconds since 1970.
    until: AtomicI64,
}

impl Strict {
    fn is_on(&self, now: Timestamp) -> bool {
        now.as_micros() < self.until.load(Ordering::Relaxed)
    }

    /// Extends the regime to `until`. Returns whether it was off.
    fn extend(&self, until: Timestamp, now: Timestamp) -> bool {
        self.until.fetch_max(until.as_micros(), Ordering::Relaxed) <= now.as_micros()
    }
}

impl Api {
    /// Counts an attempt to sign in. Returns the queue in which its password waits.
    pub(super) async fn count_sign_in(
        &self,
        email: &EmailAddress,
        account: Option<&Account>,
        address: Option<IpAddr>,
    ) -> Result<Queue, Status> {
        let config = &self.auth.config;
        let queue = if self.is_known(email, address).await? { Queue::Known } else { Queue::Unknown };
        let guessed = self.guessed(email, account);
        let mut limits = self.at_account(&guessed, address, queue);
        limits.extend(self.at_any(address, queue));
        if queue == Queue::Unknown {
            limits.push(limit(&[b"account", &guessed], config.attempts()));
            if self.strict.is_on(self.auth.clock_rng.now()) {
                limits.extend(self.by_networks(&[b"strict"], config.strict_attempts(), address, queue));
            }
        }
        self.take(&limits, "too many sign-in attempts for this account; try again after the time in retry-after")
            .await?;
        Ok(queue)
    }

    /// Counts a failed attempt of an unknown network. The first one beyond the limit starts the strict regime. Known
    /// networks and sessions are neither counted here nor affected.
    pub(super) async fn count_failure(&self) {
        let config = &self.auth.config;
        let failures = [limit(&[b"failures"], config.failures())];
        if self.take(&failures, "").await.is_err() {
            let now = self.auth.clock_rng.now();
            if self.strict.extend(now + config.failures_period.0, now) {
                tracing::warn!(
                    auth.failures = config.failures,
                    auth.strict_attempts = config.strict_attempts,
                    "too many sign-in attempts failed; the limits of unknown networks are lowered"
                );
            }
        }
    }

    /// Counts an attempt to sign up, which can also guess the password of an unfinished sign-up. Attempts from other
    /// networks do not count: they must not keep an owner from signing up.
    pub(super) async fn count_sign_up(&self, email: &EmailAddress, address: Option<IpAddr>) -> Result<(), Status> {
        let (pseudonym, quota) = (self.pseudonym(email), self.auth.config.attempts_by_address());
        let mut limits = self.by_networks(&[b"sign-up", &pseudonym], quota, address, Queue::Unknown);
        limits.extend(self.at_any(address, Queue::Unknown));
        self.take(&limits, "too many sign-up attempts for this address; try again after the time in retry-after").await
    }

    /// Counts a password that a signed-in user enters again, by session: only the user has the session.
    pub(super) async fn count_proof(&self, session: &ConfirmedSession, address: Option<IpAddr>) -> Result<(), Status> {
        let quota = self.auth.config.attempts_by_address();
        let mut limits = vec![limit(&[b"session", session.id().0.as_bytes()], quota)];
        limits.extend(self.at_any(address, Queue::Known));
        self.take(&limits, "too many password attempts in this session; try again after the time in retry-after").await
    }

    /// Counts a wrong password of a signed-in user like a failed sign-in from the same network.
    pub(super) async fn count_wrong_proof(&self, account: &Account, address: Option<IpAddr>) {
        let guessed = self.guessed(&account.email, Some(account));
        // If the limit is reached already, there is nothing more to do.
        self.take(&self.at_account(&guessed, address, Queue::Known), "").await.ok();
    }

    /// Counts a presented refresh token. Its owner presents it once, or a few times when responses are lost.
    pub(super) async fn count_refresh(&self, token: &RefreshToken, address: Option<IpAddr>) -> Result<(), Status> {
        let config = &self.auth.config;
        let mut limits = vec![limit(&[b"refresh", &token.hash().0], config.refreshes())];
        if address.is_some() {
            limits.extend(self.by_networks(&[b"refreshes"], config.refreshes_from_address(), address, Queue::Unknown));
        }
        self.take(&limits, "too many refreshes; try again after the time in retry-after").await
    }

    /// Counts a request for a mail. The limits do not depend on whether the address has an account. Mails that other
    /// networks caused do not keep an owner out: their links are the owner's too.
    pub(super) async fn count_mail(&self, email: &EmailAddress, address: Option<IpAddr>) -> Result<(), Status> {
        let (pseudonym, config) = (self.pseudonym(email), &self.auth.config.mail);
        let mut limits = self.by_networks(&[b"mail", &pseudonym], config.requests(), address, Queue::Unknown);
        limits.push(limit(&[b"mail-to", &pseudonym], config.requests_to_address()));
        if address.is_some() {
            limits.extend(self.by_networks(&[b"mails"], config.requests_from_address(), address, Queue::Unknown));
        }
        self.take(&limits, "too many e-mails to this address; try again after the time in retry-after").await
    }

    /// Counts a use of a link, as an attempt from this network at any account.
    pub(super) async fn count_link(&self, address: Option<IpAddr>) -> Result<(), Status> {
        let limits = self.at_any(address, Queue::Unknown);
        self.take(&limits, "too many attempts; try again after the time in retry-after").await
    }

    /// Limits of the attempts from one network at one account.
    fn at_account(&self, guessed: &[u8], address: Option<IpAddr>, queue: Queue) -> Vec<Limit> {
        self.by_networks(&[b"from", guessed], self.auth.config.attempts_by_address(), address, queue)
    }

    /// Limits of the attempts from one network at all accounts. A call without an address comes from inside the mesh.
    fn at_any(&self, address: Option<IpAddr>, queue: Queue) -> Vec<Limit> {
        let quota = self.auth.config.attempts_from_address();
        if address.is_some() { self.by_networks(&[b"address"], quota, address, queue) } else { Vec::new() }
    }

    /// One limit for each network that contains the address. A known network has only the narrowest limit: its
    /// neighbors in wider networks do not count against it.
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

    /// Whether one of the account's newest sessions comes from this network. One statement, which takes the same time
    /// whether the account exists or not.
    async fn is_known(&self, email: &EmailAddress, address: Option<IpAddr>) -> Result<bool, Status> {
        // Unspecified: the gateway could not determine it. All clients behind that proxy would count as known.
        let Some(here) = address.filter(|address| !address.is_unspecified()).map(network) else { return Ok(false) };
        let known = self.auth.store.list_addresses(email, SESSIONS).await?;
        Ok(known.iter().filter_map(|address| address.parse().ok()).any(|address: IpAddr| network(address) == here))
    }

    /// The password that an attempt guesses, in rate limit keys: the address, and the number of the password.
    fn guessed(&self, email: &EmailAddress, account: Option<&Account>) -> Vec<u8> {
        let number = account.map_or(0, |account| account.password_no);
        [&self.pseudonym(email)[..], &number.to_be_bytes()].concat()
    }

    /// Replaces an e-mail address in rate limit keys. It cannot be traced back without auth's secrets.
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
    Limit { key: BucketKey::new(&[&[SCOPE.as_bytes()], key].concat()), quota, cost: 1 }
}
