//! Each access rule with each caller, and the caller that each combination of credentials proves.

use std::time::Duration;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};

use super::*;
use crate::{
    ClockAndRng,
    client::write_context,
    context::Context,
    identity::Key,
    jwk::Jwk,
    jwt::{AUDIENCE, AccessClaims, AccessKey, ISSUER, PrincipalClaims},
    keys::{KeySource, Unavailable},
    principal::tests::session,
};

fn user() -> Option<Principal> {
    Some(Principal::User(session()))
}

fn service(name: &str) -> Option<Principal> {
    Some(Principal::Service(MeshService::new(name)))
}

fn proof(principal: Option<Principal>, peer: Option<&str>) -> Proof {
    let caller = Caller { principal, peer: peer.map(MeshService::new), ..Caller::default() };
    Proof { caller, ..Proof::default() }
}

fn failed(failure: Failure) -> Proof {
    Proof { failure: Some(failure), ..Proof::default() }
}

/// `yes`, or the reason of the refusal.
fn decision(access: &Access, proof: &Proof) -> String {
    let refused = |status: Status| error::reason(&status).unwrap_or_default();
    authorise(access, proof).map_or_else(refused, |()| "yes".to_owned())
}

#[test]
fn each_rule_decides_about_each_caller() {
    let rules = [Access::Public, Access::SIGNED_IN, Access::Internal { callers: vec!["auth".to_owned()] }];
    let rejected = |principal| Proof { rejected: Some(Rejected::Signature), ..proof(principal, None) };
    // The caller, and the decisions for a public, a signed-in and an internal method.
    let table = [
        ("anonymous client", proof(None, None), ["yes", "SIGN_IN_REQUIRED", "INTERNAL_METHOD"]),
        ("user", proof(user(), None), ["yes", "yes", "INTERNAL_METHOD"]),
        ("listed service", proof(service("auth"), Some("auth")), ["yes", "SIGN_IN_REQUIRED", "yes"]),
        ("other service", proof(service("users"), Some("users")), ["yes", "SIGN_IN_REQUIRED", "SERVICE_NOT_ALLOWED"]),
        ("user by listed service", proof(user(), Some("auth")), ["yes", "yes", "yes"]),
        ("user by other service", proof(user(), Some("gateway")), ["yes", "yes", "SERVICE_NOT_ALLOWED"]),
        ("anonymous by service", proof(None, Some("gateway")), ["yes", "SIGN_IN_REQUIRED", "SERVICE_NOT_ALLOWED"]),
        ("expired token", failed(Failure::Expired), ["yes", "TOKEN_EXPIRED", "INTERNAL_METHOD"]),
        ("revoked session", failed(Failure::Revoked), ["yes", "SESSION_REVOKED", "INTERNAL_METHOD"]),
        ("invalid token", failed(Failure::Invalid), ["yes", "TOKEN_INVALID", "INTERNAL_METHOD"]),
        ("token of another issuer", failed(Failure::OtherIssuer), ["yes", "TOKEN_INVALID", "INTERNAL_METHOD"]),
        ("no key set", failed(Failure::Undecided), ["yes", "UNAVAILABLE", "INTERNAL_METHOD"]),
        (
            "no key set of an accepted issuer",
            failed(Failure::OtherIssuerUndecided),
            ["UNAVAILABLE", "UNAVAILABLE", "INTERNAL_METHOD"],
        ),
        ("rejected service token", rejected(None), ["SERVICE_TOKEN_INVALID"; 3]),
        ("user by rejected service", rejected(user()), ["SERVICE_TOKEN_INVALID"; 3]),
    ];
    for (caller, proof, expected) in table {
        for (rule, expected) in rules.iter().zip(expected) {
            assert_eq!(decision(rule, &proof), expected, "{rule:?} by {caller}");
        }
    }
}

#[test]
fn refusal_states_why_the_token_was_not_accepted() {
    for (failure, code) in [
        (Failure::Expired, Code::Unauthenticated),
        (Failure::Revoked, Code::Unauthenticated),
        (Failure::Unreadable, Code::Unauthenticated),
        (Failure::Invalid, Code::Unauthenticated),
        (Failure::OtherIssuer, Code::Unauthenticated),
        (Failure::Undecided, Code::Unavailable),
        (Failure::OtherIssuerUndecided, Code::Unavailable),
    ] {
        assert_eq!(authorise(&Access::SIGNED_IN, &failed(failure)).unwrap_err().code(), code);
    }
    for peer in [None, Some("users")] {
        let internal = Access::Internal { callers: vec!["auth".to_owned()] };
        assert_eq!(authorise(&internal, &proof(user(), peer)).unwrap_err().code(), Code::PermissionDenied);
    }
}

