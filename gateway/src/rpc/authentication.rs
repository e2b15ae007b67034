//! The principal of a call, and whether it may call the method.

use http::HeaderMap;
use kit::{
    Timestamp,
    access::{self, Failure, Proof},
    error,
    policy::Access,
    principal::Principal,
};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::RpcCall;
use crate::{
    issuers::{self, Verdict},
    routes::{Method, Target},
};

impl RpcCall<'_> {
    /// Verifies the credential. The wait for keys ends at the deadline of the call. A malformed timeout is refused later.
    pub(super) async fn authenticate_in_time(
        &self,
        method: &Method,
        headers: &HeaderMap,
        arrived: Instant,
    ) -> Result<Proof, Status> {
        let timeout = self.client_protocol.timeout(headers).ok().flatten();
        let proof = self.authenticate(method, headers);
        match [method.deadline, timeout].into_iter().flatten().min() {
            Some(most) => timeout_at(arrived + most, proof).await.map_err(|_| error::deadline_exceeded()),
            None => Ok(proof.await),
        }
    }

    /// Verifies the credential. A token of another issuer counts only for an upstream that accepts the issuer: for
    /// everything else it is no token.
    async fn authenticate(&self, method: &Method, headers: &HeaderMap) -> Proof {
        if let Target::ExternalUpstream { issuers, .. } = &method.target
            && let Some((issuer, token)) = issuers.of(headers)
        {
            let mut proof = Proof::default();
            match issuer.verify(token).await {
                Verdict::Genuine(user) => proof.caller.principal = Some(Principal::External(user)),
                Verdict::Expired => proof.failure = Some(Failure::Expired),
                Verdict::Invalid => proof.failure = Some(Failure::OtherIssuer),
                Verdict::Undecided => proof.failure = Some(Failure::OtherIssuerUndecided),
            }
            return proof;
        }
        let proof = access::authenticate(headers, &self.context.service.keys, None).await;
        if proof.failure == Some(Failure::OtherIssuer) {
            issuers::refused_unlisted(method.meter.method());
        }
        proof
    }
}

/// Admits the call, or returns the reason for the refusal.
pub(super) fn authorise(method: &Method, proof: &Proof, now: impl FnOnce() -> Timestamp) -> Result<(), Status> {
    let principal = proof.caller.principal.as_ref();
    // Its issuer is one that the upstream accepts.
    let is_external = matches!(principal, Some(Principal::External(_)));
    if !(is_external && method.access == Access::SIGNED_IN) {
        access::authorise(&method.access, proof)?;
    }
    access::check_step_up(method.step_up, proof, now)?;
    if !method.rules.needs_scopes() {
        return Ok(());
    }
    match principal {
        Some(principal) => method.rules.check_scopes(principal),
        None => access::authorise(&Access::SIGNED_IN, proof),
    }
}
