//! The source of the public keys that verify access tokens: processes without auth fetch them from auth.

use std::time::Duration;

use kit::{
    client::Peer,
    jwk::Jwk,
    keys::{EndedPage, EndedSessions, KeySource, Unavailable},
};
use proto::auth::v1::{
    GetJwksRequest, ListEndedSessionsRequest, ListEndedSessionsResponse, auth_service_client::AuthServiceClient,
};
use tonic::{Request, async_trait};

/// The deadline of each request to auth.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The auth service as a source of keys.
pub(crate) struct FromAuth(pub Peer);

#[async_trait]
impl KeySource for FromAuth {
    async fn fetch(&self) -> Result<Vec<Jwk>, Unavailable> {
        let mut request = Request::new(GetJwksRequest {});
        request.set_timeout(TIMEOUT);
        let mut auth = AuthServiceClient::new(self.0.clone());
        let response = tokio::time::timeout(TIMEOUT, auth.get_jwks(request)).await;
        let response = response.map_err(|_| Unavailable("auth did not respond in time".to_owned()))?;
        let response = response.map_err(|status| Unavailable(status.message().to_owned()))?;
        Ok(response.into_inner().keys.into_iter().map(jwk).collect())
    }

    async fn list_ended(&self, page: &EndedPage) -> Result<EndedSessions, Unavailable> {
        let EndedPage { token, since } = page.clone();
        let message = ListEndedSessionsRequest { page_size: 0, page_token: token, since_time: since.map(Into::into) };
        let mut request = Request::new(message);
        request.set_timeout(TIMEOUT);
        let mut auth = AuthServiceClient::new(self.0.clone());
        let response = tokio::time::timeout(TIMEOUT, auth.list_ended_sessions(request)).await;
        let response = response.map_err(|_| Unavailable("auth did not respond in time".to_owned()))?;
        let response = response.map_err(|status| Unavailable(status.message().to_owned()))?;
        let ListEndedSessionsResponse { session_ids, next_page_token, list_time } = response.into_inner();
        let sessions = session_ids.iter().filter_map(|id| id.parse().ok()).collect();
        Ok(EndedSessions { sessions, next_token: next_page_token, list_time: list_time.map(Into::into) })
    }
}

/// The source of a process without an auth service, which can verify no access token.
pub(crate) struct NoAuth;

#[async_trait]
impl KeySource for NoAuth {
    async fn fetch(&self) -> Result<Vec<Jwk>, Unavailable> {
        Err(Unavailable("this process has no auth service".to_owned()))
    }
}

fn jwk(key: proto::auth::v1::Jwk) -> Jwk {
    let proto::auth::v1::Jwk { kid, kty, crv, alg, r#use: usage, x, y } = key;
    Jwk { kid, kty, crv, alg, usage, x, y }
}
