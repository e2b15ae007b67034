//! A caller's connection over HTTP/2, on h2 itself. Its calls are worked on in the connection's own task: what they have
//! to say together leaves in one write, and none of them needs a task of its own.

use std::{
    future::poll_fn,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
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
use http_body::Body as _;
use kit::limits::Limits;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{Word, date::Date, deferred_waker::DeferredWaker};
use crate::{
    body::{Inbound, Outgoing, Pipe},
    coalescing::Coalescing,
    event_set::EventSet,
    keepalive,
    receive_buffer::frame_budget,
    watchdog::Watchdog,
};

/// What of one response may be on its way to its caller, and what of one request on its way in.
const STREAM_BYTES: u32 = 64 * 1024;
/// What of all requests of one connection may be on its way in. More than a few streams' worth: one whose upstream
/// does not read must not stop the others.
const CONNECTION_BYTES: u32 = 1024 * 1024;
/// Streams that a peer opened and reset before they were looked at (CVE-2023-44487), and streams that we had to reset
/// for a peer's mistakes (CVE-2025-8671): one more ends the connection. h2's own defaults, said here because they are
/// relied on.
const PENDING_RESETS: usize = 20;
const ERROR_RESETS: usize = 1_024;
/// Streams whose calls ended before their requests did, and of which h2 remembers that what still comes is no mistake.
const REMEMBERED_RESETS: usize = 1_024;

/// Serves the calls of a connection until its caller closes it, does not answer a PING, or one of `words` ends it.
pub(super) async fn serve<S, A, F>(
    stream: S,
    limits: &Limits,
    answer: A,
    words: EventSet<'_, Word>,
    watchdog: &Arc<Watchdog>,
) -> Result<(), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Fn(Request<Inbound>) -> F,
    F: Future<Output = Response<Outgoing>>,
{
    let stream = Coalescing::new(stream);
    // Over TLS nothing of the preface has been seen yet, and until it has come no other time limit applies.
    let handshake = timeout(limits.request_head.0, builder(limits).handshake(stream.clone()));
    let Ok(connection) = handshake.await else { return Ok(()) };
    let mut connection = connection?;
    let mut words = words.and(keepalive::lost(connection.ping_pong(), limits.keepalive.0).map(|()| Word::Close));
    let (deferred_waker, date) = (DeferredWaker::new(), Date::default());
    let mut calls = FuturesUnordered::new();
    poll_fn(|cx| {
        while let Poll::Ready(word) = words.poll(cx) {
            match word {
                Word::Leave => connection.graceful_shutdown(),
                // The last GOAWAY at once: it says that what comes from now on was not processed.
                Word::Idle => connection.abrupt_shutdown(h2::Reason::NO_ERROR),
                Word::Close => return Poll::Ready(Ok(())),
            }
        }
        deferred_waker.begin(cx);
        let ended = loop {
            // The hook has logged a panic where it happened; it costs its own call only, whose stream is reset.
            while let Poll::Ready(Some(_)) = Pin::new(&mut calls).poll_next(cx) {}
            // Writes what the calls have left, reads what has come, and takes all requests in it before the first is
            // worked on: their responses may then leave together.
            let known = calls.len();
            let ended = loop {
                match connection.poll_accept(&mut deferred_waker.answer()) {
                    Poll::Ready(Some(Ok((request, reply)))) => {
                        calls.push(AssertUnwindSafe(call(&answer, &date, request, reply)).catch_unwind());
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

/// Answers one request.
async fn call<A, F>(answer: &A, date: &Date, request: Request<h2::RecvStream>, mut reply: SendResponse<Bytes>)
where
    A: Fn(Request<Inbound>) -> F,
    F: Future<Output = Response<Outgoing>>,
{
    let request = request.map(Inbound::http2);
    // Holds of a request no more than its bytes, whatever the frames, until the upstream takes them.
    let receive_buffer = request.body().receive_buffer();
    let read_ahead = |cx: &mut Context<'_>| {
        if let Some(receive_buffer) = receive_buffer.upgrade() {
            receive_buffer.read_ahead(cx);
        }
    };
    let answered = {
        let mut answering = pin!(answer(request));
        let or_taken_back = poll_fn(|cx| match answering.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => {
                read_ahead(cx);
                reply.poll_reset(cx).map(|_| None)
            }
        });
        or_taken_back.await
    };
    let Some(response) = answered else { return };
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact().filter(|_| !body.is_end_stream()) {
        head.headers.insert(CONTENT_LENGTH, length.into());
    }
    date.mark(&mut head.headers);
    // An Err says that the caller has gone.
    if let Ok(stream) = reply.send_response(Response::from_parts(head, ()), body.is_end_stream()) {
        let wait = body.wait();
        let mut pipe = Pipe::new(body, stream);
        poll_fn(|cx| {
            if wait.as_ref().is_some_and(|wait| wait.is_evicted(cx)) {
                // What waits in h2 is dropped with it.
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
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::watchdog::Stalls;

    async fn asked(sender: &mut h2::client::SendRequest<Bytes>, path: &str) -> Result<u16, h2::Error> {
        let request = Request::builder().uri(format!("http://localhost{path}")).body(()).unwrap();
        let (answer, _) = sender.send_request(request, true).unwrap();
        answer.await.map(|answer| answer.status().as_u16())
    }

    #[tokio::test]
    async fn a_panic_costs_its_own_call_only() {
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
        let answer = async |request: Request<Inbound>| {
            assert_ne!(request.uri().path(), "/panic", "a mistake of ours");
            Response::new(Outgoing::full("fine"))
        };
        let limits = Limits::default();
        let watchdog = Watchdog::new(&Stalls::new(1), true);
        let served = serve(stream, &limits, answer, EventSet::new(), &watchdog);
        let (called, _) = tokio::join!(calling, served);
        called.unwrap();
    }
}
