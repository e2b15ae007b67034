//! Requests that are no call: they are counted, limited and logged like the calls of one method.

use http::{HeaderMap, Response};
use tracing::Instrument as _;

use super::{Admission, Outgoing, RpcContext, begin};
use crate::{http::client_address::Client, protocol::HttpRefusal, state::Snapshot};

/// A request that is no call, and the state that applies to it.
pub(crate) struct RefusedRequest<'a> {
    pub(crate) context: &'a RpcContext,
    pub(crate) snapshot: &'a Snapshot,
    /// The caller's address.
    pub(crate) client: Client,
    pub(crate) refusal: HttpRefusal,
}

impl RefusedRequest<'_> {
    /// The refusal, or that of the rate limit.
    pub(crate) async fn respond(self, headers: &HeaderMap) -> Response<Outgoing> {
        let Self { context, snapshot, client, refusal } = self;
        let unknown = &snapshot.routes.unknown;
        let (mut call, span, _) = begin(&unknown.meter, client, headers);
        let admitted = Admission { context, client }.admit(unknown, None, headers).instrument(span).await;
        let (code, response) = match admitted {
            Ok(admitted) => {
                let mut response = refusal.response();
                if let Some(headers) = admitted.headers {
                    headers.put(response.headers_mut());
                }
                (refusal.code(), response)
            }
            Err(limited) => (limited.code(), refusal.error(&limited)),
        };
        call.end(code);
        response.map(Outgoing::Full)
    }
}
