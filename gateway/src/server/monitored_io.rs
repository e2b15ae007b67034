//! A caller's connection that reports its traffic to the watchdog.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use kit::server::Frames;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::Watchdog;

/// A connection with a monitor.
pub(crate) struct MonitoredIo<S> {
    inner: S,
    monitor: Monitor,
}

enum Monitor {
    /// HTTP/1.1: reports to the watchdog when a head begins. hyper's own limit would include the time before it, and so
    /// close connections that proxies keep for reuse.
    Heads(Arc<Watchdog>),
    /// HTTP/2: limits the rate of frames that belong to no call.
    Frames(Frames),
}

impl<S> MonitoredIo<S> {
    pub(crate) fn new(inner: S, is_http2: bool, watchdog: &Arc<Watchdog>) -> Self {
        let monitor = if is_http2 { Monitor::Frames(Frames::default()) } else { Monitor::Heads(Arc::clone(watchdog)) };
        Self { inner, monitor }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MonitoredIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        match (&mut self.monitor, &buf.filled()[before..]) {
            (_, []) => {}
            (Monitor::Heads(watchdog), _) => watchdog.received(),
            (Monitor::Frames(frames), bytes) => frames.pass(bytes, Instant::now)?,
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MonitoredIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        if let (Monitor::Frames(frames), Poll::Ready(Ok(written))) = (&mut self.monitor, &polled) {
            frames.sent(bufs, *written, Instant::now)?;
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
