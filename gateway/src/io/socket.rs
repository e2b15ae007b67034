//! The frames of a WebSocket (RFC 6455): those of the client, and the one that ends it. Nothing here knows a subprotocol.

mod progress;

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message, Utf8Bytes,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use progress::{MessageProgress, MonitoredSocketIo};

/// The memory of an idle socket; more is allocated for a large frame.
const BUFFER_BYTES: usize = 8 * 1024;

/// How many PINGs a client may send within [`PING_PERIOD`] between two text frames. The replies to a client that does not
/// read them wait in memory.
pub(crate) const MOST_PINGS: u32 = 100;
pub(crate) const PING_PERIOD: Duration = Duration::from_secs(10);

/// The most bytes of a reason: a control frame has 125, and the code takes two.
const REASON_BYTES: usize = 123;

/// The gateway's end of a WebSocket.
pub(crate) type Socket = WebSocketStream<MonitoredSocketIo<TokioIo<Upgraded>>>;

/// Takes over a connection after the handshake. `limit` is the size of the largest message, in bytes, each of which must
/// arrive within `message_time`.
pub(crate) async fn open(io: Upgraded, limit: usize, message_time: Duration) -> (Socket, SocketReader) {
    let (io, progress) = MonitoredSocketIo::new(TokioIo::new(io));
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(settings(limit))).await;
    (socket, SocketReader::new(progress, message_time))
}

/// Closes a socket at its beginning. The client has `time` to take the frame.
pub(crate) async fn refuse(io: Upgraded, code: CloseCode, reason: &str, time: Duration) {
    let (mut socket, _) = open(io, 0, Duration::ZERO).await;
    // An Err means that the client has gone.
    timeout(time, socket.send(close_frame(code, reason))).await.ok();
}

/// The settings of a socket. `limit` is the size of the largest message, in bytes.
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
    /// A message has begun, and did not arrive in time.
    TooSlow,
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
            Self::TooSlow | Self::TooManyPings => CloseCode::Policy,
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

/// Reads the text messages of a client.
#[derive(Debug, Default)]
pub(crate) struct SocketReader {
    progress: MessageProgress,
    message_time: Duration,
    pings: PingLimit,
    /// A frame of any kind has arrived.
    has_arrived: bool,
    wait: MessageWait,
}

impl SocketReader {
    fn new(progress: MessageProgress, message_time: Duration) -> Self {
        Self { progress, message_time, ..Self::default() }
    }

    /// The next text message.
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
            let Poll::Ready(message) = stream.poll_next_unpin(cx) else { return self.poll_late(cx) };
            let message = message.transpose()?;
            self.has_arrived = true;
            let fault = match message {
                Some(Message::Text(text)) => {
                    self.pings = PingLimit::default();
                    self.wait = MessageWait::default();
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

    /// Ready when the rest of a message has been awaited for too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Result<Utf8Bytes, SocketFault>> {
        if !self.progress.is_within_message() {
            self.wait = MessageWait::default();
            return Poll::Pending;
        }
        ready!(self.wait.poll_over(self.message_time, cx));
        Poll::Ready(Err(SocketFault::TooSlow))
    }

    /// The caller stops reading for a while, which does not count as the client's time.
    pub(crate) fn pause(&mut self) {
        self.wait.pause();
    }

    /// Whether a frame has arrived since the last call.
    pub(crate) fn take_arrival(&mut self) -> bool {
        std::mem::take(&mut self.has_arrived)
    }
}

/// How long the rest of a message has been awaited.
#[derive(Debug, Default)]
struct MessageWait {
    /// Before the current wait.
    waited: Duration,
    /// The beginning of the current wait, and its end.
    current: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl MessageWait {
    /// Ready after waits of `limit` in all.
    fn poll_over(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let left = limit.saturating_sub(self.waited);
        let (_, end) = self.current.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
        end.as_mut().poll(cx)
    }

    fn pause(&mut self) {
        if let Some((begun, _)) = self.current.take() {
            self.waited += begun.elapsed();
        }
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const TIME: Duration = Duration::from_secs(30);
    /// The beginning of a text frame of five bytes, its mask, and its payload.
    const FRAME: &[u8] = &[0x81, 0x85, 0, 0, 0, 0, b'h', b'e', b'l', b'l', b'o'];
    const PING: &[u8] = &[0x89, 0x80, 0, 0, 0, 0];

    async fn socket() -> (DuplexStream, WebSocketStream<MonitoredSocketIo<DuplexStream>>, SocketReader) {
        let (client, server) = duplex(1024);
        let (io, progress) = MonitoredSocketIo::new(server);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(settings(1024))).await;
        (client, socket, SocketReader::new(progress, TIME))
    }

    /// Timers have a resolution of a millisecond.
    fn is_time(begun: Instant) -> bool {
        (TIME..TIME + Duration::from_millis(2)).contains(&begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn message_must_arrive_in_time() {
        for pieces in
            [vec![&FRAME[..1]], vec![&FRAME[..9]], vec![&[0x01, 0x80, 0, 0, 0, 0][..]], vec![FRAME, &FRAME[..3]]]
        {
            let (mut client, mut socket, mut reader) = socket().await;
            client.write_all(&pieces.concat()).await.unwrap();
            for _ in 1..pieces.len() {
                assert_eq!(reader.next(&mut socket).await.as_deref(), Ok("hello"));
            }
            let begun = Instant::now();
            let read = reader.next(&mut socket).await;
            assert_eq!(read, Err(SocketFault::TooSlow), "{pieces:?}");
            assert!(is_time(begun), "{:?}", begun.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pings_within_a_message_extend_no_time() {
        let (mut client, mut socket, mut reader) = socket().await;
        client.write_all(&[0x01, 0x81, 0, 0, 0, 0, b'h']).await.unwrap();
        let begun = Instant::now();
        let sending = async {
            for _ in 0..100 {
                sleep(Duration::from_millis(900)).await;
                client.write_all(PING).await.unwrap();
            }
        };
        let read = tokio::select! {
            read = reader.next(&mut socket) => read,
            () = sending => panic!("the rest of the message is still awaited"),
        };
        assert_eq!(read, Err(SocketFault::TooSlow));
        assert!(is_time(begun), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_pauses_are_no_late_message() {
        let (mut client, mut socket, mut reader) = socket().await;
        client.write_all(PING).await.unwrap();
        assert!(tokio::time::timeout(TIME * 10, reader.next(&mut socket)).await.is_err(), "no message has begun");
        client.write_all(&FRAME[..8]).await.unwrap();
        assert!(tokio::time::timeout(TIME / 2, reader.next(&mut socket)).await.is_err());
        reader.pause();
        sleep(TIME * 10).await;
        assert!(reader.next(&mut socket).now_or_never().is_none(), "half of the time is left");
        client.write_all(&FRAME[8..]).await.unwrap();
        assert_eq!(reader.next(&mut socket).await.as_deref(), Ok("hello"));
        client.write_all(&FRAME[..8]).await.unwrap();
        assert!(tokio::time::timeout(TIME - Duration::from_secs(1), reader.next(&mut socket)).await.is_err());
    }
}
