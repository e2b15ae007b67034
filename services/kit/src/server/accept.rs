//! Accepts a bounded number of connections. One more is closed at once, so that its client fails instead of waiting in
//! a backlog.

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

/// How many unsent bytes of a response the kernel buffers.
const UNSENT_BYTES: u32 = 128 * 1024;

/// The bound on the connections of one listener.
#[derive(Clone)]
pub struct Connections {
    places: Arc<Semaphore>,
    closing: Closing,
}

impl Connections {
    /// Admits at most `limit` connections at once. After they are closed, bytes from their peers are discarded within
    /// `discard`.
    pub fn new(limit: usize, discard: Discard) -> Self {
        Self { places: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))), closing: Closing::new(discard) }
    }

    /// Completes when the last connection is closed, or after a second: the remaining peers ignore FIN.
    pub async fn closed(&self) {
        self.closing.ended().await;
    }

    /// Takes a place for `stream`. If none is free, closes the stream and returns `None`.
    pub fn admit(&self, stream: TcpStream) -> Option<Accepted> {
        // Responses are small and must not be delayed. An Err means that the peer has gone.
        stream.set_nodelay(true).ok();
        // Bytes for a slow reader wait in this process, where they are counted, and not in the kernel's large buffers.
        SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES).ok();
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => {
                let closing = self.closing.clone();
                let held = ConnectionGuard { _place: place, _other: None };
                let open = OpenConnection { stream, held, closing };
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

/// The peer of a connection, in the extensions of each of its calls.
#[derive(Debug, Clone)]
pub struct ConnectedPeer {
    /// `None`: the connection is closed.
    pub address: Option<SocketAddr>,
    /// Whether the peer is a proved service of the mesh.
    pub trust: PeerTrust,
}

/// A connection that holds its place until it is closed. On drop it sends FIN and discards what the peer still sends
/// (RFC 9112, section 9.6): closing a socket with unread bytes resets the connection, and the peer's kernel would drop
/// a response that the peer has not read yet.
pub struct Accepted {
    /// `None` only during drop.
    open: Option<OpenConnection>,
    /// The detection of floods.
    frames: Option<Frames>,
    trust: PeerTrust,
    /// Bytes were written that the peer may not have read yet.
    has_written: bool,
    /// The peer has closed the connection, or flooded it and gets a reset.
    is_over: bool,
}

struct OpenConnection {
    stream: TcpStream,
    held: ConnectionGuard,
    closing: Closing,
}

/// What a connection owns until it is closed.
pub(super) struct ConnectionGuard {
    _place: OwnedSemaphorePermit,
    _other: Option<Box<dyn Any + Send + Sync>>,
}

/// The preface of an HTTP/2 connection (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The pause before another look at a preface that arrives in pieces, which is rare.
const PREFACE_PAUSE: Duration = Duration::from_millis(10);

impl Accepted {
    fn stream(&self) -> io::Result<&TcpStream> {
        self.open.as_ref().map(|open| &open.stream).ok_or_else(closed)
    }

    fn pin(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.open.as_mut().map(|open| Pin::new(&mut open.stream)).ok_or_else(closed)
    }

    /// Moves the connection to the runtime of the current task, which polls its socket from now on.
    pub fn move_here(&mut self) -> io::Result<()> {
        let OpenConnection { stream, held, closing } = self.open.take().ok_or_else(closed)?;
        let stream = TcpStream::from_std(stream.into_std()?)?;
        self.open = Some(OpenConnection { stream, held, closing });
        Ok(())
    }

    /// Drops `other` when the connection is closed.
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

    /// Whether its peer is a proved service of the mesh.
    pub(super) fn trust(&self) -> &PeerTrust {
        &self.trust
    }

    /// Counts the frames of a peer that speaks HTTP/2 from the first byte: a flood is an error.
    pub(super) fn watching_frames(mut self) -> Self {
        self.frames = Some(Frames::counting_resets(self.trust.clone()));
        self
    }

    /// Whether the peer has sent FIN or a reset. There may be unread bytes.
    pub fn peer_has_ended(&self) -> bool {
        let ready = self.stream().ok().and_then(|stream| stream.ready(Interest::READABLE).now_or_never());
        ready.is_some_and(|ready| ready.is_ok_and(|ready| ready.is_read_closed()))
    }

    /// Whether the peer starts with HTTP/2's preface. Completes as soon as this is decided; consumes no bytes. Fails if
    /// the peer closes the connection.
    pub async fn speaks_http2(&self) -> io::Result<bool> {
        self.begins_with(PREFACE).await
    }

    /// Whether the first bytes are `bytes`. Completes as soon as this is decided; consumes no bytes. Fails if the peer
    /// closes the connection.
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
        // Without a written response, a reset loses nothing.
        if let Some(OpenConnection { stream, held, closing }) = self.open.take()
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

/// The admitted connections of a listener. Errors of accept(2) are logged and skipped: the next connection may succeed.
pub(super) fn stream(
    incoming: TcpIncoming,
    connections: Connections,
) -> impl Stream<Item = Result<Accepted, io::Error>> {
    incoming.filter_map(move |accepted| {
        ready(match accepted {
            Ok(stream) => connections.admit(stream).map(Ok),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
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
