//! Serves the call of one WebSocket. One task reads the frames of the client, and writes those of the response.

mod responses;
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "fuzzing"))]
mod transcript;

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use http::{HeaderMap, Request, header::COOKIE};
use hyper::upgrade::Upgraded;
use kit::{error, shutdown::Shutdown};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes, protocol::frame::coding::CloseCode};
use tonic::{Code, Status};

use crate::{
    Gateway,
    http::headers,
    io::{
        Inbound, MessageSender,
        socket::{self, MOST_PINGS, PING_PERIOD, Socket, SocketFault, SocketReader, close_frame, reply_to_close},
    },
    protocol::{
        ClientProtocol,
        framing::{self, Why},
        status::request_refused,
        websocket::{ClientFrame, WebSocket, frame_refused},
    },
    routes::{Found, Method},
    rpc::RpcCall,
    server::{Peer, Watched},
    state::Snapshot,
};
use responses::Responses;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use transcript::transcript;

type Sink = SplitSink<Socket, Message>;

/// How a socket ends.
enum Ending {
    /// The call has ended: the text frame with its status.
    Status(String),
    /// The gateway refuses a frame of the client.
    Refused(Box<Status>, CloseCode),
    /// The process stops before the call begins. A call ends as in other protocols.
    Stopping,
    /// The response was cut off.
    Cut,
    /// The client has closed the socket, or does not reply to PINGs.
    Left,
}

/// What decides at a PING whether the client still responds.
#[derive(Default)]
struct Activity {
    /// A frame has arrived since the last PING.
    has_arrived: AtomicBool,
    /// The upstream does not read, so that no frame is read.
    is_blocked: AtomicBool,
}

/// Serves the socket that `request` has opened, until its call has ended.
pub(super) async fn serve(
    gateway: &Gateway,
    peer: Peer,
    watched: Watched,
    request: Request<()>,
    io: Upgraded,
    shutdown: &Shutdown,
) {
    let snapshot = gateway.state.snapshot();
    // A reload may have closed the method since the handshake.
    let Found::Method(method) = snapshot.routes.find(request.uri().path()) else { return };
    let limits = &gateway.rpc.service.limits;
    let most = limits.message_bytes.saturating_add(limits.header_bytes as usize);
    let (mut socket, mut reader) = socket::open(io, most, limits.deadline.0).await;
    let client_protocol = WebSocket::new(method.codec.clone());
    let first = tokio::select! {
        first = timeout(limits.request_head.0, next_text(&mut reader, &mut socket)) => first.unwrap_or_else(|_| Err(late())),
        () = shutdown.draining() => Err(Ending::Stopping),
    };
    let (mut sink, stream) = socket.split();
    let ending = match first {
        Ok(first) => {
            let call = Call { gateway, peer, snapshot: &snapshot, method, client_protocol: &client_protocol };
            call.serve(watched, request, &first, &mut sink, (stream, reader)).await.unwrap_or_else(|ending| ending)
        }
        Err(ending) => ending,
    };
    let is_stopping = shutdown.is_stopping();
    let closing = async {
        match ending {
            Ending::Status(text) if is_stopping => close(&mut sink, Some(text), CloseCode::Away).await,
            Ending::Status(text) => close(&mut sink, Some(text), CloseCode::Normal).await,
            Ending::Refused(status, code) => close(&mut sink, Some(client_protocol.end_text(&status)), code).await,
            Ending::Stopping => {
                close(&mut sink, Some(client_protocol.end_text(&error::stopping())), CloseCode::Away).await
            }
            Ending::Cut => close(&mut sink, None, CloseCode::Error).await,
            Ending::Left => reply_to_close(&mut sink).await,
        }
    };
    // An Err means that the client has gone.
    timeout(limits.discard_time.0, closing).await.ok();
}

async fn close(sink: &mut Sink, text: Option<String>, code: CloseCode) -> Result<(), tungstenite::Error> {
    if let Some(text) = text {
        sink.feed(Message::text(text)).await?;
    }
    sink.feed(close_frame(code, "")).await?;
    sink.flush().await
}

/// The first frame has not arrived within `limits.request_head`.
fn late() -> Ending {
    Ending::Refused(Box::new(error::deadline_exceeded()), CloseCode::Policy)
}

/// The call of a socket.
struct Call<'a> {
    gateway: &'a Gateway,
    peer: Peer,
    snapshot: &'a Snapshot,
    method: &'a Method,
    client_protocol: &'a WebSocket,
}

