//! Accepting: a bounded number of connections. One more is closed at once, which tells its client more than a
//! backlog that never moves.

use std::{
    any::Any,
    io,
    net::SocketAddr,
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

use super::{
    Frames, PeerTrust,
    closing::{Closing, Discard},
};

/// What the kernel takes of a response before it can be sent.
const UNSENT_BYTES: u32 = 128 * 1024;

/// The places for connections of one listener.
#[derive(Clone)]
pub struct Connections {
    places: Arc<Semaphore>,
    closing: Closing,
}

impl Connections {
    /// At most `limit` at once. What their peers still send when they are closed is discarded within `discard`.
    pub fn new(limit: usize, discard: Discard) -> Self {
        Self { places: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))), closing: Closing::new(discard) }
    }

    /// Ends when the last connection is closed, or after a second: what remains then is a peer that ignores the end.
    pub async fn closed(&self) {
        self.closing.ended().await;
    }

    /// Takes a place for `stream`; when none is free the stream is closed and `None` answered.
    pub fn admit(&self, stream: TcpStream) -> Option<Accepted> {
        // Answers are small and wanted at once. An Err says that the peer has gone already.
        stream.set_nodelay(true).ok();
        // What a slow reader has not room for waits here, where it is counted, and not in the kernel's megabytes.
        SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES).ok();
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => {
                let closing = self.closing.clone();
                let held = Held { _place: place, _other: None };
                let open = Open { stream, held, closing };
                Some(Accepted {
                    open: Some(open),
                    frames: None,
                    trust: PeerTrust::default(),
                    has_written: false,
                    is_over: false,
                })
            }
            Err(_) => {
                metrics::counter!("server_connections_refused_total").increment(1);
                None
            }
        }
    }
}

/// The peer of a connection. Each call on the connection has it in its extensions.
#[derive(Debug, Clone)]
pub struct ConnectedPeer {
    /// `None`: the connection is closed already.
    pub address: Option<SocketAddr>,
    /// Whether the peer has proved to be a service of the mesh.
    pub trust: PeerTrust,
}

/// A connection that holds its place until it is closed. Dropped, it sends FIN and discards what still comes (RFC 9112,
/// section 9.6): closed with unread bytes it would be reset, and the peer's kernel would drop a response that the peer
/// has not read yet.
pub struct Accepted {
    /// Taken when it is dropped.
    open: Option<Open>,
    /// Where floods are looked for.
    frames: Option<Frames>,
    trust: PeerTrust,
    /// Something was written that the peer may not have read yet.
    has_written: bool,
    /// The peer has ended, or has deserved a reset.
    is_over: bool,
}

struct Open {
    stream: TcpStream,
    held: Held,
    closing: Closing,
}

/// What a connection holds until it is closed.
pub(super) struct Held {
    _place: OwnedSemaphorePermit,
    _other: Option<Box<dyn Any + Send + Sync>>,
}

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long to wait for the rest of a preface that came in pieces: rare, so a pause is good enough.
const PREFACE_PAUSE: Duration = Duration::from_millis(10);

impl Accepted {
    fn stream(&self) -> io::Result<&TcpStream> {
        self.open.as_ref().map(|open| &open.stream).ok_or_else(closed)
    }

    fn pin(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.open.as_mut().map(|open| Pin::new(&mut open.stream)).ok_or_else(closed)
    }

    /// Keeps `other` until the connection is closed.
    pub fn hold(&mut self, other: impl Any + Send + Sync) {
        if let Some(open) = &mut self.open {
            open.held._other = Some(Box::new(other));
        }
    }

    fn has_written(&mut self, bufs: &[io::IoSlice<'_>], written: &Poll<io::Result<usize>>) -> io::Result<()> {
        let Poll::Ready(Ok(written)) = written else { return Ok(()) };
        self.has_written = true;
        if let Some(frames) = &mut self.frames
            && let Err(flood) = frames.sent(bufs, *written, Instant::now)
        {
            self.is_over = true;
            return Err(flood.into());
        }
        Ok(())
    }

    /// Whether its peer has proved to be a service of the mesh.
    pub(super) fn trust(&self) -> &PeerTrust {
        &self.trust
    }

    /// The same, of a peer that speaks HTTP/2 from the first byte on: a flood of its frames is an error.
    pub(super) fn watching_frames(mut self) -> Self {
        self.frames = Some(Frames::counting_resets(self.trust.clone()));
        self
    }

    /// Whether the peer has said its last word (FIN, or a reset), whatever of it has not been read yet.
    pub fn peer_has_ended(&self) -> bool {
        let ready = self.stream().ok().and_then(|stream| stream.ready(Interest::READABLE).now_or_never());
        ready.is_some_and(|ready| ready.is_ok_and(|ready| ready.is_read_closed()))
    }

    /// Whether the peer begins with HTTP/2's preface. Ends when enough has come to tell; nothing is taken. An error:
    /// the peer left.
    pub async fn speaks_http2(&self) -> io::Result<bool> {
        self.begins_with(PREFACE).await
    }

    /// Whether the first bytes are these. Ends when enough has come to tell; nothing is taken. An error: the peer left.
    pub async fn begins_with<const N: usize>(&self, bytes: &[u8; N]) -> io::Result<bool> {
        let mut seen = [0; N];
        loop {
            match self.stream()?.peek(&mut seen).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n if n < N && bytes.starts_with(&seen[..n]) => tokio::time::sleep(PREFACE_PAUSE).await,
                n => return Ok(n == N && seen == *bytes),
            }
        }
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        // Where nothing was said, there is nothing that a reset could take away.
        if let Some(Open { stream, held, closing }) = self.open.take()
            && self.has_written
            && !self.is_over
        {
            closing.close(stream, held);
        }
    }
}

fn closed() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

/// The admitted connections of a listener. An error of accept(2) is logged and passed over: the next
/// connection may be fine.
pub(super) fn stream(
    incoming: TcpIncoming,
    connections: Connections,
) -> impl Stream<Item = Result<Accepted, io::Error>> {
    incoming.filter_map(move |accepted| {
        ready(match accepted {
            Ok(stream) => connections.admit(stream).map(Ok),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                None
            }
        })
    })
}

impl Connected for Accepted {
    type ConnectInfo = ConnectedPeer;

    fn connect_info(&self) -> ConnectedPeer {
        let address = self.stream().ok().and_then(|stream| stream.peer_addr().ok());
        ConnectedPeer { address, trust: self.trust.clone() }
    }
}

impl AsyncRead for Accepted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let had_room = buf.remaining() > 0;
        let polled = self.pin()?.poll_read(cx, buf);
        let bytes = &buf.filled()[before..];
        match &polled {
            Poll::Ready(Ok(())) if had_room && bytes.is_empty() => self.is_over = true,
            Poll::Ready(Err(_)) => self.is_over = true,
            _ => {}
        }
        if let Some(frames) = &mut self.frames
            && let Err(flood) = frames.pass(bytes, Instant::now)
        {
            self.is_over = true;
            return Poll::Ready(Err(flood.into()));
        }
        polled
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = self.pin()?.poll_write(cx, buf);
        self.has_written(&[io::IoSlice::new(buf)], &polled)?;
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.pin()?.poll_write_vectored(cx, bufs);
        self.has_written(bufs, &polled)?;
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pin()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pin()?.poll_shutdown(cx)
    }
}
