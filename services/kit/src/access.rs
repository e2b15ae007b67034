//! Access decisions: the contract's rule and the caller's verified principal decide. The gateway decides, and the
//! service decides again.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use tonic::{Code, Status};

use crate::{
    Timestamp,
    context::Caller,
    error,
    identity::{CLIENT_ADDRESS, Identity, Rejected, SERVICE_TOKEN},
    jwt,
    keys::{self, KeySet, Verdict},
    policy::{Access, NeededPermission},
    principal::{MeshService, Principal},
    reason,
};

/// The result of verifying the headers of a call. The reason for an invalid access token is kept, because a public
/// method accepts the call anyway.
#[derive(Debug, Clone, Default)]
pub struct Proof {
    /// The verified caller.
    pub caller: Caller,
    /// Why the access token was not accepted.
    pub failure: Option<Failure>,
    /// Why the service token was not accepted. Such a call is refused for all methods: otherwise it would continue as
    /// another caller's.
    pub rejected: Option<Rejected>,
}

/// Why an access token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It has expired: refresh it.
    Expired,
    /// Its session was ended: sign in again.
    Revoked,
    /// The header has another scheme than `Bearer`, or no token.
    Unreadable,
    /// It is not one of our tokens.
    Invalid,
    /// It states another issuer, and is not valid here.
    OtherIssuer,
    /// No key is available yet to verify it.
    Undecided,
    /// It states an issuer that the method's service accepts, and no key of this issuer is available. Not even a public
    /// method accepts the call: its service would take the caller for an anonymous one.
    OtherIssuerUndecided,
}

/// Verifies the access token, and the service token if there is an `identity`.
pub async fn authenticate(headers: &HeaderMap, keys: &KeySet, identity: Option<&Identity>) -> Proof {
    let mut proof = match headers.get(AUTHORIZATION) {
        Some(header) => access_token(header, keys).await,
        None => Proof::default(),
    };
    if let Some((identity, token)) = identity.zip(headers.get(SERVICE_TOKEN)) {
        // A header that is not text is not a token.
        match identity.verify(token.to_str().unwrap_or_default()) {
            Ok(service) => proof.accept_peer(service, client_address(headers)),
            Err(rejected) => proof.rejected = Some(rejected),
        }
    }
    proof
}

async fn access_token(header: &HeaderValue, keys: &KeySet) -> Proof {
    let Some(token) = keys::bearer(header) else {
        return Proof { failure: Some(Failure::Unreadable), ..Proof::default() };
    };
    let failure = match keys.verify(token).await {
        Verdict::Genuine(session) => {
            let (principal, bearer) = (Some(Principal::User(session)), Some(header.clone()));
            return Proof { caller: Caller { principal, bearer, ..Caller::default() }, ..Proof::default() };
        }
        Verdict::Expired => Failure::Expired,
        Verdict::Revoked => Failure::Revoked,
        // No key of ours can make it valid.
        Verdict::Invalid | Verdict::Undecided if is_of_other_issuer(token) => Failure::OtherIssuer,
        Verdict::Invalid => Failure::Invalid,
        Verdict::Undecided => Failure::Undecided,
    };
    Proof { failure: Some(failure), ..Proof::default() }
}

/// Whether a token states another issuer. Nothing of it is verified, so that this only selects a message.
fn is_of_other_issuer(token: &str) -> bool {
    jwt::stated_issuer(token).is_some_and(|issuer| issuer != jwt::ISSUER)
}

impl Proof {
    /// Adds the service that sent the call. It is the principal only of a call that it makes for itself: one with
    /// neither an access token nor the address of a client.
    fn accept_peer(&mut self, service: MeshService, client: Option<IpAddr>) {
        let caller = &mut self.caller;
        if caller.principal.is_none() && self.failure.is_none() && client.is_none() {
            caller.principal = Some(Principal::Service(service.clone()));
        }
        caller.peer = Some(service);
        caller.address = client;
    }
}

/// `None`: the service calls on its own behalf. An unreadable address counts as the unspecified one, as for a client
/// whose address the gateway does not know. It is limited as one network instead of not at all.
fn client_address(headers: &HeaderMap) -> Option<IpAddr> {
    let address = headers.get(CLIENT_ADDRESS)?.to_str().ok().and_then(|text| text.parse().ok());
    Some(address.unwrap_or(Ipv6Addr::UNSPECIFIED.into()))
}

