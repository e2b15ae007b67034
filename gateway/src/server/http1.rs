//! A caller's connection over HTTP/1.1, on hyper.
//!
//! HTTP/1.1 has no GOAWAY: a caller may send its next request at any time, and loses it when the connection is closed
//! at that moment. So `connection: close` in a response announces the end: past the connection's maximum age, and from
//! the beginning of the shutdown. A connection without a call is closed only when it is idle.

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
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{CONNECTION, EXPECT},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::{TokioIo, TokioTimer};
use kit::{limits::Limits, server::Discard};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use super::{
    ConnectionContext, Handler, Signal,
    monitored_io::MonitoredIo,
    shared::{PeerEnded, Shared},
};
use crate::{
    io::{Discarding, Inbound, Reading, Unread},
    protocol::websocket::is_handshake,
};

/// How many bytes are read and written at once, at most. hyper reads a request's head into the same buffer: the limits
/// on the head are checked afterwards.
const BUFFER_BYTES: usize = 64 * 1024;

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Serves the calls of a connection until its caller closes it or a signal ends it.
pub(super) async fn serve<H, S>(context: &ConnectionContext<'_, H>, stream: S) -> hyper::Result<()>
where
    H: Handler,
    S: AsyncRead + AsyncWrite + PeerEnded + Unpin + Send + 'static,
{
    let (limits, header_count) = (&context.server.limits, context.server.handler.settings().header_count);
    let (discard, unread) = (Discard::of(limits), Arc::new(Unread::default()));
    let last =
        LastResponse { is_closing: AtomicBool::new(false), max_age: context.age().map(|age| Instant::now() + age) };
    let upgraded = Mutex::new(None);
    let service = service_fn(|mut request: Request<Incoming>| {
        // The bytes after a refused CONNECT are not HTTP.
        let is_last = request.method() == Method::CONNECT;
        let expects = expects_continue(request.headers());
        let upgrade = Upgrade::of(&mut request);
        let response = context.respond(request.map(|body| Inbound::http1(Reading::new(body, &unread))));
        let (unread, last, upgraded) = (&unread, &last, &upgraded);
        async move {
            let mut response = response.await;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                *upgraded.lock() = upgrade;
                return Ok(response);
            }
            let is_last = is_last || last.is_due() || context.server.shutdown.is_stopping();
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
    // hyper reads nothing while bytes wait in its own buffer.
    let (monitored, has_left) = (stream.clone(), |monitored: &Shared<S>| monitored.has_ended());
    let stream = TokioIo::new(MonitoredIo::new(stream, false, &context.watchdog));
    let mut connection = pin!(builder(limits, header_count).serve_connection(stream, service).with_upgrades());
    let mut discarding = Discarding::new(Arc::clone(&unread), discard);
    let mut signals = context.signals(|| has_left(&monitored)).and(context.drained().map(|()| Signal::Drain));
    let mut is_closing = false;
    poll_fn(|cx| {
        while let Poll::Ready(signal) = signals.poll(cx) {
            match signal {
                Signal::Close => return Poll::Ready(Ok(())),
                Signal::Drain => {}
                // The watchdog also monitors a last call.
                Signal::Idle => signals.push(context.watch(|| has_left(&monitored))),
            }
            last.is_closing.store(true, Ordering::Relaxed);
            is_closing = true;
        }
        let polled = connection.as_mut().poll(cx);
        if polled.is_ready() {
            return polled;
        }
        if discarding.poll(cx) {
            context.watchdog.clear_head();
        }
        context.watchdog.end_turn(cx);
        // Only now: a request that has arrived in the meantime is served first.
        if is_closing && context.watchdog.is_quiet() {
            connection.as_mut().graceful_shutdown();
            return connection.as_mut().poll(cx);
        }
        Poll::Pending
    })
    .await?;
    let upgrade = upgraded.lock().take();
    let Some(Upgrade { on_upgrade, request }) = upgrade.map(|upgrade| *upgrade) else { return Ok(()) };
    let (watched, io) = (context.watchdog.begin(), on_upgrade.await?);
    let handler = &context.server.handler;
    let mut serving =
        Box::pin(handler.serve_upgraded(context.peer.clone(), watched, request, io, &context.server.shutdown));
    poll_fn(|cx| {
        while let Poll::Ready(signal) = signals.poll(cx) {
            match signal {
                Signal::Close => return Poll::Ready(()),
                Signal::Drain => {}
                Signal::Idle => signals.push(context.watch(|| has_left(&monitored))),
            }
        }
        let polled = serving.as_mut().poll(cx);
        if polled.is_pending() {
            context.watchdog.end_turn(cx);
        }
        polled
    })
    .await;
    Ok(())
}

/// A request to change the protocol of the connection.
struct Upgrade {
    on_upgrade: OnUpgrade,
    /// Its head.
    request: Request<()>,
}

impl Upgrade {
    /// Boxed: few requests are one. `None`: the request does not ask for a WebSocket.
    fn of(request: &mut Request<Incoming>) -> Option<Box<Self>> {
        if !is_handshake(request) {
            return None;
        }
        let on_upgrade = hyper::upgrade::on(&mut *request);
        let mut head = Request::new(());
        *head.method_mut() = request.method().clone();
        *head.uri_mut() = request.uri().clone();
        *head.version_mut() = request.version();
        *head.headers_mut() = request.headers().clone();
        Some(Box::new(Self { on_upgrade, request: head }))
    }
}

/// Decides whether a response is the connection's last.
struct LastResponse {
    is_closing: AtomicBool,
    max_age: Option<Instant>,
}

impl LastResponse {
    fn is_due(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed) || self.max_age.is_some_and(|max_age| Instant::now() >= max_age)
    }
}

impl<H: Handler> ConnectionContext<'_, H> {
    /// Ends when the shutdown drains and the connection has been without a call for a while.
    async fn drained(&self) {
        self.server.shutdown.draining().await;
        let idle = self.server.handler.settings().drain_idle;
        self.watchdog.wait_until_quiet(idle, self.timeouts().tick()).await;
    }
}

/// Whether the caller waits for `100 Continue` before it sends the body (RFC 9110, section 10.1.1).
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
