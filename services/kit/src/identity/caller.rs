//! Caller tokens: they inform an external upstream about the user. The upstream never receives the user's own token,
//! with which it could act as the user everywhere else.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use http::HeaderValue;
use jsonwebtoken::Algorithm;
use quick_cache::sync::Cache;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Identity, LIFETIME, REUSE_MARGIN};
use crate::{Timestamp, context::User, jwt};

/// The `iss` of caller tokens.
pub const CALLER_ISSUER: &str = "trellis-gateway";
/// The `typ` of caller tokens: neither an access token nor a service token.
pub const CALLER_TYPE: &str = "trellis-caller+jwt";

/// The number of tokens cached per upstream, one per session: 16 384 × about 700 bytes.
const MAX_CACHED: usize = 16_384;

/// The claims of a caller token, derived from a verified access token.
#[derive(Serialize)]
struct CallerClaims<'a> {
    iss: &'static str,
    aud: &'a str,
    sub: Uuid,
    sid: Uuid,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    roles: &'a [String],
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
}

/// The tokens for one upstream, cached until they expire, because signing is expensive.
pub struct CallerTokens {
    identity: Arc<Identity>,
    audience: String,
    minted: Cache<Uuid, Arc<MintedCallerToken>>,
}

struct MintedCallerToken {
    user: User,
    header: HeaderValue,
    issued: Timestamp,
    expires: Timestamp,
}

impl CallerTokens {
    /// Tokens for `audience`, signed by `identity`.
    pub fn new(identity: Arc<Identity>, audience: &str) -> Self {
        Self { identity, audience: audience.to_owned(), minted: Cache::new(MAX_CACHED) }
    }

    /// The `authorization` header that identifies `user` to the upstream. It is valid for 60 seconds, and no longer
    /// than the user's own token.
    pub fn header(&self, user: &User) -> HeaderValue {
        let now = self.identity.clock_rng.now();
        // Another access token of the session may carry other roles.
        if let Some(kept) = self.minted.get(&user.session)
            && kept.user == *user
            && kept.issued <= now
            && now + REUSE_MARGIN < kept.expires
        {
            return kept.header.clone();
        }
        let expires = (now + LIFETIME).min(user.expires);
        let header = self.sign(user, now, expires);
        let token = MintedCallerToken { user: user.clone(), header: header.clone(), issued: now, expires };
        self.minted.insert(user.session, Arc::new(token));
        header
    }

    fn sign(&self, user: &User, now: Timestamp, expires: Timestamp) -> HeaderValue {
        let claims = CallerClaims {
            iss: CALLER_ISSUER,
            aud: &self.audience,
            sub: user.id,
            sid: user.session,
            iat: now.as_secs(),
            exp: expires.as_secs(),
            roles: &user.roles,
            scope: user.scopes.join(" "),
        };
        let token = jwt::sign(Algorithm::EdDSA, CALLER_TYPE, &self.identity.key_id, &claims, &self.identity.key)
            .expect("the key was parsed when it was read");
        let mut header = HeaderValue::try_from(format!("Bearer {token}")).expect("a token is ASCII");
        header.set_sensitive(true);
        header
    }
}

/// The public key as JWK (RFC 8037), for upstreams that verify caller tokens.
pub(super) fn jwk(public: &[u8]) -> Value {
    let x = BASE64URL.encode(public);
    json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": thumbprint(&x), "x": x })
}

/// RFC 7638: the required members in the order of their names.
pub(super) fn thumbprint(x: &str) -> String {
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    BASE64URL.encode(digest(&SHA256, canonical.as_bytes()))
}
