//! Operations over a WebSocket: graphql-transport-ws (<https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>).
//!
//! One task reads the messages of the client, runs its operations, and writes their results. While the client does not
//! read, the operations pause.

mod connection;
mod credentials;
mod end;
mod keepalive;
mod message;
mod operations;
mod outbox;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod property;

use std::sync::Arc;

use ::graphql::Reply;
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{self, BoxStream},
};
use http::{HeaderMap, Request};
use hyper::upgrade::Upgraded;
use kit::shutdown::Shutdown;
use tokio::time::timeout;
use tonic::Code;
use tracing::Instrument as _;

use super::{
    AutomaticQueries, Executed, GraphqlCall, calls::ClientCalls, deadline, operation::Sent, refusal::RequestRefusal,
    run,
};
use crate::{
    io::socket::{self, close_frame, reply_to_close},
    protocol::websocket::names_subprotocol,
    rpc::{OwnRequest, RpcContext},
    server::{Peer, Watched},
    state::State,
};
use connection::SocketConnection;
use end::{SUBPROTOCOL_NOT_ACCEPTABLE, SocketEnd};
use operations::OperationEvent;

/// The subprotocol.
pub(crate) const SUBPROTOCOL: &str = "graphql-transport-ws";

/// A socket, and the parts of the gateway that its operations use.
pub(crate) struct GraphqlSocket<'a> {
    pub(crate) context: &'a Arc<RpcContext>,
    pub(crate) state: &'a State,
    pub(crate) automatic: &'a AutomaticQueries,
    pub(crate) peer: Peer,
}

impl GraphqlSocket<'_> {
    /// Serves the socket that `request` has opened, until one of its ends closes it.
    pub(crate) async fn serve(&self, watched: Watched, request: Request<()>, io: Upgraded, shutdown: &Shutdown) {
        let limits = &self.context.service.limits;
        let most = self.state.snapshot().config.graphql.socket_message_bytes(limits);
        let (mut socket, reader) = socket::open(io, most, limits.deadline.0).await;
        let end = if names_subprotocol(request.headers(), SUBPROTOCOL) {
            let handshake = request.into_parts().0.headers;
            SocketConnection::new(self, (&mut socket, reader), handshake, watched, shutdown).run().await
        } else {
            SocketEnd::Close(SUBPROTOCOL_NOT_ACCEPTABLE, format!("the subprotocol must be {SUBPROTOCOL}"))
        };
        let closing = async {
            match end {
                SocketEnd::Close(code, reason) => socket.send(close_frame(code, &reason)).await,
                SocketEnd::Left => reply_to_close(&mut socket).await,
            }
        };
        // An Err means that the client has gone.
        timeout(limits.discard_time.0, closing).await.ok();
    }
}

impl GraphqlCall<'_> {
    /// Executes an operation that has arrived over a socket. It counts as a request over HTTP does.
    async fn stream(&self, sent: Sent, headers: HeaderMap) -> BoxStream<'static, OperationEvent> {
        let (method, certificate) = (&self.snapshot.routes.graphql, self.certificate.valid());
        let mut own = OwnRequest::begin(method, self.client, certificate, &headers);
        let span = own.span.clone();
        match self.start(&mut own, sent, headers).instrument(span).await {
            Ok((Executed::Whole { reply, .. }, _)) => {
                own.end(if reply.is_refused { Code::InvalidArgument } else { Code::Ok });
                whole(reply)
            }
            Ok((Executed::Stream(replies), calls)) => subscription(replies, calls, own),
            Err(refusal) => {
                own.end(refusal.rpc_code());
                whole(refusal.reply())
            }
        }
    }

    async fn start(
        &self,
        own: &mut OwnRequest,
        sent: Sent,
        headers: HeaderMap,
    ) -> Result<(Executed, ClientCalls), RequestRefusal> {
        self.admit(own, &headers).await?;
        let (api, deadline) = (self.api()?, deadline(&headers)?);
        let calls = ClientCalls::new(self, headers, &own.trace, deadline);
        let executed = match self.prepare(api, sent)? {
            Ok(prepared) => run(api, prepared, calls.clone(), super::Form::Events).await,
            Err(reply) => reply.into(),
        };
        Ok((executed, calls))
    }
}

/// The events of an operation with one response.
fn whole(reply: Reply) -> BoxStream<'static, OperationEvent> {
    if reply.is_refused {
        stream::iter([OperationEvent::Refused(reply.json)]).boxed()
    } else {
        stream::iter([OperationEvent::Next(reply.json), OperationEvent::Complete]).boxed()
    }
}

/// The events of a subscription.
fn subscription(
    replies: BoxStream<'static, Reply>,
    calls: ClientCalls,
    own: OwnRequest,
) -> BoxStream<'static, OperationEvent> {
    let events = stream::unfold(Some((replies, calls, own)), |state| async {
        let (mut replies, calls, own) = state?;
        let (event, code) = match (replies.next().await, calls.interruption()) {
            (Some(reply), _) if reply.is_refused => (OperationEvent::Refused(reply.json), Code::InvalidArgument),
            (Some(reply), Some(why)) => (OperationEvent::Interrupted(why, reply.json), Code::Ok),
            (Some(reply), None) => return Some((OperationEvent::Next(reply.json), Some((replies, calls, own)))),
            (None, _) => (OperationEvent::Complete, Code::Ok),
        };
        own.end(code);
        Some((event, None))
    });
    stream::iter([OperationEvent::Begun]).chain(events).boxed()
}
