//! Requests that the gateway serves itself by making calls: they are counted, limited and logged like the calls of one
//! method.

use std::sync::Arc;

use http::HeaderMap;
use kit::{access, principal::ClientCertificate, record::Call, repeated, trace::TraceContext};
use tonic::{Code, Status};
use tracing::Span;

use super::{Admission, RpcContext, admission::Holds, begin};
use crate::{http::client_address::Client, rate_limit::RateLimitHeaders, routes::Method, state::Snapshot};

/// The record of a request, from its arrival to the end of its response. If it is dropped without an end, the client
/// has cancelled the request.
pub(crate) struct OwnRequest {
    call: Call,
    /// Its places in limits.
    holds: Holds,
    /// Encloses the work for the request.
    pub(crate) span: Span,
    /// The trace of the request, to which its calls belong.
    pub(crate) trace: TraceContext,
    /// The rate limit headers of the response.
    pub(crate) rate_limit: Option<RateLimitHeaders>,
}

impl OwnRequest {
    /// Begins the record of a request that counts as a call of `method`.
    pub(crate) fn begin(
        method: &Method,
        client: Client,
        certificate: Option<&Arc<ClientCertificate>>,
        headers: &HeaderMap,
    ) -> Self {
        let (mut call, span, trace) = begin(&method.meter, client, headers);
        call.certificate = certificate.cloned();
        Self { call, holds: Holds::default(), span, trace, rate_limit: None }
    }

    /// Refuses ambiguous headers, and takes the request from the limits of `method`. Its calls check their caller
    /// themselves; here the caller only counts.
    pub(crate) async fn admit(
        &mut self,
        (context, snapshot): (&RpcContext, &Snapshot),
        method: &Method,
        client: Client,
        headers: &HeaderMap,
    ) -> Result<(), Status> {
        repeated::check(headers, Some(snapshot.config.rate_limits.api_key_header.as_str()))?;
        let proof = access::authenticate(headers, &context.service.keys, None).await;
        self.call.principal = proof.caller.principal;
        let admission = Admission { context, client };
        let admitted = admission.admit(method, self.call.principal.as_ref(), headers).await?;
        (self.holds, self.rate_limit) = (admitted.holds, admitted.headers);
        Ok(())
    }

    /// Ends the record, and frees the places in limits.
    pub(crate) fn end(mut self, code: Code) {
        self.call.end(code);
    }
}
