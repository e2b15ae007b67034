//! Accepting: a bounded number of connections. One more is closed at once, which tells its client more than a
//! backlog that never moves.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt as _, Stream, StreamExt as _, future::ready};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tonic::transport::server::{Connected, TcpIncoming};

use super::{Frames, PeerTrust};

/// What the kernel takes of an answer before it can be sent.
const UNSENT_BYTES: u32 = 128 * 1024;

/// The places for connections of one listener.
#[derive(Clone)]
pub struct Connections(Arc<Semaphore>);

impl Connections {
    /// At most `limit` at once.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))))
    }

    /// Takes a place for `stream`; when none is free the stream is closed and `None` answered.
    pub fn admit(&self, stream: TcpStream) -> Option<Accepted> {
        // Answers are small and wanted at once. An Err says that the peer has gone already.
        stream.set_nodelay(true).ok();
        // What a slow reader has not room for waits here, where it is counted, and not in the kernel's megabytes.
        SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES).ok();
        match Arc::clone(&self.0).try_acquire_owned() {
            Ok(place) => Some(Accepted { stream, frames: None, trust: PeerTrust::default(), _place: place }),
            Err(_) => {
                metrics::counter!("server_connections_refused_total").increment(1);
                None
            }
        }
    }
}

/// A connection that holds its place until it is closed.
pub struct Accepted {
    stream: TcpStream,
    /// Where floods are looked for.
    frames: Option<Frames>,
    trust: PeerTrust,
    _place: OwnedSemaphorePermit,
}

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long to wait for the rest of a preface that came in pieces: rare, so a pause is good enough.
const PREFACE_PAUSE: Duration = Duration::from_millis(10);

impl Accepted {
    /// The same, of a peer that speaks HTTP/2 from the first byte on: a flood of its frames is an error.
    fn watching_frames(self) -> Self {
        Self { frames: Some(Frames::counting_resets(self.trust.clone())), ..self }
    }

    /// Whether the peer has said its last word (FIN, or a reset), whatever of it has not been read yet.
    pub fn peer_has_ended(&self) -> bool {
        let ready = self.stream.ready(Interest::READABLE).now_or_never();
        ready.is_some_and(|ready| ready.is_ok_and(|ready| ready.is_read_closed()))
    }

    /// Whether the peer begins with HTTP/2's preface. Ends when enough has come to tell; nothing is taken. An error:
    /// the peer left.
    pub async fn speaks_http2(&self) -> io::Result<bool> {
        let mut seen = [0; PREFACE.len()];
        loop {
            match self.stream.peek(&mut seen).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n if n < PREFACE.len() && PREFACE.starts_with(&seen[..n]) => tokio::time::sleep(PREFACE_PAUSE).await,
                n => return Ok(n == PREFACE.len() && seen == *PREFACE),
            }
        }
    }
}

/// The admitted connections of a listener. An error of accept(2) is logged and passed over: the next
/// connection may be fine.
pub(super) fn stream(
    incoming: TcpIncoming,
    connections: Connections,
) -> impl Stream<Item = Result<Accepted, io::Error>> {
    incoming.filter_map(move |accepted| {
        ready(match accepted {
            Ok(stream) => connections.admit(stream).map(|accepted| Ok(accepted.watching_frames())),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                None
            }
        })
    })
}

impl Connected for Accepted {
    type ConnectInfo = PeerTrust;

    /// Each call on the connection has it in its extensions.
    fn connect_info(&self) -> PeerTrust {
        self.trust.clone()
    }
}

impl AsyncRead for Accepted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some(frames) = &mut self.frames {
            frames.pass(&buf.filled()[before..], Instant::now)?;
        }
        polled
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let (Some(frames), Poll::Ready(Ok(written))) = (&mut self.frames, &polled) {
            frames.sent(&[io::IoSlice::new(buf)], *written, Instant::now)?;
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        if let (Some(frames), Poll::Ready(Ok(written))) = (&mut self.frames, &polled) {
            frames.sent(bufs, *written, Instant::now)?;
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
