//! The public keys of access tokens, and the verification of tokens with them.
//!
//! The key set is fetched on a timer, so that a process has a key before auth signs with it and drops it soon after its
//! removal. The last good set applies while auth is unavailable. Unknown key ids cause at most one fetch a second.
//! Verified tokens are cached by a hash until they expire or their key leaves the set.
//!
//! The tokens of a revoked session are refused as soon as its [`REVOKED`] signal arrives. A signal may be lost. So a
//! process reads auth's list of ended sessions before it is ready, and again whenever the bus may have lost signals.

mod ended;
mod published;
mod revoked;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use ended::Ended;
pub use ended::{EndedPage, EndedSessions};
use http::HeaderValue;
use jsonwebtoken::Algorithm;
use parking_lot::RwLock;
use published::{PublicKey, Published, VerifiedTokens};
pub use revoked::LONGEST_ACCESS;
use revoked::Revoked;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    ClockAndRng, Timestamp,
    bus::{Bus, Heard},
    jwk::Jwk,
    jwt::{self, AccessClaims, PrincipalClaims, Untimely, Window},
    principal::UserSession,
    shutdown::Shutdown,
};

/// The channel on which auth publishes revoked sessions: the subject of each signal is a session id.
pub const REVOKED: &str = "auth.revoked";

/// The source of the keys.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// All keys in use.
    async fn fetch(&self) -> Result<Vec<Jwk>, Unavailable>;

    /// A page of the ended sessions whose access tokens may not have expired yet. Sources of fixed keys have none.
    async fn list_ended(&self, _page: &EndedPage) -> Result<EndedSessions, Unavailable> {
        Ok(EndedSessions::default())
    }
}

/// The key source is unavailable.
#[derive(Debug, thiserror::Error)]
#[error("the keys of access tokens are not available: {0}")]
pub struct Unavailable(pub String);

/// The result of verifying an access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Valid; the token of this session.
    Genuine(Arc<UserSession>),
    /// Genuine but expired.
    Expired,
    /// Genuine but its session is revoked.
    Revoked,
    /// Not signed by auth, or malformed.
    Invalid,
    /// Not decidable yet: the key set or the list of ended sessions is not available.
    Undecided,
}

/// The minimum time between two fetches because of unknown keys.
const FETCH_PAUSE: Duration = Duration::from_secs(1);
/// The default interval at which the set is fetched.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// Access tokens have no grace period: clients refresh them in time.
const WINDOW: Window = Window { longest: LONGEST_ACCESS, grace: Duration::ZERO };

/// The key set of a process.
pub struct KeySet {
    source: Box<dyn KeySource>,
    clock_rng: ClockAndRng,
    refresh_interval: Duration,
    published: RwLock<Arc<Published>>,
    /// An async mutex, so that callers that wait for a fetch share it.
    fetches: tokio::sync::Mutex<Fetches>,
    verified: VerifiedTokens,
    revoked: Revoked,
    ended: Ended,
}

/// The state of fetching.
#[derive(Default)]
struct Fetches {
    /// When the last fetch began.
    began: Option<Instant>,
    /// Whether it failed.
    is_failing: bool,
}

impl KeySet {
    /// A key set from `source`.
    pub fn new(source: impl KeySource + 'static, clock_rng: ClockAndRng) -> Self {
        Self {
            source: Box::new(source),
            clock_rng,
            refresh_interval: REFRESH_INTERVAL,
            published: RwLock::default(),
            fetches: tokio::sync::Mutex::default(),
            verified: VerifiedTokens::default(),
            revoked: Revoked::default(),
            ended: Ended::default(),
        }
    }

    /// Sets the interval at which [`Self::keep_fresh`] fetches the set.
    #[must_use]
    pub fn refreshed_each(self, interval: Duration) -> Self {
        Self { refresh_interval: interval, ..self }
    }

    /// How often the set is fetched. All processes have a published key after this time.
    pub fn refresh_interval(&self) -> Duration {
        self.refresh_interval
    }

    /// Fetches the set on a timer until the shutdown drains: from then on an auth service of the same process accepts no
    /// connections. Run it once in each process.
    pub async fn keep_fresh(self: Arc<Self>, shutdown: Shutdown) {
        let fetching = async {
            loop {
                // With jitter, so that the processes of a mesh do not fetch at the same time.
                sleep(self.clock_rng.between(self.refresh_interval / 2, self.refresh_interval)).await;
                self.fetch(&mut *self.fetches.lock().await).await;
            }
        };
        tokio::select! {
            () = fetching => {}
            () = shutdown.draining() => {}
        }
    }

