//! A caller's connection over HTTP/2, on h2 directly. Its calls run in the connection's own task: one system call
//! writes all that they send in a turn, and no call needs a task of its own.

use std::{
    future::poll_fn,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream as _, stream::FuturesUnordered};
use h2::{
    Reason,
    server::{Builder, SendResponse},
};
use http::{Request, Response, header::CONTENT_LENGTH};
use kit::{limits::Limits, server::Discard};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{ResponseStream, Signal, Watchdog, date::Date, deferred_waker::DeferredWaker};
use crate::io::{Coalescing, EventSet, Inbound, Pipe, ReceiveBuffer, frame_budget, keepalive};

/// The flow-control window of one response, and of one request.
const STREAM_BYTES: u32 = 64 * 1024;
/// The flow-control window of all requests of one connection. It holds more than a few streams: one whose upstream does
/// not read must not stop the others.
const CONNECTION_BYTES: u32 = 1024 * 1024;
/// Streams that a peer opened and reset before they were accepted (CVE-2023-44487), and streams that the gateway had to
/// reset for a peer's errors (CVE-2025-8671): one more ends the connection. These are h2's own defaults, stated here
/// because the gateway relies on them.
const PENDING_RESETS: usize = 20;
const ERROR_RESETS: usize = 1_024;
/// Reset streams whose late frames h2 still accepts: their calls ended before their requests did.
const REMEMBERED_RESETS: usize = 1_024;

/// Serves the calls of a connection until its caller closes it, a PING gets no reply, or a signal ends it.
pub(super) async fn serve<S, A, F, B>(
    stream: S,
    limits: &Limits,
    respond: A,
    signals: EventSet<'_, Signal>,
    watchdog: &Arc<Watchdog>,
) -> Result<(), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Fn(Request<Inbound>) -> F,
    F: Future<Output = Response<B>>,
    B: ResponseStream,
{
    let stream = Coalescing::new(stream);
    // Over TLS the preface has not been read yet, and until it arrives no other time limit applies.
    let handshake = timeout(limits.request_head.0, builder(limits).handshake(stream.clone()));
    let Ok(connection) = handshake.await else { return Ok(()) };
    let mut connection = connection?;
    let mut signals = signals.and(keepalive::lost(connection.ping_pong(), limits.keepalive.0).map(|()| Signal::Close));
    let (deferred_waker, date, discard) = (DeferredWaker::new(), Date::default(), Discard::of(limits));
    let mut calls = FuturesUnordered::new();
    poll_fn(|cx| {
        while let Poll::Ready(signal) = signals.poll(cx) {
            match signal {
                Signal::Drain => connection.graceful_shutdown(),
                // The final GOAWAY at once: it states that later streams were not processed.
                Signal::Idle => connection.abrupt_shutdown(h2::Reason::NO_ERROR),
                Signal::Close => return Poll::Ready(Ok(())),
            }
        }
        deferred_waker.begin(cx);
        let ended = loop {
            // The panic hook has logged a panic where it happened; only its own call fails, whose stream is reset.
            while let Poll::Ready(Some(_)) = Pin::new(&mut calls).poll_next(cx) {}
            // Writes the output of the calls, reads the input, and accepts all requests in it before the first call
            // runs: their responses may then be written together.
            let known = calls.len();
            let ended = loop {
                match connection.poll_accept(&mut deferred_waker.context()) {
                    Poll::Ready(Some(Ok((request, reply)))) => {
                        calls.push(AssertUnwindSafe(call(&respond, &date, discard, request, reply)).catch_unwind());
                    }
                    Poll::Ready(Some(Err(error))) => break Poll::Ready(Err(error)),
                    Poll::Ready(None) => break Poll::Ready(Ok(())),
                    Poll::Pending => break Poll::Pending,
                }
            };
            if ended.is_ready() || calls.len() == known {
                break ended;
            }
        };
        if ended.is_pending() {
            watchdog.end_turn(cx);
        }
        stream.end_turn(cx);
        deferred_waker.end();
        ended
    })
    .await
}

/// Serves one request.
async fn call<A, F, B>(
    respond: &A,
    date: &Date,
    discard: Discard,
    request: Request<h2::RecvStream>,
    mut reply: SendResponse<Bytes>,
) where
    A: Fn(Request<Inbound>) -> F,
    F: Future<Output = Response<B>>,
    B: ResponseStream,
{
    let request = request.map(Inbound::http2);
    // Holds no more than the bytes of a request, however small its frames, until the upstream takes them.
    let receive_buffer = request.body().receive_buffer().upgrade();
    let read_ahead = |cx: &mut Context<'_>| {
        if let Some(receive_buffer) = &receive_buffer {
            receive_buffer.read_ahead(cx);
        }
    };
    let response = {
        // Boxed, and freed when the response begins: an open stream then takes no more than its body needs.
        let mut responding = Box::pin(respond(request));
        let or_cancelled = poll_fn(|cx| match responding.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => {
                read_ahead(cx);
                reply.poll_reset(cx).map(|_| None)
            }
        });
        or_cancelled.await
    };
    let Some(response) = response else { return };
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact().filter(|_| !body.is_end_stream()) {
        head.headers.insert(CONTENT_LENGTH, length.into());
    }
    date.mark(&mut head.headers);
    // An Err means that the caller has gone.
    if let Ok(stream) = reply.send_response(Response::from_parts(head, ()), body.is_end_stream()) {
        let wait = body.wait();
        let mut pipe = Pipe::new(body, stream);
        poll_fn(|cx| {
            if wait.as_ref().is_some_and(|wait| wait.is_evicted(cx)) {
                // This drops what waits in h2, too.
                pipe.end(Reason::ENHANCE_YOUR_CALM);
                return Poll::Ready(());
            }
            let polled = pipe.poll(cx);
            if polled.is_pending() {
                read_ahead(cx);
            }
            polled
        })
        .await;
        if let Some(receive_buffer) = &receive_buffer {
            discard_rest(receive_buffer, discard).await;
        }
    }
}

