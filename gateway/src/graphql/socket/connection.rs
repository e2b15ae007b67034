//! One socket: its messages, its operations and its end.

use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Sink, Stream, StreamExt as _, stream};
use http::HeaderMap;
use kit::{
    access::{self, Failure},
    principal::Principal,
    shutdown::Shutdown,
    time::{Clock as _, SystemClock},
};
use serde_json::{Map, Value};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes, protocol::frame::coding::CloseCode};

use super::{
    GraphqlSocket, credentials,
    end::{ALREADY_EXISTS, BAD_REQUEST, FORBIDDEN, INIT_TIMEOUT, SocketEnd, TOO_MANY_INITS, UNAUTHORIZED},
    keepalive::{KeepaliveTick, SocketKeepalive},
    message::{self, ClientMessage},
    operations::{OperationEvent, Operations},
    outbox::Outbox,
};
use crate::{
    graphql::{GraphqlCall, Reply, calls::Interruption, operation},
    http::{client_address::Client, headers},
    io::socket::{PingLimit, SocketReader},
    server::Watched,
    tls::CertificateState,
};

/// How long before its token expires a socket ends: before the services end the streams, so that the client opens them
/// again over its next socket.
const EXPIRY_MARGIN: Duration = Duration::from_secs(1);
const EXPIRED: &str = "the access token has expired; connect again with a new one";
const REVOKED: &str = "the session was ended; sign in again";

/// What happens next on a socket.
enum SocketEvent {
    Text(Utf8Bytes),
    Operation(Arc<str>, OperationEvent),
    End(SocketEnd),
}

/// See the module.
pub(super) struct SocketConnection<'a, S> {
    parts: &'a GraphqlSocket<'a>,
    shutdown: &'a Shutdown,
    socket: &'a mut S,
    reader: SocketReader,
    outbox: Outbox,
    keepalive: SocketKeepalive,
    operations: Operations<'a>,
    client: Client,
    /// The headers of each operation: those of the handshake, and of `connection_init`.
    headers: HeaderMap,
    is_initialized: bool,
    /// `ping` and `pong` of the subprotocol.
    pings: PingLimit,
    begun: Instant,
    /// Since then the socket has no operation.
    idle_since: Instant,
    /// When its token expires.
    expires: Option<Instant>,
    /// The socket ends so when its operations have ended. It begins no more of them.
    end: Option<SocketEnd>,
    /// The subscriptions have ended with the token.
    has_expired: bool,
    /// The last event was one of an operation.
    was_operation: bool,
}

