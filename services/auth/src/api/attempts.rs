//! How often somebody may try. All limits of one attempt are decided at once, before anything is looked up that only
//! accounts have, so that the answer is the same whether there is one.
//!
//! Nobody can lock somebody else out. A network has its own attempts at an account. Attempts from anywhere together are
//! limited too, or a crowd of addresses could guess for ever; but that limit counts only for networks from which nobody
//! has signed in to the account. Who has, and who holds a session, keeps what is theirs, whatever strangers do.

use std::net::{IpAddr, Ipv6Addr};

use kit::{
    context::User,
    error,
    limiter::{Ask, Away, Key, Limit, Outcome, Quota, network},
};
use tonic::Status;

use super::Api;
use crate::domain::{Email, RefreshToken};

/// On a Cluster all of them are on one node, for accounts and addresses cross.
const SCOPE: &str = "auth";
/// How many of an account's newest sessions tell from where it is used.
const SESSIONS: u32 = 32;

impl Api {
    /// Counts an attempt to sign in.
    pub(super) async fn count_sign_in(&self, email: &Email, address: Option<IpAddr>) -> Result<(), Status> {
        let config = &self.auth.config;
        let mut limits = vec![self.at_account(email, address)];
        limits.extend(self.at_any(address));
        if !self.is_known(email, address).await? {
            limits.push(limit(&[b"account", &self.pseudonym(email)], config.attempts()));
        }
        self.take(&limits, "too many attempts to sign in to this account; wait as retry-after says").await
    }

    /// Counts an attempt to sign up: a password may be guessed by it too, of a sign-up that nobody has finished. Nobody
    /// else's attempts count, or an address could be kept from its owner.
    pub(super) async fn count_sign_up(&self, email: &Email, address: Option<IpAddr>) -> Result<(), Status> {
        let from = [b"sign-up".as_slice(), &self.pseudonym(email), &octets(address)];
        let mut limits = vec![limit(&from, self.auth.config.attempts_by_address())];
        limits.extend(self.at_any(address));
        self.take(&limits, "too many attempts to sign up with this address; wait as retry-after says").await
    }

    /// Counts a proof that somebody who has signed in gives once more: by the session, which strangers have not got.
    pub(super) async fn count_proof(&self, user: &User, address: Option<IpAddr>) -> Result<(), Status> {
        let mut limits = vec![limit(&[b"session", user.session.as_bytes()], self.auth.config.attempts_by_address())];
        limits.extend(self.at_any(address));
        self.take(&limits, "too many attempts to prove the password; wait as retry-after says").await
    }

    /// A wrong one is a guess as any other.
    pub(super) async fn count_wrong_proof(&self, email: &Email, address: Option<IpAddr>) {
        // A refusal says that there are too many already.
        self.take(&[self.at_account(email, address)], "").await.ok();
    }

    /// Counts a refresh token that is presented. Its owner presents it once, or a few times when answers get lost.
    pub(super) async fn count_refresh(&self, token: &RefreshToken, address: Option<IpAddr>) -> Result<(), Status> {
        let config = &self.auth.config;
        let mut limits = vec![limit(&[b"refresh", &token.hash().0], config.refreshes())];
        let by_address = |address| limit(&[b"refreshes", &octets(Some(address))], config.refreshes_from_address());
        limits.extend(address.map(by_address));
        self.take(&limits, "too many refreshes; wait as retry-after says").await
    }

    /// Attempts at an account from one network.
    fn at_account(&self, email: &Email, address: Option<IpAddr>) -> Limit {
        let from = [b"from".as_slice(), &self.pseudonym(email), &octets(address)];
        limit(&from, self.auth.config.attempts_by_address())
    }

    /// Attempts of a network at whatever account. Where no address is told, nobody came in from outside.
    fn at_any(&self, address: Option<IpAddr>) -> Option<Limit> {
        let quota = self.auth.config.attempts_from_address();
        address.map(|address| limit(&[b"address", &octets(Some(address))], quota))
    }

    /// Whether somebody has signed in to the account from this network lately. One statement, which takes the same time
    /// whether there is an account.
    async fn is_known(&self, email: &Email, address: Option<IpAddr>) -> Result<bool, Status> {
        let Some(here) = address.map(network) else { return Ok(false) };
        let known = self.auth.store.list_addresses(email, SESSIONS).await?;
        Ok(known.iter().filter_map(|address| address.parse().ok()).any(|address: IpAddr| network(address) == here))
    }

    /// What stands for an e-mail address where others may look: without auth's secrets nobody can tell whose it is.
    fn pseudonym(&self, email: &Email) -> [u8; 32] {
        self.auth.keys.pseudonym(email.as_str())
    }

    async fn take(&self, limits: &[Limit], message: &str) -> Result<(), Status> {
        let ask = Ask { scope: SCOPE, limits, away: Away::Local };
        match self.auth.limiter.decide(&ask).decision().await.outcome {
            Outcome::Refused { retry_after } => Err(error::exhausted("RATE_LIMITED", message, retry_after)),
            Outcome::Admitted | Outcome::Away => Ok(()),
        }
    }
}

fn limit(key: &[&[u8]], quota: Quota) -> Limit {
    Limit { key: Key::new(&[&[SCOPE.as_bytes()], key].concat()), quota, cost: 1 }
}

fn octets(address: Option<IpAddr>) -> [u8; 16] {
    address.map_or(Ipv6Addr::UNSPECIFIED, network).octets()
}
