//! What reads and writes on a connection to an upstream.

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

use super::{Tolerance, dial::Stream};
use crate::{coalescing::Coalescing, keepalive, receive_buffer::frame_budget};

/// What may be on its way in one response before its reader takes it. A connection's window is this times its
/// streams, so that a reader who stops cannot stop the others.
pub(crate) const STREAM_WINDOW: u32 = 64 * 1024;
/// How large a frame may be: larger ones cost less each, and are never gathered.
const FRAME_BYTES: u32 = 32 * 1024;
/// What h2 reads of a response's headers or trailers. `limits.header_bytes`, which counts, is less: of what is beyond this
/// h2 drops fields without a word, or ends the connection and every call on it.
const HEADER_BYTES: u32 = 256 * 1024;
/// What of one request may wait for the connection to be written to.
const SEND_BYTES: usize = 64 * 1024;
/// How many calls a connection takes before the upstream has said how many it takes, which is the first that it says.
/// More would be a guess, and what it does not take would wait.
const FIRST_CALLS: usize = 0;

/// How many reset streams h2 remembers, and for how long. What comes late for one that it has forgotten it takes for a
/// mistake of the server's: the first is far more than are reset in the second ([`super::cancel`]).
const RESETS: usize = 4_096;
const RESETS_TIME: Duration = Duration::from_secs(30);
/// How many streams of an external upstream h2 resets for the upstream's mistakes, over the life of a connection; one
/// more ends it.
pub(super) const ERROR_RESETS: usize = 1_024;

/// How often an external upstream is sent a PING at most. gRPC servers close a connection after three PINGs that came
/// sooner after one another, when they had nothing to send meanwhile ("too many pings"): grpc-go and grpcio after
/// 5 minutes by default. TCP probes at `limits.keepalive` notice a dead peer sooner ([`super::dial`]).
const EXTERNAL_PINGS: Duration = Duration::from_secs(5 * 60 + 10);

/// Begins to speak HTTP/2, and waits for what the upstream has to say of itself. The connection ends with its last
/// sender, when the upstream closes it, and when its peer shows no sign of life.
pub(super) async fn start(
    stream: Stream,
    limits: &Limits,
    tolerance: Tolerance,
) -> io::Result<(SendRequest<Bytes>, AbortHandle)> {
    stream.probe(limits.keepalive.0);
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
    greeting.await.map_err(|_| io::Error::other("closed before the upstream said anything"))?;
    Ok((sender, driver))
}

/// Whenever it is woken it lets the tasks go first that are ready: what they send leaves in one write with what woke it,
/// and a write costs more than all else.
struct Driver {
    connection: client::Connection<Coalescing<Stream>, Bytes>,
    stream: Coalescing<Stream>,
    /// Told once the upstream has said how many calls it takes.
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
            // Whoever connected may have given up.
            greeted.send(()).ok();
        }
        self.stream.end_turn(cx);
        polled
    }
}

/// Ends a connection whose other end is gone without a word.
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