/// Discards the rest of a request that its call has not read, within bounds. Some clients lose a response if the server
/// resets the stream while they still send (RFC 9113, section 8.1), as it does when the request is dropped.
async fn discard_rest(request: &ReceiveBuffer, discard: Discard) {
    if !request.is_end_stream() {
        let mut room = discard.bytes;
        timeout(discard.time, poll_fn(|cx| request.poll_drain(&mut room, cx))).await.ok();
    }
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.streams_per_connection)
        .max_header_list_size(limits.header_bytes)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(Some(ERROR_RESETS))
        .max_frame_size(STREAM_BYTES)
        .initial_window_size(STREAM_BYTES)
        .initial_connection_window_size(CONNECTION_BYTES)
        .data_frame_budget(frame_budget(CONNECTION_BYTES))
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        .max_send_buffer_size(STREAM_BYTES as usize);
    builder
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body::{Body, Frame};
    use http_body_util::Full;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::server::{Stalls, Wait};

    /// A complete response.
    struct Fine(Full<Bytes>);

    impl Body for Fine {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Pin::new(&mut self.0).poll_frame(cx)
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_end_stream()
        }
    }

    impl ResponseStream for Fine {
        fn wait(&self) -> Option<Arc<Wait>> {
            None
        }
    }

    async fn asked(sender: &mut h2::client::SendRequest<Bytes>, path: &str) -> Result<u16, h2::Error> {
        let request = Request::builder().uri(format!("http://localhost{path}")).body(()).unwrap();
        let (response, _) = sender.send_request(request, true).unwrap();
        response.await.map(|response| response.status().as_u16())
    }

    /// Serves one connection of `client` with an early response to each request.
    async fn served<T>(client: impl AsyncFnOnce(TcpStream) -> T, limits: Limits) -> T {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let respond = async |_: Request<Inbound>| Response::new(Fine(Full::from("early")));
        let watchdog = Watchdog::new(&Stalls::new(1), true);
        let serving = async {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream, &limits, respond, EventSet::new(), &watchdog).await
        };
        let calling = async { client(TcpStream::connect(address).await.unwrap()).await };
        tokio::select! {
            result = calling => result,
            ended = serving => panic!("the connection has ended: {ended:?}"),
        }
    }

    /// Sends a body of `size` bytes, also after the response. Returns the sent bytes and the status.
    async fn upload(stream: TcpStream, size: usize) -> (usize, u16) {
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut sender = sender.ready().await.unwrap();
        let request = Request::post("http://localhost/").body(()).unwrap();
        let (response, mut body) = sender.send_request(request, false).unwrap();
        let status = response.await.unwrap().status().as_u16();
        let mut sent = 0;
        while sent < size {
            body.reserve_capacity(size - sent);
            let Some(Ok(room)) = poll_fn(|cx| body.poll_capacity(cx)).await else { break };
            if body.send_data(Bytes::from(vec![7; room]), sent + room == size).is_err() {
                break;
            }
            sent += room;
        }
        (sent, status)
    }

    #[tokio::test]
    async fn client_may_finish_its_request_after_an_early_response() {
        let size = 10 * STREAM_BYTES as usize;
        let client = async |stream| upload(stream, size).await;
        assert_eq!(served(client, Limits::default()).await, (size, 200));
        let few = Limits { discard_bytes: STREAM_BYTES.into(), ..Limits::default() };
        let (sent, status) = served(client, few).await;
        assert!(sent < size && status == 200, "{sent}");
    }

    #[tokio::test]
    async fn a_panic_fails_its_own_call_only() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let calling = tokio::spawn(async move {
            let stream = TcpStream::connect(address).await.unwrap();
            let (sender, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let mut sender = sender.ready().await.unwrap();
            assert!(asked(&mut sender, "/panic").await.unwrap_err().is_reset());
            assert_eq!(asked(&mut sender, "/fine").await.unwrap(), 200);
        });
        let (stream, _) = listener.accept().await.unwrap();
        let respond = async |request: Request<Inbound>| {
            assert_ne!(request.uri().path(), "/panic", "a deliberate panic");
            Response::new(Fine(Full::from("fine")))
        };
        let limits = Limits::default();
        let watchdog = Watchdog::new(&Stalls::new(1), true);
        let served = serve(stream, &limits, respond, EventSet::new(), &watchdog);
        let (called, _) = tokio::join!(calling, served);
        called.unwrap();
    }
}
