//! The frames of a WebSocket (RFC 6455): those of the client, and the one that ends it. Nothing here knows a subprotocol.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message, Utf8Bytes,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

/// The memory of an idle socket; more is allocated for a large frame.
const BUFFER_BYTES: usize = 8 * 1024;

/// How many PINGs a client may send within [`PING_PERIOD`] between two text frames. The replies to a client that does not
/// read them wait in memory.
pub(crate) const MOST_PINGS: u32 = 100;
pub(crate) const PING_PERIOD: Duration = Duration::from_secs(10);

/// The most bytes of a reason: a control frame has 125, and the code takes two.
const REASON_BYTES: usize = 123;

/// The gateway's end of a WebSocket.
pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Takes over a connection after the handshake. `limit` is the size of the largest frame, in bytes.
pub(crate) async fn open(io: Upgraded, limit: usize) -> Socket {
    WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, Some(settings(limit))).await
}

/// The settings of a socket. `limit` is the size of the largest frame, in bytes.
pub(crate) fn settings(limit: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit))
}

/// The frame that ends a socket. A reason that is too long for it is cut.
pub(crate) fn close_frame(code: CloseCode, reason: &str) -> Message {
    let reason = Utf8Bytes::from(&reason[..reason.floor_char_boundary(REASON_BYTES)]);
    Message::Close(Some(CloseFrame { code, reason }))
}

/// Sends the reply to the client's Close frame, which tungstenite has made of it; or a Close frame, if there was none.
pub(crate) async fn reply_to_close<S>(sink: &mut S) -> Result<(), tungstenite::Error>
where
    S: Sink<Message, Error = tungstenite::Error> + Unpin,
{
    if sink.close().await.is_ok() {
        return Ok(());
    }
    // A frame of the response waited, and may no longer be sent.
    sink.close().await
}

/// Why a client's frames end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SocketFault {
    /// The client has closed the socket, or is gone.
    Left,
    Binary,
    NotUtf8,
    TooLarge,
    TooManyPings,
    /// An error of the WebSocket protocol.
    Malformed(String),
}

impl SocketFault {
    /// The code that closes the socket.
    pub(crate) fn close_code(&self) -> CloseCode {
        match self {
            Self::Left => CloseCode::Normal,
            Self::Binary => CloseCode::Unsupported,
            Self::NotUtf8 => CloseCode::Invalid,
            Self::TooLarge => CloseCode::Size,
            Self::TooManyPings => CloseCode::Policy,
            Self::Malformed(_) => CloseCode::Protocol,
        }
    }
}

impl From<tungstenite::Error> for SocketFault {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Capacity(_) => Self::TooLarge,
            tungstenite::Error::Utf8(_) => Self::NotUtf8,
            tungstenite::Error::Protocol(error) => Self::Malformed(error.to_string()),
            _ => Self::Left,
        }
    }
}

/// Reads the text frames of a client.
#[derive(Debug, Default)]
pub(crate) struct SocketReader {
    pings: PingLimit,
    /// A frame of any kind has arrived.
    has_arrived: bool,
}

impl SocketReader {
    /// The next text frame.
    pub(crate) async fn next<S>(&mut self, stream: &mut S) -> Result<Utf8Bytes, SocketFault>
    where
        S: Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
    {
        poll_fn(|cx| self.poll_next(stream, cx)).await
    }

    /// See [`Self::next`].
    pub(crate) fn poll_next<S>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<Result<Utf8Bytes, SocketFault>>
    where
        S: Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
    {
        loop {
            let message = ready!(stream.poll_next_unpin(cx)).transpose()?;
            self.has_arrived = true;
            let fault = match message {
                Some(Message::Text(text)) => {
                    self.pings = PingLimit::default();
                    return Poll::Ready(Ok(text));
                }
                Some(Message::Ping(_)) if !self.pings.count() => SocketFault::TooManyPings,
                Some(Message::Binary(_)) => SocketFault::Binary,
                Some(Message::Close(_)) | None => SocketFault::Left,
                Some(_) => continue,
            };
            return Poll::Ready(Err(fault));
        }
    }

    /// Whether a frame has arrived since the last call.
    pub(crate) fn take_arrival(&mut self) -> bool {
        std::mem::take(&mut self.has_arrived)
    }
}

/// Bounds the PINGs of a client.
#[derive(Debug, Default)]
pub(crate) struct PingLimit {
    begun: Option<Instant>,
    pings: u32,
}

impl PingLimit {
    /// Counts a PING. Returns whether it is within the limit.
    pub(crate) fn count(&mut self) -> bool {
        if self.begun.is_none_or(|begun| begun.elapsed() > PING_PERIOD) {
            *self = Self { begun: Some(Instant::now()), pings: 0 };
        }
        self.pings += 1;
        self.pings <= MOST_PINGS
    }
}