#[tokio::test]
async fn header_without_a_token_is_explained() {
    let (_, keys) = access_token(&ClockAndRng::system(), Duration::from_secs(60));
    for value in ["Basic YTpi", "Bearer", "x"] {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))]);
        let proof = authenticate(&headers, &keys, None).await;
        assert_eq!(proof.failure, Some(Failure::Unreadable), "{value}");
        let refused = authorise(&Access::SIGNED_IN, &proof).unwrap_err();
        assert_eq!(error::reason(&refused).as_deref(), Some("TOKEN_INVALID"));
        assert!(refused.message().contains("authorization: Bearer TOKEN"), "{}", refused.message());
    }
}

/// Such a token is never valid here: a repeat with it, or another session, would not help.
#[tokio::test]
async fn token_of_another_issuer_is_explained() {
    let part = |text: &str| BASE64URL.encode(text);
    let other = format!("{}.{}.c2ln", part(r#"{"alg":"ES256"}"#), part(r#"{"iss":"https://login.acme.test"}"#));
    let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {other}")).unwrap())]);
    let (_, known) = access_token(&ClockAndRng::system(), Duration::from_secs(60));
    for keys in [known, KeySet::new(NoAuth, ClockAndRng::system())] {
        let proof = authenticate(&headers, &keys, None).await;
        assert_eq!(proof.failure, Some(Failure::OtherIssuer));
        let refused = authorise(&Access::SIGNED_IN, &proof).unwrap_err();
        assert_eq!(error::reason(&refused).as_deref(), Some("TOKEN_INVALID"));
        assert!(refused.message().contains("of another issuer"), "{}", refused.message());
    }
}

struct NoAuth;

#[async_trait]
impl KeySource for NoAuth {
    async fn fetch(&self) -> Result<Vec<Jwk>, Unavailable> {
        Err(Unavailable("there is no auth".to_owned()))
    }
}

#[test]
fn unreadable_client_address_counts_as_the_unspecified_one() {
    let read = |value: &'static [u8]| {
        let name = http::HeaderName::from_static(CLIENT_ADDRESS);
        let headers = HeaderMap::from_iter([(name, HeaderValue::from_bytes(value).unwrap())]);
        client_address(&headers).unwrap().to_string()
    };
    assert_eq!(read(b"192.0.2.1"), "192.0.2.1");
    for unreadable in [&b"\xff"[..], b"", b"192.0.2.1, 192.0.2.2"] {
        assert_eq!(read(unreadable), "::");
    }
    assert_eq!(client_address(&HeaderMap::new()), None);
}

struct Auth(Jwk);

#[async_trait]
impl KeySource for Auth {
    async fn fetch(&self) -> Result<Vec<Jwk>, Unavailable> {
        Ok(vec![self.0.clone()])
    }
}

/// A user's access token, and the key set that verifies it.
fn access_token(clock_rng: &ClockAndRng, lifetime: Duration) -> (HeaderValue, KeySet) {
    let key = AccessKey::from_pkcs8(&AccessKey::generate()).unwrap();
    let (now, session) = (clock_rng.now() - Duration::from_secs(60), session());
    let claims = AccessClaims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: session.user,
        principal: PrincipalClaims::User { sid: session.id, auth_time: 7, amr: vec!["pwd".to_owned()] },
        iat: now.as_secs(),
        exp: (now + lifetime).as_secs(),
        jti: clock_rng.new_id(),
        roles: vec!["admin".to_owned()],
        scope: "read write".to_owned(),
    };
    let header = HeaderValue::try_from(format!("Bearer {}", key.sign(&claims).unwrap())).unwrap();
    (header, KeySet::new(Auth(key.jwk().clone()), clock_rng.clone()))
}

