//! The public keys of access tokens, and the verification of tokens by them.
//!
//! The key set is fetched on a timer, so that a key is known before it signs, and forgotten soon after it was removed. The
//! last good set is kept while auth is away. An unknown key id causes at most one fetch a second, whatever strangers send.
//! Verified tokens are remembered by a hash until they end, or until their key leaves the set.
//!
//! A session that auth ended is refused from the moment that its [`REVOKED`] signal is heard. The signal is a hint and
//! may be lost. So a process reads auth's list of ended sessions before it is ready, and again whenever the bus may have
//! lost signals.

mod ended;
mod published;
mod revoked;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use http::HeaderValue;
use jsonwebtoken::Algorithm;
use serde::{Deserialize, Serialize};

use ended::Ended;
pub use ended::{EndedPage, EndedSessions};
use published::{PublicKey, Published, Verified};
pub use revoked::LONGEST_ACCESS;
use revoked::Revoked;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    ClockAndRng, Timestamp,
    bus::{Bus, Heard},
    context::User,
    jwt::{self, AccessClaims, Untimely, Window},
    shutdown::Shutdown,
};

/// The channel on which auth tells of sessions that it ended: each signal's subject is a session.
pub const REVOKED: &str = "auth.revoked";

/// A public key as RFC 7517 writes it; an EC key on P-256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are RFC 7517's and RFC 7518's")]
pub struct Jwk {
    pub kid: String,
    pub kty: String,
    pub crv: String,
    pub alg: String,
    #[serde(rename = "use")]
    pub usage: String,
    pub x: String,
    pub y: String,
}

/// Where the keys come from.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// All keys in use.
    async fn fetch(&self) -> Result<Vec<Jwk>, Unavailable>;

    /// A page of the sessions that were ended while access tokens of theirs may be in force. Sources of fixed keys have
    /// none.
    async fn list_ended(&self, _page: &EndedPage) -> Result<EndedSessions, Unavailable> {
        Ok(EndedSessions::default())
    }
}

/// The keys cannot be had now.
#[derive(Debug)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the keys of access tokens cannot be had: {}", self.0)
    }
}

impl std::error::Error for Unavailable {}

/// What an access token turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Genuine, and this user's.
    Genuine(User),
    /// Genuine, but past its end.
    Expired,
    /// Genuine, but its session was ended.
    Revoked,
    /// Not ours, or not well formed.
    Invalid,
    /// No key set, or no list of ended sessions, could be had yet to tell.
    Undecided,
}

/// The time between two fetches for the sake of an unknown key, at least.
const FETCH_PAUSE: Duration = Duration::from_secs(1);
/// How often the set is fetched anyway.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// An access token ends when it says so: its owner gets another one early enough.
const WINDOW: Window = Window { longest: LONGEST_ACCESS, grace: Duration::ZERO };

/// The key set of a process.
pub struct KeySet {
    source: Box<dyn KeySource>,
    clock_rng: ClockAndRng,
    refresh_interval: Duration,
    published: RwLock<Arc<Published>>,
    /// Async, so that callers who wait for a fetch share it.
    fetches: tokio::sync::Mutex<Fetches>,
    verified: Mutex<Verified>,
    revoked: Revoked,
    ended: Ended,
}

/// What became of fetching.
#[derive(Default)]
struct Fetches {
    /// When the last one began.
    began: Option<Instant>,
    /// Whether it failed.
    is_failing: bool,
}

impl KeySet {
    /// A key set that fills itself from `source`.
    pub fn new(source: impl KeySource + 'static, clock_rng: ClockAndRng) -> Self {
        Self {
            source: Box::new(source),
            clock_rng,
            refresh_interval: REFRESH_INTERVAL,
            published: RwLock::default(),
            fetches: tokio::sync::Mutex::default(),
            verified: Mutex::default(),
            revoked: Revoked::default(),
            ended: Ended::default(),
        }
    }

    /// The same, fetched again each `interval` while [`Self::keep_fresh`] runs.
    #[must_use]
    pub fn refreshed_each(self, interval: Duration) -> Self {
        Self { refresh_interval: interval, ..self }
    }

    /// How often the set is fetched: what is published is known everywhere after that.
    pub fn refresh_interval(&self) -> Duration {
        self.refresh_interval
    }

    /// Fetches the set on a timer until the process is cut: run it once a process, beside everything else.
    pub async fn keep_fresh(self: Arc<Self>, shutdown: Shutdown) {
        let fetching = async {
            loop {
                // By chance, so that the processes of a mesh do not all ask at once.
                sleep(self.clock_rng.between(self.refresh_interval / 2, self.refresh_interval)).await;
                self.fetch(&mut *self.fetches.lock().await).await;
            }
        };
        tokio::select! {
            () = fetching => {}
            () = shutdown.cut() => {}
        }
    }

    /// Refuses the session's access tokens from now on, and wakes who waits for its end.
    pub fn revoke(&self, session: Uuid) {
        self.revoked.insert([session], self.clock_rng.now());
    }

    /// Whether the session is known to have been ended.
    pub fn is_revoked(&self, session: Uuid) -> bool {
        self.revoked.contains(session)
    }

    /// Ends when the session is known to have been ended; streams wait for it.
    pub async fn revoked(&self, session: Uuid) {
        self.revoked.wait_for(session).await;
    }

