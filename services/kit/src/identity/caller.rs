//! Caller tokens: they inform an external upstream about the principal. The upstream never receives the principal's own
//! credential, with which it could act as the principal everywhere else.

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
use crate::{
    Timestamp, jwt,
    principal::{Principal, UserSession},
};

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
    auth_time: i64,
    amr: &'a [String],
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
    session: Arc<UserSession>,
    header: HeaderValue,
    issued: Timestamp,
    expires: Timestamp,
}

impl CallerTokens {
    /// Tokens for `audience`, signed by `identity`.
    pub fn new(identity: Arc<Identity>, audience: &str) -> Self {
        Self { identity, audience: audience.to_owned(), minted: Cache::new(MAX_CACHED) }
    }

    /// The `authorization` header that identifies `principal` to the upstream. `None`: upstreams are not informed about
    /// this kind of principal.
    pub fn header(&self, principal: &Principal) -> Option<HeaderValue> {
        match principal {
            Principal::User(session) => Some(self.of_session(session)),
            // Services of the mesh call external upstreams themselves, not through the gateway.
            Principal::Service(_) => None,
            // `sub` is a user of Trellis. A user of another issuer has a token of that issuer.
            Principal::External(_) => None,
        }
    }

    /// The header is valid for 60 seconds, and no longer than the user's own token.
    fn of_session(&self, session: &Arc<UserSession>) -> HeaderValue {
        let now = self.identity.clock_rng.now();
        // Another access token of the session may carry other roles.
        if let Some(kept) = self.minted.get(&session.id)
            && kept.session == *session
            && kept.issued <= now
            && now + REUSE_MARGIN < kept.expires
        {
            return kept.header.clone();
        }
        let expires = (now + LIFETIME).min(session.expires);
        let header = self.sign(session, now, expires);
        let token = MintedCallerToken { session: Arc::clone(session), header: header.clone(), issued: now, expires };
        self.minted.insert(session.id, Arc::new(token));
        header
    }

    fn sign(&self, session: &UserSession, now: Timestamp, expires: Timestamp) -> HeaderValue {
        let claims = CallerClaims {
            iss: CALLER_ISSUER,
            aud: &self.audience,
            sub: session.user,
            sid: session.id,
            auth_time: session.authenticated.as_secs(),
            amr: &session.methods,
            iat: now.as_secs(),
            exp: expires.as_secs(),
            roles: &session.roles,
            scope: session.scopes.join(" "),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ClockAndRng,
        identity::Key,
        principal::{MeshService, tests::session},
    };

    /// The claims of a header's token.
    fn claims(header: &HeaderValue) -> Value {
        let payload = header.to_str().unwrap().split('.').nth(1).unwrap();
        serde_json::from_slice(&BASE64URL.decode(payload).unwrap()).unwrap()
    }

    #[test]
    fn upstream_is_informed_about_users_only() {
        let clock_rng = ClockAndRng::system();
        let identity = Identity::new("gateway", &Key::generate(), [], clock_rng.clone()).unwrap();
        let tokens = CallerTokens::new(Arc::new(identity), "shop");
        let expires = clock_rng.now() + LIFETIME + LIFETIME;
        let session = |roles: &[&str]| {
            let roles = roles.iter().map(|role| (*role).to_owned()).collect();
            Principal::User(Arc::new(UserSession { roles, expires, ..UserSession::clone(&session()) }))
        };
        let header = tokens.header(&session(&[])).unwrap();
        let (user, own) = (claims(&header), crate::principal::tests::session());
        assert_eq!((&user["sub"], &user["sid"]), (&json!(own.user), &json!(own.id)));
        assert_eq!((&user["auth_time"], &user["amr"]), (&json!(0), &json!(["pwd"])));
        // Signing is expensive, so the session's header is reused until a claim changes.
        assert_eq!(tokens.header(&session(&[])).unwrap(), header);
        assert_eq!(claims(&tokens.header(&session(&["admin"])).unwrap())["roles"], json!(["admin"]));
        assert_eq!(tokens.header(&Principal::Service(MeshService::new("auth"))), None);
    }
}
