//! Handshakes of WebSockets: they are counted, limited and logged like the calls of one method. The calls of their sockets
//! count besides.

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::Full;
use tonic::Code;
use tracing::Instrument as _;

use super::{Admission, Outgoing, RpcContext, begin};
use crate::{http::client_address::Client, protocol::HttpRefusal, state::Snapshot};

/// A handshake that has arrived, and the state that applies to it.
pub(crate) struct SocketHandshake<'a> {
    pub(crate) context: &'a RpcContext,
    pub(crate) snapshot: &'a Snapshot,
    /// The caller's address.
    pub(crate) client: Client,
}

impl SocketHandshake<'_> {
    /// The response that opens the socket, or the refusal of the rate limit.
    pub(crate) async fn respond(self, opening: Response<Full<Bytes>>, headers: &HeaderMap) -> Response<Outgoing> {
        let Self { context, snapshot, client } = self;
        let method = &snapshot.routes.websocket;
        let (mut call, span, _) = begin(&method.meter, client, headers);
        let admitted = Admission { context, client }.admit(method, None, headers).instrument(span).await;
        let (code, response) = match admitted {
            Ok(_) => (Code::Ok, opening),
            Err(limited) => {
                (limited.code(), HttpRefusal::of(&snapshot.routes.http, headers, limited.clone()).error(&limited))
            }
        };
        call.end(code);
        response.map(Outgoing::Full)
    }
}
