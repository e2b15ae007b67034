//! Each access rule with each result of the authentication.

use uuid::Uuid;

use super::*;
use crate::{Timestamp, context::User};

fn user() -> User {
    User {
        id: Uuid::from_u128(1),
        session: Uuid::from_u128(2),
        roles: Vec::new(),
        scopes: Vec::new(),
        expires: Timestamp::from_micros(1),
    }
}

fn proof(user: Option<User>, service: Option<&str>, failure: Option<Failure>) -> Proof {
    let caller = Caller { user, service: service.map(str::to_owned), ..Caller::default() };
    Proof { caller, failure, rejected: None }
}

/// `OK`, or the code and the reason of the refusal.
fn decided(access: &Access, proof: &Proof) -> String {
    match authorise(access, proof) {
        Ok(()) => "OK".to_owned(),
        Err(status) => format!("{:?} {}", status.code(), error::reason(&status).unwrap_or_default()),
    }
}

fn internal() -> Access {
    Access::Internal { callers: vec!["auth".to_owned()] }
}

#[test]
fn rule_and_identity_decide() {
    let nothing = proof(None, None, None);
    let signed_in = proof(Some(user()), None, None);
    let auth = proof(Some(user()), Some("auth"), None);
    let gateway = proof(Some(user()), Some("gateway"), None);
    for (rule, of, expected) in [
        (Access::Public, &nothing, "OK"),
        (Access::Public, &signed_in, "OK"),
        (Access::SignedIn, &nothing, "Unauthenticated SIGN_IN_REQUIRED"),
        (Access::SignedIn, &signed_in, "OK"),
        (Access::SignedIn, &auth, "OK"),
        (internal(), &nothing, "PermissionDenied INTERNAL_METHOD"),
        (internal(), &signed_in, "PermissionDenied INTERNAL_METHOD"),
        (internal(), &gateway, "PermissionDenied SERVICE_NOT_ALLOWED"),
        (internal(), &auth, "OK"),
    ] {
        assert_eq!(decided(&rule, of), expected, "{rule:?} {of:?}");
    }
}

#[test]
fn refusal_states_why_the_token_was_not_accepted() {
    for (failure, expected) in [
        (Failure::Expired, "Unauthenticated TOKEN_EXPIRED"),
        (Failure::Revoked, "Unauthenticated SESSION_REVOKED"),
        (Failure::Invalid, "Unauthenticated TOKEN_INVALID"),
        (Failure::Undecided, "Unavailable UNAVAILABLE"),
    ] {
        let failed = proof(None, None, Some(failure));
        assert_eq!(decided(&Access::SignedIn, &failed), expected);
        assert_eq!(decided(&Access::Public, &failed), "OK", "a public method needs no token");
    }
}

/// Otherwise a call with a rejected service token would continue as a call of its user.
#[test]
fn rejected_service_token_is_refused_by_every_rule() {
    let rejected = Proof { rejected: Some(Rejected::Signer), ..proof(Some(user()), None, None) };
    for rule in [Access::Public, Access::SignedIn, internal()] {
        assert_eq!(decided(&rule, &rejected), "Unauthenticated SERVICE_TOKEN_INVALID", "{rule:?}");
    }
}

#[test]
fn unreadable_client_address_counts_as_the_unspecified_one() {
    let read = |value: &'static [u8]| {
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static(CLIENT_ADDRESS),
            http::HeaderValue::from_bytes(value).unwrap(),
        )]);
        client_address(&headers).unwrap().to_string()
    };
    assert_eq!(read(b"192.0.2.1"), "192.0.2.1");
    for unreadable in [&b"\xff"[..], b"", b"192.0.2.1, 192.0.2.2"] {
        assert_eq!(read(unreadable), "::");
    }
    assert_eq!(client_address(&HeaderMap::new()), None);
}