    /// Takes in what auth tells on `bus`, from this call on and until the process is cut: run the response beside
    /// everything else, once a process.
    pub fn follow(self: &Arc<Self>, bus: &dyn Bus, shutdown: Shutdown) -> impl Future<Output = ()> + Send + use<> {
        let (keys, mut listener) = (Arc::clone(self), bus.listen(REVOKED));
        let following = async move {
            loop {
                match listener.next().await {
                    Heard::Signal(signal) => keys.revoke(signal.subject),
                    Heard::Missed => keys.ended.outdate(),
                    Heard::Closed => return,
                }
            }
        };
        let keys = Arc::clone(self);
        async move {
            tokio::select! {
                () = following => {}
                () = keys.keep_ended() => {}
                () = shutdown.cut() => {}
            }
        }
    }

    /// The keys, as last seen.
    pub fn jwks(&self) -> Vec<Jwk> {
        self.published().jwks.clone()
    }

    /// Whether tokens can be verified: there was a key set, and the list of ended sessions was read. Tries to get what
    /// is missing.
    pub async fn ready(&self) -> bool {
        if self.published().keys.is_empty() {
            self.refresh().await;
        }
        !self.published().keys.is_empty() && (self.ended.is_known() || self.read_ended().await)
    }

    /// Verifies an access token that was verified here before: no arithmetic, no waiting. `None`: unknown.
    pub fn recall(&self, token: &str) -> Option<Verdict> {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        let user = verified.get(token)?;
        Some(self.in_force(user))
    }

    /// Verifies an access token.
    pub async fn verify(&self, token: &str) -> Verdict {
        if let Some(verdict) = self.recall(token) {
            return verdict;
        }
        // The token may be of a session that ended before this process began.
        if !self.ended.is_known() && !self.read_ended().await {
            return Verdict::Undecided;
        }
        let Some(kid) = jwt::key_id(token, Algorithm::ES256, jwt::ACCESS_TYPE) else { return Verdict::Invalid };
        let find = || self.published().keys.get(&kid).cloned();
        if let Some(key) = find() {
            return self.check(token, key);
        }
        let is_current = self.refresh().await;
        match find() {
            Some(key) => self.check(token, key),
            None if is_current => Verdict::Invalid,
            // Auth may have published it since it was reached last.
            None => Verdict::Undecided,
        }
    }

    fn check(&self, token: &str, key: Arc<PublicKey>) -> Verdict {
        let verified = jwt::verify::<AccessClaims>(token, Algorithm::ES256, &key.key, jwt::AUDIENCE, Some(jwt::ISSUER));
        let Ok((claims, times)) = verified else { return Verdict::Invalid };
        match WINDOW.check(times, self.clock_rng.now()) {
            Ok(()) | Err(Untimely::Late) => {}
            Err(why @ (Untimely::TooLong | Untimely::Early)) => {
                tracing::debug!(?why, "an access token with a good signature is refused");
                return Verdict::Invalid;
            }
        }
        let user = user(claims);
        let verdict = self.in_force(user.clone());
        if matches!(verdict, Verdict::Genuine(_)) {
            self.verified.lock().unwrap_or_else(PoisonError::into_inner).insert(token, user, key);
        }
        verdict
    }

    /// What a genuine token is good for now.
    fn in_force(&self, user: User) -> Verdict {
        if self.is_revoked(user.session) {
            Verdict::Revoked
        } else if self.clock_rng.now() < user.expires {
            Verdict::Genuine(user)
        } else {
            Verdict::Expired
        }
    }

    fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fetches the keys, unless that was tried within the last second. Whether the last attempt succeeded.
    async fn refresh(&self) -> bool {
        let mut fetches = self.fetches.lock().await;
        if fetches.began.is_none_or(|at| at.elapsed() >= FETCH_PAUSE) {
            self.fetch(&mut fetches).await;
        }
        !fetches.is_failing
    }

    async fn fetch(&self, fetches: &mut Fetches) {
        fetches.began = Some(Instant::now());
        let was_failing = std::mem::replace(&mut fetches.is_failing, true);
        let failure = match self.source.fetch().await {
            Ok(jwks) if jwks.is_empty() => "auth published no key at all".to_owned(),
            Ok(jwks) => {
                fetches.is_failing = false;
                if was_failing {
                    tracing::info!(keys = jwks.len(), "the key set of access tokens can be fetched again");
                }
                return self.replace(jwks);
            }
            Err(error) => error.to_string(),
        };
        metrics::counter!("access_key_fetch_failures_total").increment(1);
        if !was_failing {
            tracing::warn!(error = failure, "the key set of access tokens cannot be fetched; the last one stays");
        }
    }

    fn replace(&self, jwks: Vec<Jwk>) {
        let before = self.published();
        if before.jwks == jwks {
            return;
        }
        let next = Arc::new(before.replaced_by(jwks));
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&next);
        before.withdraw_all_but(&next);
        let kids: Vec<_> = next.keys.keys().map(String::as_str).collect();
        if before.keys.is_empty() {
            tracing::debug!(kids = kids.join(" "), "access tokens are verified by these keys");
        } else {
            tracing::info!(kids = kids.join(" "), "access tokens are verified by other keys");
        }
    }
}

fn user(claims: AccessClaims) -> User {
    User {
        id: claims.sub,
        session: claims.sid,
        roles: claims.roles,
        scopes: claims.scope.split_ascii_whitespace().map(str::to_owned).collect(),
        expires: Timestamp::from_micros(claims.exp.saturating_mul(1_000_000)),
    }
}

/// The token of an `authorization: Bearer …` header.
pub fn bearer(header: &HeaderValue) -> Option<&str> {
    let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests;