impl Call<'_> {
    async fn serve(
        &self,
        watched: Watched,
        request: Request<()>,
        first: &str,
        sink: &mut Sink,
        (stream, reader): (SplitStream<Socket>, SocketReader),
    ) -> Result<Ending, Ending> {
        let client = self.snapshot.proxies.client(self.peer.address, request.headers());
        let (sender, body) = Inbound::messages();
        let mut request = request.map(|()| body);
        // A browser stores no cookie that a frame holds, so that a call must not replace that of the session.
        request.headers_mut().remove(COOKIE);
        let first = match ClientFrame::parse(first).map_err(refused)? {
            ClientFrame::Metadata(metadata) => {
                metadata.replace(request.headers_mut());
                self.check_headers(request.headers())?;
                None
            }
            frame => Some(frame),
        };
        let client_protocol = ClientProtocol::WebSocket(self.client_protocol.clone());
        let certificate = super::certificate_state(self.snapshot, &self.peer);
        let (snapshot, found) = (self.snapshot, Found::Method(self.method));
        let call = RpcCall { context: &self.gateway.rpc, snapshot, client, certificate, client_protocol, found };
        let activity = Activity::default();
        let requests = Requests { sender, reader, takes_one: self.takes_one(), has_ended: false, activity: &activity };
        let keepalive = self.gateway.rpc.service.limits.keepalive.0;
        tokio::select! {
            ending = Responses::new(sink, &activity, keepalive).write(call.respond(watched, request)) => Ok(ending),
            ending = requests.read(first, stream) => Ok(ending),
        }
    }

    /// The limits of a request's head.
    fn check_headers(&self, headers: &HeaderMap) -> Result<(), Ending> {
        let (limits, config) = (&self.gateway.rpc.service.limits, &self.snapshot.config);
        if headers.len() <= config.header_count && headers::bytes(headers) <= limits.header_bytes as usize {
            return Ok(());
        }
        let message = "the metadata has too many fields, or they are too large";
        let status = error::status(Code::ResourceExhausted, crate::reason::HEADERS_TOO_LARGE, message);
        Err(Ending::Refused(Box::new(status), CloseCode::Policy))
    }

    /// Whether the request is one message.
    fn takes_one(&self) -> bool {
        self.method.codec.as_ref().is_some_and(|codec| !codec.descriptor().is_client_streaming())
    }
}

/// The next text frame.
async fn next_text<S>(reader: &mut SocketReader, stream: &mut S) -> Result<Utf8Bytes, Ending>
where
    S: futures_util::Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
{
    reader.next(stream).await.map_err(Ending::from)
}

impl From<SocketFault> for Ending {
    fn from(fault: SocketFault) -> Self {
        let code = fault.close_code();
        let status = match fault {
            SocketFault::Left => return Self::Left,
            SocketFault::Binary => frame_refused("it is binary"),
            SocketFault::NotUtf8 => frame_refused("it is not UTF-8"),
            SocketFault::TooLarge => request_refused(Why::TooLarge),
            SocketFault::TooSlow => error::deadline_exceeded(),
            SocketFault::TooManyPings => {
                let message = format!("send at most {MOST_PINGS} PINGs in {PING_PERIOD:?}");
                error::status(Code::ResourceExhausted, crate::reason::TOO_MANY_PINGS, message)
            }
            SocketFault::Malformed(error) => frame_refused(&error),
        };
        Self::Refused(Box::new(status), code)
    }
}

fn refused(status: Status) -> Ending {
    Ending::Refused(Box::new(status), CloseCode::Invalid)
}

/// The messages of the client.
struct Requests<'a> {
    sender: MessageSender,
    reader: SocketReader,
    takes_one: bool,
    has_ended: bool,
    activity: &'a Activity,
}

impl Requests<'_> {
    /// Reads until the client leaves, or sends a frame that is refused.
    async fn read(mut self, first: Option<ClientFrame<'_>>, mut stream: SplitStream<Socket>) -> Ending {
        if let Some(first) = first
            && let Err(status) = self.put(first).await
        {
            return refused(status);
        }
        loop {
            let text = match self.next_text(&mut stream).await {
                Ok(text) => text,
                Err(ending) => return ending,
            };
            let put = match ClientFrame::parse(&text) {
                Ok(frame) => self.put(frame).await,
                Err(status) => Err(status),
            };
            if let Err(status) = put {
                return refused(status);
            }
        }
    }

    /// Passes a frame on. While the upstream does not read, this waits, and no further frame is read.
    async fn put(&mut self, frame: ClientFrame<'_>) -> Result<(), Status> {
        match frame {
            ClientFrame::Metadata(_) => return Err(frame_refused("metadata must be in the first frame")),
            ClientFrame::Message(_) if self.has_ended && self.takes_one => {
                return Err(frame_refused("the method takes one message"));
            }
            ClientFrame::Message(_) if self.has_ended => return Err(frame_refused("the request has ended")),
            ClientFrame::Message(json) => {
                self.activity.is_blocked.store(true, Ordering::Relaxed);
                self.sender.send(framing::frame(json.as_bytes())).await;
                self.activity.is_blocked.store(false, Ordering::Relaxed);
                if self.takes_one {
                    self.end().await;
                }
            }
            ClientFrame::End => self.end().await,
        }
        Ok(())
    }

    async fn end(&mut self) {
        if !std::mem::replace(&mut self.has_ended, true) {
            self.activity.is_blocked.store(true, Ordering::Relaxed);
            self.sender.end().await;
            self.activity.is_blocked.store(false, Ordering::Relaxed);
        }
    }
}

impl Requests<'_> {
    async fn next_text(&mut self, stream: &mut SplitStream<Socket>) -> Result<Utf8Bytes, Ending> {
        let activity = self.activity;
        let mut noted = stream.inspect(|_| activity.has_arrived.store(true, Ordering::Relaxed));
        next_text(&mut self.reader, &mut noted).await
    }
}
