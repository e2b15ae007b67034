//! A caller's connection as its vigil hears it.

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

use crate::vigil::Vigil;

/// A connection that is listened to.
pub(crate) struct Overheard<S> {
    inner: S,
    ear: Ear,
}

enum Ear {
    /// HTTP/1.1: the vigil hears when a head begins. hyper's own limit would count the time before it too, and so close
    /// connections that proxies keep for later.
    Heads(Arc<Vigil>),
    /// HTTP/2: frames that begin nothing may come between calls, but no floods of them.
    Frames(Frames),
}

impl<S> Overheard<S> {
    pub(crate) fn new(inner: S, is_http2: bool, vigil: &Arc<Vigil>) -> Self {
        let ear = if is_http2 { Ear::Frames(Frames::default()) } else { Ear::Heads(Arc::clone(vigil)) };
        Self { inner, ear }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Overheard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        match (&mut self.ear, &buf.filled()[before..]) {
            (_, []) => {}
            (Ear::Heads(vigil), _) => vigil.heard(),
            (Ear::Frames(frames), bytes) => frames.pass(bytes, Instant::now)?,
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Overheard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        if let (Ear::Frames(frames), Poll::Ready(Ok(written))) = (&mut self.ear, &polled) {
            frames.sent(&[io::IoSlice::new(buf)], *written, Instant::now)?;
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        if let (Ear::Frames(frames), Poll::Ready(Ok(written))) = (&mut self.ear, &polled) {
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