impl<'a, S> SocketConnection<'a, S>
where
    S: Stream<Item = Result<Message, tungstenite::Error>> + Sink<Message, Error = tungstenite::Error> + Unpin,
{
    pub(super) fn new(
        parts: &'a GraphqlSocket<'a>,
        (socket, reader): (&'a mut S, SocketReader),
        handshake: HeaderMap,
        watched: Watched,
        shutdown: &'a Shutdown,
    ) -> Self {
        let client = parts.state.snapshot().proxies.client(parts.peer.address, &handshake);
        Self {
            parts,
            shutdown,
            socket,
            reader,
            outbox: Outbox::new(watched),
            keepalive: SocketKeepalive::default(),
            operations: Operations::default(),
            client,
            headers: credentials::of_handshake(handshake),
            is_initialized: false,
            pings: PingLimit::default(),
            begun: Instant::now(),
            idle_since: Instant::now(),
            expires: None,
            end: None,
            has_expired: false,
            was_operation: false,
        }
    }

    /// Serves the socket until it ends.
    pub(super) async fn run(mut self) -> SocketEnd {
        let period = self.parts.context.service.limits.keepalive.0;
        let mut keepalive = interval_at(Instant::now() + period, period);
        keepalive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut draining = pin!(self.shutdown.draining());
        let mut is_draining = false;
        loop {
            if let Some(end) = self.end.take_if(|_| self.operations.is_empty() && self.outbox.is_empty()) {
                return end;
            }
            let deadline = self.deadline();
            let step = tokio::select! {
                event = poll_fn(|cx| self.poll(cx)) => match event {
                    SocketEvent::Text(text) => self.receive(&text).await,
                    SocketEvent::Operation(id, event) => self.pass_on(&id, event),
                    SocketEvent::End(end) => Err(end),
                },
                _ = keepalive.tick() => self.ping(),
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => self.expire_timers(),
                () = &mut draining, if !is_draining => {
                    is_draining = true;
                    self.stop()
                }
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// The next event. While frames wait for the client, nothing is read.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<SocketEvent> {
        if let Poll::Ready(Err(_)) = self.outbox.poll_feed(self.socket, cx) {
            return Poll::Ready(SocketEvent::End(SocketEnd::Left));
        }
        // In turns, so that neither waits for a flood of the other.
        let reads_first = std::mem::take(&mut self.was_operation);
        if !reads_first && let Poll::Ready(event) = self.poll_operation(cx) {
            return Poll::Ready(event);
        }
        if let Poll::Ready(Err(_)) = self.outbox.poll_flush(self.socket, cx) {
            return Poll::Ready(SocketEvent::End(SocketEnd::Left));
        }
        if !self.outbox.is_empty() {
            self.reader.pause();
        } else if let Poll::Ready(read) = self.reader.poll_next(self.socket, cx) {
            return Poll::Ready(match read {
                Ok(text) => SocketEvent::Text(text),
                Err(fault) => SocketEvent::End(fault.into()),
            });
        }
        if reads_first { self.poll_operation(cx) } else { Poll::Pending }
    }

    fn poll_operation(&mut self, cx: &mut Context<'_>) -> Poll<SocketEvent> {
        if !self.outbox.has_room() {
            return Poll::Pending;
        }
        self.operations.poll_next(cx).map(|(id, event)| {
            self.was_operation = true;
            SocketEvent::Operation(id, event)
        })
    }

    /// Handles a message of the client.
    async fn receive(&mut self, text: &str) -> Result<(), SocketEnd> {
        let most = self.parts.context.service.limits.header_bytes as usize;
        match ClientMessage::parse(text, most).map_err(|problem| SocketEnd::close(BAD_REQUEST, problem))? {
            ClientMessage::Init(_) if self.is_initialized => {
                Err(SocketEnd::close(TOO_MANY_INITS, "the connection is initialized already"))
            }
            ClientMessage::Init(payload) => self.initialize(payload).await,
            ClientMessage::Ping(_) | ClientMessage::Pong if !self.pings.count() => Err(SocketEnd::too_many_pings()),
            ClientMessage::Ping(payload) => {
                self.outbox.push(message::pong(payload));
                Ok(())
            }
            ClientMessage::Pong => Ok(()),
            ClientMessage::Subscribe { .. } if !self.is_initialized => {
                Err(SocketEnd::close(UNAUTHORIZED, "send connection_init first"))
            }
            ClientMessage::Subscribe { id, payload } => self.subscribe(&id, payload),
            ClientMessage::Complete { id } => {
                self.operations.cancel(&id);
                self.note_end();
                Ok(())
            }
        }
    }

    async fn initialize(&mut self, payload: Map<String, Value>) -> Result<(), SocketEnd> {
        let limits = &self.parts.context.service.limits;
        credentials::add(&mut self.headers, payload).map_err(|problem| SocketEnd::close(BAD_REQUEST, problem))?;
        let most = self.parts.state.snapshot().config.header_count;
        if self.headers.len() > most || headers::bytes(&self.headers) > limits.header_bytes as usize {
            return Err(SocketEnd::close(BAD_REQUEST, "the headers of the payload are too many or too large"));
        }
        let keys = &self.parts.context.service.keys;
        let proof = timeout(limits.request_head.0, access::authenticate(&self.headers, keys, None)).await;
        let proof = proof.unwrap_or_default();
        match proof.failure {
            Some(Failure::Expired) => return Err(SocketEnd::close(FORBIDDEN, EXPIRED)),
            Some(Failure::Revoked) => return Err(SocketEnd::close(FORBIDDEN, REVOKED)),
            // Public methods accept it, and an upstream may accept its issuer: the calls decide.
            _ => {}
        }
        if let Some(Principal::User(session)) = &proof.caller.principal {
            let left = SystemClock.now().until(session.expires).saturating_sub(EXPIRY_MARGIN);
            self.expires = Instant::now().checked_add(left);
        }
        self.is_initialized = true;
        self.idle_since = Instant::now();
        self.outbox.push(message::ACK);
        Ok(())
    }

    fn subscribe(&mut self, id: &str, payload: Map<String, Value>) -> Result<(), SocketEnd> {
        if self.end.is_some() {
            // The client sends it again over its next socket.
            return Ok(());
        }
        if self.operations.contains(id) {
            return Err(SocketEnd::close(ALREADY_EXISTS, format!("Subscriber for {id} already exists")));
        }
        let sent = operation::of_members(payload).map_err(|refusal| SocketEnd::close(BAD_REQUEST, refusal.message))?;
        let snapshot = self.parts.state.snapshot();
        let most = snapshot.config.graphql.operations_per_socket;
        if self.operations.len() >= most {
            let message = format!(
                "{most} operations run over this socket, which is the limit (gateway.graphql.operations_per_socket); \
                 wait for one to end"
            );
            self.outbox.push(message::error(id, &Reply::refused("TOO_MANY_OPERATIONS", &message).json));
            return Ok(());
        }
        let (parts, client, headers) = (self.parts, self.client, self.headers.clone());
        let events = async move {
            let peer = &parts.peer;
            let certificate =
                CertificateState::of(peer.certificate.as_ref(), peer.is_secure, snapshot.client_trust.as_ref());
            let (context, automatic, stalls) = (parts.context, parts.automatic, parts.state.stalls());
            let call = GraphqlCall { context, snapshot: &snapshot, automatic, stalls, client, certificate };
            call.stream(sent, headers).await
        };
        self.operations.start(id, stream::once(events).flatten().boxed());
        Ok(())
    }

    /// Passes the event of an operation on to the client.
    fn pass_on(&mut self, id: &str, event: OperationEvent) -> Result<(), SocketEnd> {
        match event {
            OperationEvent::Begun if self.has_expired => self.operations.cancel(id),
            OperationEvent::Begun => self.operations.mark_subscription(id),
            OperationEvent::Next(json) => self.outbox.push(message::next(id, &json)),
            OperationEvent::Refused(json) => self.outbox.push(message::error(id, &json)),
            OperationEvent::Complete => self.outbox.push(message::complete(id)),
            // Without a last result the client opens the subscription again over its next socket.
            OperationEvent::Interrupted(Interruption::Stopping, _) if self.shutdown.is_stopping() => self.stop()?,
            OperationEvent::Interrupted(Interruption::Expired, _) => self.expire(EXPIRED),
            OperationEvent::Interrupted(Interruption::Revoked, _) => self.expire(REVOKED),
            OperationEvent::Interrupted(Interruption::Stopping, json) => {
                self.outbox.push(message::next(id, &json));
                self.outbox.push(message::complete(id));
            }
        }
        self.note_end();
        Ok(())
    }

    fn note_end(&mut self) {
        if self.operations.is_empty() {
            self.idle_since = Instant::now();
        }
    }

    /// Ends the socket, because the process stops, when its operations have ended.
    fn stop(&mut self) -> Result<(), SocketEnd> {
        self.end.get_or_insert_with(|| SocketEnd::close(CloseCode::Away, "the server stops; connect again"));
        Ok(())
    }

    /// Ends the subscriptions, and the socket when its other operations have ended.
    fn expire(&mut self, reason: &str) {
        self.has_expired = true;
        self.operations.cancel_subscriptions();
        self.end.get_or_insert_with(|| SocketEnd::close(FORBIDDEN, reason));
    }

    /// When a timer ends: that of the init, the token, or the idle socket.
    fn deadline(&self) -> Option<Instant> {
        let snapshot = self.parts.state.snapshot();
        if !self.is_initialized {
            return self.begun.checked_add(snapshot.config.graphql.init_timeout.0);
        }
        if self.end.is_some() {
            return None;
        }
        let idle = self.idle_since.checked_add(snapshot.config.idle_timeout.0);
        self.expires.into_iter().chain(idle.filter(|_| self.operations.is_empty())).min()
    }

    fn expire_timers(&mut self) -> Result<(), SocketEnd> {
        if !self.is_initialized {
            return Err(SocketEnd::close(INIT_TIMEOUT, "no connection_init within gateway.graphql.init_timeout"));
        }
        if self.expires.is_some_and(|expires| expires <= Instant::now()) {
            self.expire(EXPIRED);
            return Ok(());
        }
        Err(SocketEnd::close(CloseCode::Normal, "no operation within gateway.idle_timeout"))
    }

    /// Sends a PING. An Err: the client has not replied to the one before.
    fn ping(&mut self) -> Result<(), SocketEnd> {
        // `gateway.graphql.init_timeout` ends a socket that is not initialized.
        let has_arrived = self.reader.take_arrival() || !self.is_initialized;
        match self.keepalive.tick(has_arrived, self.outbox.take_wait()) {
            KeepaliveTick::Ping => self.outbox.ping(),
            KeepaliveTick::Wait => {}
            KeepaliveTick::Left => return Err(SocketEnd::Left),
        }
        Ok(())
    }
}
