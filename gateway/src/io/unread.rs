//! Request bodies over HTTP/1.1 that a call has not read to the end: the rest is read and discarded, so that the
//! response is not lost and the connection can be reused (RFC 9112, section 9.6). hyper itself discards only what has
//! arrived already, and otherwise closes the connection, without notice and with unread bytes.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use kit::server::Discard;
use parking_lot::Mutex;
use tokio::time::{Sleep, sleep};

/// A request's body as it arrives. If it is dropped before its end, the connection discards the rest.
pub(crate) struct Reading {
    /// `None`: it has ended.
    body: Option<Incoming>,
    has_begun: bool,
    left: Arc<Unread>,
}

/// The body that the last call of a connection has not read to its end.
#[derive(Default)]
pub(crate) struct Unread {
    /// Checked first, so that the usual case takes no lock.
    is_some: AtomicBool,
    body: Mutex<Option<UnreadBody>>,
    /// Of the connection's task. Another task, to which the call sent the body, may drop it.
    task: AtomicWaker,
}

struct UnreadBody {
    body: Incoming,
    /// The call has read some of it: hyper has sent `100 Continue` to a caller that expects it.
    has_begun: bool,
}

impl Reading {
    pub(crate) fn new(body: Incoming, left: &Arc<Unread>) -> Self {
        Self { body: Some(body), has_begun: false, left: Arc::clone(left) }
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        self.has_begun = true;
        let polled = Pin::new(body).poll_frame(cx);
        if let Poll::Ready(None | Some(Err(_))) = &polled {
            self.body = None;
        }
        polled
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            self.left.put(Some(UnreadBody { body, has_begun: self.has_begun }));
            self.left.task.wake();
        }
    }
}

impl Unread {
    fn put(&self, left: Option<UnreadBody>) -> Option<UnreadBody> {
        let mut body = self.body.lock();
        self.is_some.store(left.is_some(), Ordering::Relaxed);
        std::mem::replace(&mut *body, left)
    }

    /// Whether the response that begins must be the connection's last: the rest of the body is longer than may be
    /// discarded, or its caller still waits for `100 Continue`. Then the rest is dropped, and hyper stops reading.
    pub(crate) fn ends_connection(&self, discard: Discard, expects_continue: bool) -> bool {
        if !self.is_some.load(Ordering::Relaxed) {
            return false;
        }
        let Some(left) = self.put(None) else { return false };
        if expects_continue && !left.has_begun || left.body.size_hint().lower() > discard.bytes {
            return true;
        }
        self.put(Some(left));
        false
    }

    /// Drops the rest of a body: the response closes the connection anyway.
    pub(crate) fn forget(&self) {
        if self.is_some.load(Ordering::Relaxed) {
            self.put(None);
        }
    }
}

/// Discards the rest of a body within its bounds. Beyond them hyper closes the connection after the response.
pub(crate) struct Discarding {
    unread: Arc<Unread>,
    discard: Discard,
    current: Option<(Incoming, u64, Pin<Box<Sleep>>)>,
}

impl Discarding {
    pub(crate) fn new(unread: Arc<Unread>, discard: Discard) -> Self {
        Self { unread, discard, current: None }
    }

    /// Whether the discarding has just ended. The task is woken when more arrives.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        self.unread.task.register(cx.waker());
        if self.unread.is_some.load(Ordering::Relaxed)
            && let Some(left) = self.unread.put(None)
        {
            self.current = Some((left.body, self.discard.bytes, Box::pin(sleep(self.discard.time))));
        }
        let Some((body, room, time)) = &mut self.current else { return false };
        let has_ended = loop {
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                    match room.checked_sub(bytes) {
                        Some(left) => *room = left,
                        None => break true,
                    }
                }
                Poll::Ready(Some(Err(_)) | None) => break true,
                Poll::Pending => break time.as_mut().poll(cx).is_ready(),
            }
        };
        if has_ended {
            self.current = None;
        }
        has_ended
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, pin::pin, sync::atomic::AtomicUsize, task::Wake, time::Duration};

    use http::{Request, Response};
    use http_body_util::Empty;
    use hyper::{server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// Counts how often a task is woken.
    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Another task may hold the body when the connection's last turn has ended. Nothing else would wake the connection.
    #[tokio::test]
    async fn late_drop_of_a_body_wakes_its_connection() {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let (unread, held) = (Arc::<Unread>::default(), Mutex::new(None::<Reading>));
        let service = service_fn(|request: Request<Incoming>| {
            *held.lock() = Some(Reading::new(request.into_body(), &unread));
            async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
        });
        let mut connection = pin!(http1::Builder::new().serve_connection(TokioIo::new(server), service));
        let bounds = Discard { bytes: 1_024, time: Duration::from_secs(600) };
        let mut discarding = Discarding::new(Arc::clone(&unread), bounds);
        client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nbeans").await.unwrap();
        let wakes = Arc::<Wakes>::default();
        let waker = Arc::clone(&wakes).into();
        let mut cx = Context::from_waker(&waker);
        while held.lock().is_none() {
            assert!(connection.as_mut().poll(&mut cx).is_pending());
        }
        assert!(!discarding.poll(&mut cx));
        let before = wakes.0.load(Ordering::SeqCst);
        drop(held.lock().take());
        assert!(wakes.0.load(Ordering::SeqCst) > before, "the connection is woken");
    }
}
