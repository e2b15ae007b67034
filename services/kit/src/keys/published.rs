//! The published keys, and the cache of verified tokens.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use jsonwebtoken::DecodingKey;
use quick_cache::sync::Cache;
use ring::digest::{SHA256, digest};

use crate::{jwk::Jwk, principal::UserSession};

/// The maximum number of cached tokens: 65 536 × about 250 bytes.
const MOST_VERIFIED: usize = 65_536;

/// A key that auth publishes or has published.
pub(super) struct PublicKey {
    jwk: Jwk,
    pub(super) key: DecodingKey,
    /// Whether it is in the current set. Cached verdicts refer to their key, so that they end with it.
    is_published: AtomicBool,
}

impl PublicKey {
    fn new(jwk: &Jwk) -> Option<Self> {
        let is_supported = jwk.kty == "EC" && jwk.crv == "P-256" && jwk.alg == "ES256";
        let key = is_supported.then(|| DecodingKey::from_ec_components(&jwk.x, &jwk.y).ok()).flatten()?;
        Some(Self { jwk: jwk.clone(), key, is_published: AtomicBool::new(true) })
    }
}

/// One version of the key set.
#[derive(Default)]
pub(super) struct Published {
    pub(super) jwks: Vec<Jwk>,
    /// By key id.
    pub(super) keys: HashMap<String, Arc<PublicKey>>,
}

impl Published {
    /// The next version. Unchanged keys keep their cached verdicts.
    pub(super) fn replaced_by(&self, jwks: Vec<Jwk>) -> Self {
        let kept = |jwk: &Jwk| self.keys.get(&jwk.kid).filter(|known| known.jwk == *jwk).cloned();
        let key = |jwk: &Jwk| kept(jwk).or_else(|| PublicKey::new(jwk).map(Arc::new));
        let keys = jwks.iter().filter_map(|jwk| Some((jwk.kid.clone(), key(jwk)?))).collect();
        Self { jwks, keys }
    }

    /// Ends the cached verdicts of keys that `next` does not have.
    pub(super) fn withdraw_all_but(&self, next: &Self) {
        for (kid, key) in &self.keys {
            if !next.keys.get(kid).is_some_and(|kept| Arc::ptr_eq(kept, key)) {
                key.is_published.store(false, Ordering::Release);
            }
        }
    }
}

/// A cache of verified tokens by their hash.
pub(super) struct VerifiedTokens(Cache<[u8; 32], Arc<VerifiedToken>>);

struct VerifiedToken {
    session: Arc<UserSession>,
    key: Arc<PublicKey>,
}

impl Default for VerifiedTokens {
    fn default() -> Self {
        Self(Cache::new(MOST_VERIFIED))
    }
}

impl VerifiedTokens {
    /// The token's session, unless its key has left the set.
    pub(super) fn get(&self, token: &str) -> Option<Arc<UserSession>> {
        let hash = hash(token);
        let found = self.0.get(&hash)?;
        if found.key.is_published.load(Ordering::Acquire) {
            return Some(Arc::clone(&found.session));
        }
        self.0.remove(&hash);
        None
    }

    pub(super) fn insert(&self, token: &str, session: Arc<UserSession>, key: Arc<PublicKey>) {
        self.0.insert(hash(token), Arc::new(VerifiedToken { session, key }));
    }
}

fn hash(token: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}