#[tokio::test]
async fn claims_of_a_token_become_the_principal() {
    let clock_rng = ClockAndRng::system();
    let (token, keys) = access_token(&clock_rng, Duration::from_secs(600));
    let proof = authenticate(&HeaderMap::from_iter([(AUTHORIZATION, token)]), &keys, None).await;
    let Some(Principal::User(found)) = proof.caller.principal else { panic!("{:?}", proof.failure) };
    assert_eq!((found.user, found.id), (session().user, session().id));
    assert_eq!((found.authenticated.as_secs(), &found.methods[..]), (7, &["pwd".to_owned()][..]));
    assert_eq!(
        (&found.roles[..], &found.scopes[..]),
        (&["admin".to_owned()][..], &["read", "write"].map(str::to_owned)[..])
    );
}

/// Identities of services that trust one another.
fn identities<const N: usize>(names: [&str; N], clock_rng: &ClockAndRng) -> [Identity; N] {
    let keys = names.map(|_| Key::generate());
    let public = keys.each_ref().map(Key::public);
    let trusted = || names.into_iter().zip(public.iter().map(String::as_str));
    std::array::from_fn(|at| Identity::new(names[at], &keys[at], trusted(), clock_rng.clone()).unwrap())
}

#[tokio::test]
async fn service_is_the_principal_of_its_own_calls_only() {
    let clock_rng = ClockAndRng::system();
    let [caller, callee] = identities(["auth", "users"], &clock_rng);
    let (valid, keys) = access_token(&clock_rng, Duration::from_secs(600));
    let (expired, expired_keys) = access_token(&clock_rng, Duration::from_secs(30));
    let address = HeaderValue::from_static("192.0.2.1");
    // The headers beside the service token, and the kind of the principal.
    let cases = [
        (None, None, Some("service")),
        (None, Some(&address), None),
        (Some((&valid, &keys)), None, Some("user")),
        (Some((&valid, &keys)), Some(&address), Some("user")),
        (Some((&expired, &expired_keys)), None, None),
    ];
    for (token, address, kind) in cases {
        let mut headers = HeaderMap::new();
        headers.insert(SERVICE_TOKEN, caller.token_for("users"));
        if let Some((token, _)) = token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        if let Some(address) = address {
            headers.insert(CLIENT_ADDRESS, address.clone());
        }
        let proof = authenticate(&headers, token.map_or(&keys, |(_, keys)| keys), Some(&callee)).await;
        assert_eq!(proof.caller.principal.as_ref().map(Principal::kind), kind, "{headers:?}");
        assert_eq!(proof.caller.peer, Some(MeshService::new("auth")));
        // The gateway has no use for service tokens: they name no peer there.
        let outside = authenticate(&headers, token.map_or(&keys, |(_, keys)| keys), None).await;
        assert_eq!((outside.caller.peer, outside.caller.address), (None, None));
    }
}

/// A sign-up: auth calls users for a client without an access token.
#[tokio::test]
async fn call_for_an_anonymous_client_is_not_the_services_own() {
    let clock_rng = ClockAndRng::system();
    let [gateway, auth, users] = identities(["gateway", "auth", "users"], &clock_rng);
    let (token, keys) = access_token(&clock_rng, Duration::from_secs(600));
    let client: IpAddr = "192.0.2.1".parse().unwrap();
    // The call of the gateway to auth, and the call that auth makes because of it.
    let forwarded = async |token: Option<&HeaderValue>| {
        let mut headers = HeaderMap::new();
        headers.insert(SERVICE_TOKEN, gateway.token_for("auth"));
        headers.insert(CLIENT_ADDRESS, HeaderValue::from_static("192.0.2.1"));
        headers.extend(token.map(|token| (AUTHORIZATION, token.clone())));
        authenticate(&headers, &keys, Some(&auth)).await.caller
    };
    let cases = [
        (forwarded(None).await, None, Some(client)),
        (forwarded(Some(&token)).await, Some("user"), Some(client)),
        (Caller::default(), Some("service"), None),
    ];
    for (caller, kind, address) in cases {
        let mut headers = HeaderMap::new();
        headers.insert(SERVICE_TOKEN, auth.token_for("users"));
        write_context(Context { caller, ..Context::default() }, &mut headers);
        let received = authenticate(&headers, &keys, Some(&users)).await.caller;
        assert_eq!(received.principal.as_ref().map(Principal::kind), kind, "{headers:?}");
        assert_eq!((received.peer, received.address), (Some(MeshService::new("auth")), address));
    }
}
