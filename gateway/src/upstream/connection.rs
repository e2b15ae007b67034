//! The task that reads and writes on a connection to an upstream.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    PingPong,
    client::{self, SendRequest},
};
use kit::{error::chain, limits::Limits};
use tokio::{
    sync::oneshot,
    task::{AbortHandle, JoinHandle},
};

use super::{
    Tolerance,
    dial::{self, DialedStream},
};
use crate::io::{Coalescing, frame_budget, keepalive};

/// The flow-control window of one response. A connection's window is this times its streams, so that a reader that
/// stops cannot stop the others.
pub(crate) const STREAM_WINDOW: u32 = 64 * 1024;
/// The largest frame: larger frames cost less per byte, and are never copied into the buffer of a turn.
const FRAME_BYTES: u32 = 32 * 1024;
/// The limit of h2 on a response's headers or trailers. `limits.header_bytes`, which applies, is lower: beyond h2's own
/// limit h2 drops fields without an error, or closes the connection with all its calls.
const HEADER_BYTES: u32 = 256 * 1024;
/// How many bytes of one request may wait to be written to the connection.
const SEND_BYTES: usize = 64 * 1024;
/// How many calls a connection takes before the upstream has sent its limit, which it sends first. Any other number
/// would be a guess, and calls beyond the limit would wait.
const FIRST_CALLS: usize = 0;

/// How many reset streams h2 remembers, and for how long. It treats a late frame of a forgotten stream as an error of
/// the server. The number is far above the resets that [`super::cancel`] allows in that time.
const RESETS: usize = 4_096;
const RESETS_TIME: Duration = Duration::from_secs(30);
/// How many streams of an external upstream h2 resets for the upstream's errors, over the life of a connection; one
/// more ends it.
pub(super) const ERROR_RESETS: usize = 1_024;

/// The shortest interval between PINGs to an external upstream. gRPC servers close a connection after three PINGs in
/// shorter intervals if they sent nothing meanwhile ("too many pings"): grpc-go and grpcio require
/// 5 minutes by default. TCP probes at `limits.keepalive` detect a dead peer sooner ([`super::dial`]).
const EXTERNAL_PINGS: Duration = Duration::from_secs(5 * 60 + 10);

/// Starts HTTP/2, and waits for the upstream's SETTINGS. The connection ends with its last sender, when the upstream
/// closes it, and when its peer does not reply to a PING.
pub(super) async fn start(
    stream: DialedStream,
    limits: &Limits,
    tolerance: Tolerance,
) -> io::Result<(SendRequest<Bytes>, AbortHandle)> {
    dial::probe(&stream, limits.keepalive.0);
    let stream = Coalescing::new(stream);
    let window = STREAM_WINDOW.saturating_mul(limits.streams_per_connection);
    let handshake = client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(window)
        .data_frame_budget(frame_budget(window))
        .max_concurrent_reset_streams(RESETS)
        .reset_stream_duration(RESETS_TIME)
        .max_local_error_reset_streams((tolerance == Tolerance::External).then_some(ERROR_RESETS))
        .initial_max_send_streams(FIRST_CALLS)
        .max_send_buffer_size(SEND_BYTES)
        .max_frame_size(FRAME_BYTES)
        .max_header_list_size(HEADER_BYTES.max(limits.header_bytes))
        .enable_push(false)
        .handshake(stream.clone());
    let (sender, mut connection) = handshake.await.map_err(io::Error::other)?;
    let pings = connection.ping_pong();
    let (greeted, greeting) = oneshot::channel();
    let driving = tokio::spawn(Driver { connection, stream, greeted: Some(greeted), has_yielded: false });
    let driver = driving.abort_handle();
    let interval = match tolerance {
        Tolerance::Mesh => limits.keepalive.0,
        Tolerance::External => limits.keepalive.0.max(EXTERNAL_PINGS),
    };
    tokio::spawn(watch(driving, pings, interval));
    greeting.await.map_err(|_| io::Error::other("the upstream closed the connection before its SETTINGS"))?;
    Ok((sender, driver))
}

/// When it is woken, it first yields to the tasks that are ready: one system call then writes all that they send, and a
/// system call costs more than all else.
struct Driver {
    connection: client::Connection<Coalescing<DialedStream>, Bytes>,
    stream: Coalescing<DialedStream>,
    /// Notified once the upstream has sent how many calls it takes.
    greeted: Option<oneshot::Sender<()>>,
    has_yielded: bool,
}

impl Future for Driver {
    type Output = Result<(), h2::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.has_yielded = !self.has_yielded;
        if self.has_yielded {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.connection).poll(cx);
        if self.greeted.is_some()
            && self.connection.max_concurrent_send_streams() != FIRST_CALLS
            && let Some(greeted) = self.greeted.take()
        {
            // The receiver may have given up.
            greeted.send(()).ok();
        }
        self.stream.end_turn(cx);
        polled
    }
}

/// Ends a connection whose peer is gone without closing it.
async fn watch(mut driving: JoinHandle<Result<(), h2::Error>>, pings: Option<PingPong>, interval: Duration) {
    tokio::select! {
        ended = &mut driving => if let Ok(Err(error)) = ended {
            tracing::debug!(error = %chain(&error), "a connection to an upstream ended");
        },
        () = keepalive::lost(pings, interval) => {
            tracing::debug!("a connection to an upstream is dead");
            driving.abort();
        }
    }
}
