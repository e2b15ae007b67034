//! The last step of a call: it is sent to its target.

use http::{HeaderMap, Request, header::AUTHORIZATION};
use kit::{
    access::Proof,
    error, grpc,
    identity::{CLIENT_ADDRESS, SERVICE_TOKEN},
    limiter::network,
    overload,
    principal::Principal,
    rng::Rng,
};
use tokio::time::Instant;
use tonic::{Code, Status};
use tower::ServiceExt as _;

use super::{Admitted, Head, ResponseSource, RpcCall};
use crate::{
    authorization::HeaderChanges,
    http::headers,
    io::Inbound,
    protocol::status::{cut, is_over_time},
    routes::{Method, Target},
    tls::{self, FORWARDED_CERTIFICATE},
    upstream::{Conditions, Failure, RequestBody, RequestBodyError, code_of_break},
};

impl RpcCall<'_> {
    /// Sends the request to the target of the method, and returns the head of the response.
    pub(super) async fn send(
        &self,
        method: &Method,
        proof: &Proof,
        deadline: Option<Instant>,
        mut request: Request<Inbound>,
        admitted: Admitted,
        changes: HeaderChanges,
    ) -> Result<Head, Status> {
        let request_error = RequestBodyError::default();
        let kept = self.context.service.balance.retry.buffer_bytes;
        let codec = method.codec.as_ref();
        let (decoder, encoder) =
            (self.client_protocol.decoder(codec, self.message_bytes()), self.client_protocol.encoder(codec));
        let bounds = (self.message_bytes(), self.context.service.limits.deadline.0);
        let incoming = |body| RequestBody::new(body, decoder, bounds, kept, request_error.clone());
        let cluster = match &method.target {
            Target::Mesh { cluster, callee } => {
                self.identify(callee, request.headers_mut());
                cluster
            }
            Target::ExternalUpstream { cluster, tokens, forwards_certificate, forwards_issuer_token, .. } => {
                let own = request.headers().get(AUTHORIZATION).cloned();
                headers::hide_identity(request.headers_mut(), self.snapshot.config.rate_limits.api_key_header.as_str());
                headers::set_client_address(request.headers_mut(), self.client.header());
                if let Some(Principal::External(user)) = &proof.caller.principal {
                    request.headers_mut().extend(user.headers.iter().cloned());
                    if let Some(mut token) = own.filter(|_| *forwards_issuer_token) {
                        token.set_sensitive(true);
                        request.headers_mut().insert(AUTHORIZATION, token);
                    }
                }
                if let Some((tokens, principal)) = tokens.as_ref().zip(proof.caller.principal.as_ref())
                    && let Some(token) = tokens.header(principal)
                {
                    request.headers_mut().insert(AUTHORIZATION, token);
                }
                if let Some(certificate) = self.certificate.valid().filter(|_| *forwards_certificate) {
                    request.headers_mut().insert(FORWARDED_CERTIFICATE, tls::forwarded(certificate));
                }
                cluster
            }
            Target::Here(here) => {
                headers::set_client_address(request.headers_mut(), self.client.header());
                changes.set(request.headers_mut());
                let Ok(response) = here.clone().oneshot(request.map(incoming)).await;
                if let Some(status) = request_error.get() {
                    return Err(status);
                }
                let (parts, body) = response.into_parts();
                return Ok(Head {
                    parts,
                    source: ResponseSource::Local(body),
                    encoder,
                    deadline,
                    request_error,
                    drain_guard: method.resumable.then(|| self.context.readiness.shutdown().stay()),
                    is_external: false,
                    has_http_controls: method.rules.http_controls,
                    admitted,
                });
            }
        };
        // After the gateway's own: the names differ.
        changes.set(request.headers_mut());
        let weight = method.weight.as_ref();
        let caller = overload::CallerKey::new(proof.caller.principal.as_ref(), network(self.client.address()));
        let conditions = Conditions { is_idempotent: method.is_idempotent, deadline, weight, caller };
        let sent = cluster.send(request.map(incoming), conditions).await;
        let (parts, reply) =
            sent.map_err(|failure| failed(&failure, &request_error, deadline, &self.context.rng))?.into_parts();
        let is_external = matches!(method.target, Target::ExternalUpstream { .. });
        let drain_guard = method.resumable.then(|| self.context.readiness.shutdown().stay());
        Ok(Head {
            parts,
            source: ResponseSource::Remote(reply),
            encoder,
            deadline,
            request_error,
            drain_guard,
            is_external,
            has_http_controls: method.rules.http_controls,
            admitted,
        })
    }

    /// Adds the gateway's service token and the client's address for a service of the mesh.
    fn identify(&self, callee: &str, headers: &mut HeaderMap) {
        headers.insert(SERVICE_TOKEN, self.context.service.identity.token_for(callee));
        headers.insert(CLIENT_ADDRESS, grpc::never_indexed(self.client.address().to_string()));
    }
}

fn failed(failure: &Failure, request_error: &RequestBodyError, deadline: Option<Instant>, rng: &Rng) -> Status {
    if let Some(status) = request_error.get() {
        return status;
    }
    tracing::debug!(%failure, "a call could not be forwarded");
    match failure {
        Failure::Full | Failure::Overloaded => error::overloaded(rng),
        Failure::Cut => cut(Code::Cancelled),
        Failure::Broken(error) if error.is_reset() => match code_of_break(error) {
            code if is_over_time(code, deadline) => error::deadline_exceeded(),
            code => cut(code),
        },
        Failure::Unreachable(_) | Failure::Gone(_) | Failure::Refused(_) | Failure::Broken(_) => {
            error::unavailable("the service")
        }
    }
}