    /// Refuses the session's access tokens from now on, and wakes tasks that wait for its revocation.
    pub fn revoke(&self, session: Uuid) {
        self.revoked.insert([session], self.clock_rng.now());
    }

    /// Whether the session is known to be revoked.
    pub fn is_revoked(&self, session: Uuid) -> bool {
        self.revoked.contains(session)
    }

    /// Completes when the session is known to be revoked. Streams wait for it.
    pub async fn revoked(&self, session: Uuid) {
        self.revoked.wait_for(session).await;
    }

    /// Listens to auth's signals on `bus`, from this call until the shutdown cuts all connections. Run the returned
    /// future once in each process.
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

    /// The last fetched keys.
    pub fn jwks(&self) -> Vec<Jwk> {
        self.published().jwks.clone()
    }

    /// Whether tokens can be verified: the key set and the list of ended sessions are available. Tries to fetch them if
    /// they are missing.
    pub async fn ready(&self) -> bool {
        if self.published().keys.is_empty() {
            self.refresh().await;
        }
        !self.published().keys.is_empty() && (self.ended.is_known() || self.read_ended().await)
    }

    /// Verifies an access token from the cache, without cryptography or waiting. `None`: not in the cache.
    pub fn recall(&self, token: &str) -> Option<Verdict> {
        let session = self.verified.get(token)?;
        Some(self.in_force(session))
    }

    /// Verifies an access token.
    pub async fn verify(&self, token: &str) -> Verdict {
        if let Some(verdict) = self.recall(token) {
            return verdict;
        }
        // The token's session may have ended before this process started.
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
            // Auth may have published the key since the last successful fetch.
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
        let session = Arc::new(session(claims));
        let verdict = self.in_force(Arc::clone(&session));
        if matches!(verdict, Verdict::Genuine(_)) {
            self.verified.insert(token, session, key);
        }
        verdict
    }

    /// The verdict for a genuine token at the current time.
    fn in_force(&self, session: Arc<UserSession>) -> Verdict {
        if self.is_revoked(session.id) {
            Verdict::Revoked
        } else if self.clock_rng.now() < session.expires {
            Verdict::Genuine(session)
        } else {
            Verdict::Expired
        }
    }

    fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published.read())
    }

    /// Fetches the keys, unless a fetch began within the last second. Returns whether the last fetch succeeded.
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
            Ok(jwks) if jwks.is_empty() => "auth published no keys".to_owned(),
            Ok(jwks) => {
                fetches.is_failing = false;
                if was_failing {
                    tracing::info!(keys = jwks.len(), "fetched the key set of access tokens again");
                }
                return self.replace(jwks);
            }
            Err(error) => error.to_string(),
        };
        metrics::counter!("access_key_fetch_failures_total").increment(1);
        if !was_failing {
            tracing::warn!(error = failure, "cannot fetch the key set of access tokens; the last one remains in use");
        }
    }

    fn replace(&self, jwks: Vec<Jwk>) {
        let before = self.published();
        if before.jwks == jwks {
            return;
        }
        let next = Arc::new(before.replaced_by(jwks));
        *self.published.write() = Arc::clone(&next);
        before.withdraw_all_but(&next);
        let kids: Vec<_> = next.keys.keys().map(String::as_str).collect();
        if before.keys.is_empty() {
            tracing::debug!(kids = kids.join(" "), "loaded the key set of access tokens");
        } else {
            tracing::info!(kids = kids.join(" "), "the key set of access tokens has changed");
        }
    }
}

fn session(claims: AccessClaims) -> UserSession {
    let at = |seconds: i64| Timestamp::from_micros(seconds.saturating_mul(1_000_000));
    let PrincipalClaims::User { sid, auth_time, amr } = claims.principal;
    UserSession {
        user: claims.sub,
        id: sid,
        roles: claims.roles,
        scopes: claims.scope.split_ascii_whitespace().map(str::to_owned).collect(),
        authenticated: at(auth_time),
        methods: amr,
        expires: at(claims.exp),
    }
}

/// The token of an `authorization: Bearer …` header.
pub fn bearer(header: &HeaderValue) -> Option<&str> {
    let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests;
