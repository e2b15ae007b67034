//! A caller's connection over HTTP/1.1, on hyper.
//!
//! It has no GOAWAY: a caller may send its next request at any time, and loses it when the connection is closed at that
//! moment. So the end is announced by `connection: close` in a response wherever there is one: past the connection's age,
//! and from the beginning of the shutdown. A connection without a call is closed for idleness only.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use futures_util::FutureExt as _;
use http::{
    HeaderMap, HeaderValue, Method, Request,
    header::{CONNECTION, EXPECT},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use kit::{limits::Limits, server::Discard};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use super::{
    Talk, Word,
    shared::{Line, Shared},
    unread::{Discarding, Reading, Unread},
};
use crate::{body::Inbound, monitored_io::MonitoredIo};

/// What is read and written at once, at most. hyper reads a request's head into the same buffer: what a head may hold is
/// looked at afterwards.
const BUFFER_BYTES: usize = 64 * 1024;

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Serves the calls of a connection until its caller closes it or one of its words ends it.
pub(super) async fn serve<S>(talk: &Talk<'_>, stream: S) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Line + Unpin + Send + 'static,
{
    let (limits, header_count) = (&talk.house.gateway.context.limits, talk.header_count());
    let (discard, unread) = (Discard::of(limits), Arc::new(Unread::default()));
    let end = End { is_leaving: AtomicBool::new(false), old: talk.age().map(|age| Instant::now() + age) };
    let service = service_fn(|request: Request<Incoming>| {
        // What follows a CONNECT that is refused is not HTTP.
        let is_last = request.method() == Method::CONNECT;
        let expects = expects_continue(request.headers());
        let answering = talk.answer(request.map(|body| Inbound::http1(Reading::new(body, &unread))));
        let (unread, end) = (&unread, &end);
        async move {
            let mut response = answering.await;
            let is_last = is_last || end.is_due() || talk.house.shutdown.is_stopping();
            if is_last || unread.ends_connection(discard, expects) {
                response.headers_mut().insert(CONNECTION, CLOSE);
            }
            if response.headers().contains_key(CONNECTION) {
                unread.forget();
            }
            Ok::<_, Infallible>(response)
        }
    });
    let stream = Shared::new(stream);
    // hyper reads nothing while something waits to be read out of its own buffer.
    let (line, has_left) = (stream.clone(), |line: &Shared<S>| line.has_ended());
    let stream = TokioIo::new(MonitoredIo::new(stream, false, &talk.watchdog));
    let mut connection = pin!(builder(limits, header_count).serve_connection(stream, service));
    let mut discarding = Discarding::new(Arc::clone(&unread), discard);
    let mut words = talk.words(|| has_left(&line)).and(talk.drained().map(|()| Word::Leave));
    let mut is_quitting = false;
    poll_fn(|cx| {
        while let Poll::Ready(word) = words.poll(cx) {
            match word {
                Word::Close => return Poll::Ready(Ok(())),
                Word::Leave => {}
                // A last call is watched over as all others.
                Word::Idle => words.push(talk.deserved(|| has_left(&line))),
            }
            end.is_leaving.store(true, Ordering::Relaxed);
            is_quitting = true;
        }
        let polled = connection.as_mut().poll(cx);
        if polled.is_ready() {
            return polled;
        }
        if discarding.poll(cx) {
            talk.watchdog.was_no_head();
        }
        talk.watchdog.end_turn(cx);
        // Only now: a request that has come in the meantime is answered first.
        if is_quitting && talk.watchdog.is_quiet() {
            connection.as_mut().graceful_shutdown();
            return connection.as_mut().poll(cx);
        }
        Poll::Pending
    })
    .await
}

/// When a response is to be the connection's last.
struct End {
    is_leaving: AtomicBool,
    old: Option<Instant>,
}

impl End {
    fn is_due(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed) || self.old.is_some_and(|old| Instant::now() >= old)
    }
}

impl Talk<'_> {
    fn header_count(&self) -> usize {
        self.house.gateway.current().config.header_count
    }

    /// Ends when the shutdown sends callers away and the connection has been without a call for a while.
    async fn drained(&self) {
        self.house.shutdown.draining().await;
        let idle = self.house.gateway.current().config.drain_idle.0;
        self.watchdog.quiet(idle).await;
    }
}

/// Whether the caller waits to be asked for the body (RFC 9110, section 10.1.1).
fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn builder(limits: &Limits, header_count: usize) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(header_count)
        .max_buf_size(usize::try_from(limits.header_bytes).unwrap_or(usize::MAX).max(BUFFER_BYTES));
    builder
}
