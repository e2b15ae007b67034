//! The principal of a call, and whether it may call the method.

use http::HeaderMap;
use kit::{
    access::{self, Failure, Proof},
    policy::Access,
    principal::Principal,
};
use tonic::Status;

use super::RpcCall;
use crate::{
    issuers::Verdict,
    routes::{Method, Target},
};

impl RpcCall<'_> {
    /// Verifies the credential. A token of another issuer counts only for an upstream that accepts the issuer: for
    /// everything else it is no token.
    pub(super) async fn authenticate(&self, method: &Method, headers: &HeaderMap) -> Proof {
        if let Target::ExternalUpstream { issuers, .. } = &method.target
            && let Some((issuer, token)) = issuers.of(headers)
        {
            let mut proof = Proof::default();
            match issuer.verify(token).await {
                Verdict::Genuine(user) => proof.caller.principal = Some(Principal::External(user)),
                Verdict::Expired => proof.failure = Some(Failure::Expired),
                Verdict::Invalid => proof.failure = Some(Failure::Invalid),
                Verdict::Undecided => proof.failure = Some(Failure::Undecided),
            }
            return proof;
        }
        access::authenticate(headers, &self.context.service.keys, None).await
    }
}

/// Admits the call, or returns the reason for the refusal.
pub(super) fn authorise(method: &Method, proof: &Proof) -> Result<(), Status> {
    let principal = proof.caller.principal.as_ref();
    // Its issuer is one that the upstream accepts.
    let is_external = matches!(principal, Some(Principal::External(_)));
    if !(is_external && method.access == Access::SignedIn) {
        access::authorise(&method.access, proof)?;
    }
    if !method.rules.needs_scopes() {
        return Ok(());
    }
    match principal {
        Some(principal) => method.rules.check_scopes(principal),
        None => access::authorise(&Access::SignedIn, proof),
    }
}
