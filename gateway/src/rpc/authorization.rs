//! The step of external authorization.

use http::Request;
use kit::{access::Proof, limiter::network, overload::CallerKey, trace::TraceContext};
use tokio::time::Instant;
use tonic::Status;

use super::RpcCall;
use crate::{
    authorization::{CheckedCall, HeaderChanges},
    io::Inbound,
    routes::Method,
};

impl RpcCall<'_> {
    /// Asks the authorization service about the call. Headers that only the service sets are removed in any case.
    pub(super) async fn decide(
        &self,
        method: &Method,
        proof: &Proof,
        request: &mut Request<Inbound>,
        deadline: Option<Instant>,
        trace: &TraceContext,
    ) -> Result<HeaderChanges, Status> {
        let Some(authorizer) = &self.snapshot.authorizer else { return Ok(HeaderChanges::default()) };
        authorizer.strip(request.headers_mut());
        if !method.rules.is_externally_authorized {
            return Ok(HeaderChanges::default());
        }
        let principal = proof.caller.principal.as_ref();
        let (path, headers) = (request.uri().path(), request.headers());
        let caller = CallerKey::new(principal, network(self.client.address()));
        let (client, certificate) = (self.client, self.certificate.valid().map(|valid| &**valid));
        let checked = CheckedCall { path, headers, client, principal, certificate, trace, caller, deadline };
        authorizer.decide(checked).await
    }
}
