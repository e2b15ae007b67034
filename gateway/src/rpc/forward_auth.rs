//! Forward authentication: a proxy asks whether a request of its client has a valid access token. The caller is verified
//! as that of a call; the body is not read.
//!
//! Only a response with the status 200 allows a request: no other response at this path may be successful, whatever the
//! request is. So nothing else looks at a request for it first.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue, Response,
    header::{CACHE_CONTROL, VARY, X_CONTENT_TYPE_OPTIONS},
};
use http_body_util::Full;
use kit::{
    access, error,
    principal::{Principal, UserSession},
    record::Call,
    repeated,
};
use tonic::{Code, Status, metadata::MetadataValue};
use tracing::Instrument as _;

use super::{Admission, Outgoing, RpcContext, admission::Admitted, begin};
use crate::{
    http::client_address::Client, protocol::HttpRefusal, routes::ForwardAuth, state::Snapshot, tls::CertificateState,
};

/// The id of the user.
const USER: HeaderName = HeaderName::from_static("x-auth-user");
/// The id of the session.
const SESSION: HeaderName = HeaderName::from_static("x-auth-session");
/// The roles of the user.
const ROLES: HeaderName = HeaderName::from_static("x-auth-roles");
/// The value of [`ROLES`] for a user without any. Some proxies keep the client's own header if this one is empty.
const NO_ROLES: HeaderValue = HeaderValue::from_static("-");

/// A request of a proxy, and the state that applies to it.
pub(crate) struct ForwardAuthRequest<'a> {
    pub(crate) context: &'a RpcContext,
    pub(crate) snapshot: &'a Snapshot,
    /// The address of the proxy, or of its client if the proxy is trusted to state it.
    pub(crate) client: Client,
    /// Of the connection of the proxy.
    pub(crate) certificate: CertificateState,
    pub(crate) forward_auth: &'a ForwardAuth,
}

impl ForwardAuthRequest<'_> {
    /// The identity of the caller, or the refusal.
    pub(crate) async fn respond(self, headers: &HeaderMap) -> Response<Outgoing> {
        let (mut call, span, _) = begin(&self.forward_auth.method.meter, self.client, headers);
        call.certificate = self.certificate.valid().cloned();
        let mut response = match self.check(headers, &mut call).instrument(span).await {
            Ok((session, admitted)) => {
                call.end(Code::Ok);
                let mut response = Response::new(Full::default());
                identify(&session, response.headers_mut());
                if let Some(rate_limit) = admitted.headers {
                    rate_limit.put(response.headers_mut());
                }
                response
            }
            Err(status) => {
                call.end(status.code());
                HttpRefusal::of(&self.snapshot.routes.http, headers, status).response()
            }
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(VARY, HeaderValue::from_static("accept, authorization"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response.map(Outgoing::Full)
    }

    /// The steps of a call that concern its caller, in their order.
    async fn check(&self, headers: &HeaderMap, call: &mut Call) -> Result<(Arc<UserSession>, Admitted), Status> {
        let Self { context, snapshot, client, certificate, forward_auth } = self;
        let method = &forward_auth.method;
        repeated::check(headers, Some(snapshot.config.rate_limits.api_key_header.as_str()))?;
        let proof = access::authenticate(headers, &context.service.keys, None).await;
        call.principal.clone_from(&proof.caller.principal);
        certificate.check(false)?;
        access::authorise(&method.access, &proof).map_err(|status| challenge(status, proof.failure.is_some()))?;
        let principal = proof.caller.principal;
        let Some(Principal::User(session)) = &principal else {
            return Err(error::status(
                Code::PermissionDenied,
                crate::reason::USER_REQUIRED,
                "only users have access, and the access token is that of a service; sign in as a user",
            ));
        };
        if !forward_auth.allows(session) {
            let message = "the account does not have a role that this access requires; ask the operator for one";
            return Err(error::status(Code::PermissionDenied, crate::reason::ROLE_REQUIRED, message));
        }
        let admission = Admission { context, client: *client };
        let admitted = admission.admit(method, principal.as_ref(), headers).await?;
        Ok((Arc::clone(session), admitted))
    }
}

/// Adds the challenge to a refusal for want of a valid token (RFC 6750, section 3).
fn challenge(mut status: Status, has_token: bool) -> Status {
    if status.code() == Code::Unauthenticated {
        let challenge = if has_token { "Bearer error=\"invalid_token\"" } else { "Bearer" };
        status.metadata_mut().insert("www-authenticate", MetadataValue::from_static(challenge));
    }
    status
}

/// States the caller. Every header has a value, so that a proxy always replaces what its client has sent.
fn identify(session: &UserSession, headers: &mut HeaderMap) {
    // A role with a comma would be read as two.
    let is_plain = |role: &&str| role.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
    let roles = session.roles.iter().map(String::as_str).filter(|role| !role.is_empty()).filter(is_plain);
    let roles = roles.collect::<Vec<_>>().join(",");
    let value = |text: String| HeaderValue::try_from(text).ok().filter(|value| !value.is_empty()).unwrap_or(NO_ROLES);
    headers.insert(USER, value(session.user.to_string()));
    headers.insert(SESSION, value(session.id.to_string()));
    headers.insert(ROLES, value(roles));
}

#[cfg(test)]
mod tests {
    use kit::Timestamp;

    use super::*;

    const USER_ID: &str = "00000000-0000-0000-0000-000000000001";
    const SESSION_ID: &str = "00000000-0000-0000-0000-000000000002";

    #[test]
    fn identity_headers_always_have_a_value() {
        for (roles, expected) in [
            (&[][..], "-"),
            (&["admin"], "admin"),
            (&["admin", "on-call"], "admin,on-call"),
            // None of these may become another role.
            (&["a,admin", "", "b\r\nx-auth-user: c", "r\u{f6}le"], "-"),
        ] {
            let session = UserSession {
                user: USER_ID.parse().unwrap(),
                id: SESSION_ID.parse().unwrap(),
                roles: roles.iter().map(|role| (*role).to_owned()).collect(),
                scopes: Vec::new(),
                authenticated: Timestamp::from_micros(0),
                methods: Vec::new(),
                expires: Timestamp::from_micros(1),
            };
            let mut headers = HeaderMap::new();
            identify(&session, &mut headers);
            let sent = [USER, SESSION, ROLES].map(|name| headers[name].to_str().unwrap().to_owned());
            assert_eq!(sent, [USER_ID, SESSION_ID, expected], "{roles:?}");
        }
    }
}