/// Admits the call, or returns the reason for the refusal.
pub fn authorise(access: &Access, proof: &Proof) -> Result<(), Status> {
    if let Some(rejected) = proof.rejected {
        return Err(rejected.status());
    }
    match access {
        Access::Public if proof.failure == Some(Failure::OtherIssuerUndecided) => Err(not_signed_in(proof.failure)),
        Access::Public => Ok(()),
        Access::SignedIn { permissions } => match &proof.caller.principal {
            Some(principal @ Principal::User(_)) => {
                permissions.iter().try_for_each(|needed| check_permission(needed, principal))
            }
            // A service may call such a method only on behalf of a user. A user of another issuer is none of Trellis.
            Some(Principal::Service(_) | Principal::External(_)) | None => Err(not_signed_in(proof.failure)),
        },
        // The peer decides, for every principal: the method relies on the checks of the service that calls it.
        Access::Internal { callers } => match &proof.caller.peer {
            Some(peer) if callers.iter().any(|name| name == peer.name()) => Ok(()),
            Some(_) => Err(denied(
                "SERVICE_NOT_ALLOWED",
                "this service may not call the method; its contract lists the callers",
            )),
            None => {
                Err(denied("INTERNAL_METHOD", "only services of the mesh may call the method, with a service token"))
            }
        },
    }
}

/// Refuses a principal without the permission: one of its roles must grant it, and its credential must have the scope.
fn check_permission(needed: &NeededPermission, principal: &Principal) -> Result<(), Status> {
    let NeededPermission { scope, roles } = needed;
    let missing = || [("permission", scope.clone()), ("roles", roles.join(","))];
    if !roles.iter().any(|role| principal.roles().contains(role)) {
        let message = format!(
            "the account does not have the permission {scope}, which the method requires; ask an admin for the role {}",
            roles.join(" or ")
        );
        return Err(error::status_with(Code::PermissionDenied, "ROLE_REQUIRED", &message, missing()));
    }
    if !principal.scopes().contains(scope) {
        let message = format!("the access token does not have the scope {scope}, which the method requires");
        return Err(error::status_with(Code::PermissionDenied, "SCOPE_REQUIRED", &message, missing()));
    }
    Ok(())
}

/// Refuses a user of an authorised call whose proof is older than `step_up` (RFC 9470). The details state the accepted
/// proofs (RFC 8176). `now` is called only if the method needs a recent proof.
pub fn check_step_up(step_up: Option<Duration>, proof: &Proof, now: impl FnOnce() -> Timestamp) -> Result<(), Status> {
    let Some(max_age) = step_up else { return Ok(()) };
    let is_recent = match &proof.caller.principal {
        Some(Principal::User(session)) => now() <= session.authenticated + max_age,
        // Neither has proved anything to auth.
        Some(Principal::Service(_) | Principal::External(_)) | None => false,
    };
    if is_recent {
        return Ok(());
    }
    let seconds = max_age.as_secs().to_string();
    let metadata = [("max_age_seconds", seconds), ("proofs", "pwd".to_owned())];
    let message = "the method needs a recent proof of who you are; enter your password again (Reauthenticate)";
    Err(error::status_with(Code::Unauthenticated, "STEP_UP_REQUIRED", message, metadata))
}

fn not_signed_in(failure: Option<Failure>) -> Status {
    let refused = |reason, message| error::status(Code::Unauthenticated, reason, message);
    match failure {
        None => refused(
            reason::SIGN_IN_REQUIRED,
            "only signed-in users may call the method; sign in, and send the access token as authorization: Bearer TOKEN",
        ),
        Some(Failure::Unreadable) => refused(
            reason::TOKEN_INVALID,
            "the header authorization has no access token; send it as authorization: Bearer TOKEN",
        ),
        Some(Failure::Expired) => refused(reason::TOKEN_EXPIRED, "the access token has expired; refresh it"),
        Some(Failure::Revoked) => refused(reason::SESSION_REVOKED, "the session was ended; sign in again"),
        Some(Failure::Invalid) => refused(reason::TOKEN_INVALID, "the access token is not valid; sign in again"),
        Some(Failure::OtherIssuer) => refused(
            reason::TOKEN_INVALID,
            "the access token is of another issuer than Trellis, and this method does not accept it: get a token for \
             this API from an issuer that its operator accepts",
        ),
        Some(Failure::Undecided) => error::unavailable("the key set of access tokens"),
        Some(Failure::OtherIssuerUndecided) => error::unavailable("the key set of the token's issuer"),
    }
}

fn denied(reason: &str, message: &str) -> Status {
    error::status(Code::PermissionDenied, reason, message)
}

#[cfg(test)]
mod tests;
