//! The public keys of access tokens, and the verification of tokens by them.
//!
//! The last good key set is kept while auth is away. An unknown key id causes at most one fetch a second,
//! whatever strangers send. Verified tokens are remembered by a hash until they end.
//!
//! A session that auth ended is refused from the moment that its [`REVOKED`] signal is heard. The signal is a hint and
//! may be lost. So a process reads auth's list of ended sessions before it is ready, and again whenever the bus may have
//! lost signals.

mod ended;
mod revoked;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use http::HeaderValue;
use jsonwebtoken::{Algorithm, DecodingKey};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use ended::Ended;
pub use ended::{EndedPage, EndedSessions};
pub use revoked::LONGEST_ACCESS;
use revoked::Revoked;
use uuid::Uuid;

use crate::{
    Ambient, Timestamp,
    bus::{Bus, Heard},
    context::User,
    jwt::{self, AccessClaims},
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

/// The time between two fetches, at least.
const FETCH_PAUSE: Duration = Duration::from_secs(1);
/// How many verified tokens are remembered in each of two generations: 2 × 32 768 × about 250 bytes.
const REMEMBERED: usize = 32_768;

/// The key set of a process.
pub struct KeySet {
    source: Box<dyn KeySource>,
    ambient: Ambient,
    known: RwLock<Arc<Known>>,
    /// When the last fetch began. Async, so that callers who wait for a fetch share it.
    fetched: tokio::sync::Mutex<Option<Timestamp>>,
    verified: Mutex<Generations>,
    revoked: Revoked,
    ended: Ended,
}

#[derive(Default)]
struct Known {
    jwks: Vec<Jwk>,
    keys: HashMap<String, DecodingKey>,
}

/// Two maps: when the newer is full, the older is dropped. A hit in the older moves up.
#[derive(Default)]
struct Generations {
    newer: HashMap<[u8; 32], User>,
    older: HashMap<[u8; 32], User>,
}

impl Generations {
    fn get(&mut self, hash: &[u8; 32]) -> Option<User> {
        if let Some(user) = self.newer.get(hash) {
            return Some(user.clone());
        }
        let user = self.older.remove(hash)?;
        self.insert(*hash, user.clone());
        Some(user)
    }

    fn insert(&mut self, hash: [u8; 32], user: User) {
        if self.newer.len() >= REMEMBERED {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(hash, user);
    }
}

impl KeySet {
    /// A key set that fills itself from `source`.
    pub fn new(source: impl KeySource + 'static, ambient: Ambient) -> Self {
        Self {
            source: Box::new(source),
            ambient,
            known: RwLock::default(),
            fetched: tokio::sync::Mutex::default(),
            verified: Mutex::default(),
            revoked: Revoked::default(),
            ended: Ended::default(),
        }
    }

    /// Refuses the session's access tokens from now on, and wakes who waits for its end.
    pub fn revoke(&self, session: Uuid) {
        self.revoked.insert([session], self.ambient.now());
    }

    /// Whether the session is known to have been ended.
    pub fn is_revoked(&self, session: Uuid) -> bool {
        self.revoked.contains(session)
    }

    /// Ends when the session is known to have been ended; streams wait for it.
    pub async fn revoked(&self, session: Uuid) {
        self.revoked.wait_for(session).await;
    }

    /// Takes in what auth tells on `bus`, from this call on and until the process is cut: run the answer beside
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
        self.known().jwks.clone()
    }

    /// Whether tokens can be verified: there was a key set, and the list of ended sessions was read. Tries to get what
    /// is missing.
    pub async fn ready(&self) -> bool {
        if self.known().keys.is_empty() {
            self.refresh().await;
        }
        !self.known().keys.is_empty() && (self.ended.is_known() || self.read_ended().await)
    }

    /// Verifies an access token that was verified here before: no arithmetic, no waiting. `None`: unknown.
    pub fn recall(&self, token: &str) -> Option<Verdict> {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        let user = verified.get(&hash(token))?;
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
        if !self.known().keys.contains_key(&kid) {
            self.refresh().await;
        }
        let known = self.known();
        match known.keys.get(&kid) {
            None if known.keys.is_empty() => Verdict::Undecided,
            None => Verdict::Invalid,
            Some(key) => self.check(token, key),
        }
    }

    fn check(&self, token: &str, key: &DecodingKey) -> Verdict {
        let verified = jwt::verify(token, Algorithm::ES256, key, jwt::AUDIENCE, Some(jwt::ISSUER));
        let Ok(claims) = verified else { return Verdict::Invalid };
        let user = user(claims);
        let verdict = self.in_force(user.clone());
        if matches!(verdict, Verdict::Genuine(_)) {
            self.verified.lock().unwrap_or_else(PoisonError::into_inner).insert(hash(token), user);
        }
        verdict
    }

    /// What a genuine token is good for now.
    fn in_force(&self, user: User) -> Verdict {
        if self.is_revoked(user.session) {
            Verdict::Revoked
        } else if self.ambient.now() < user.expires {
            Verdict::Genuine(user)
        } else {
            Verdict::Expired
        }
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fetches the keys, unless that was tried within the last second.
    async fn refresh(&self) {
        let mut fetched = self.fetched.lock().await;
        let now = self.ambient.now();
        if fetched.is_some_and(|at| now < at + FETCH_PAUSE) {
            return;
        }
        *fetched = Some(now);
        match self.source.fetch().await {
            Ok(jwks) if !jwks.is_empty() => {
                let keys = jwks.iter().filter_map(decode).collect();
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Known { jwks, keys });
            }
            Ok(_) => tracing::warn!("auth answered an empty key set; the last one stays"),
            Err(error) => tracing::warn!(%error, "the last key set stays"),
        }
    }
}

fn decode(jwk: &Jwk) -> Option<(String, DecodingKey)> {
    let right = jwk.kty == "EC" && jwk.crv == "P-256" && jwk.alg == "ES256";
    let key = right.then(|| DecodingKey::from_ec_components(&jwk.x, &jwk.y).ok()).flatten()?;
    Some((jwk.kid.clone(), key))
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

fn hash(token: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}

/// The token of an `authorization: Bearer …` header.
pub fn bearer(header: &HeaderValue) -> Option<&str> {
    let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests;
