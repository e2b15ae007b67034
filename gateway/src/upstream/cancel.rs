//! Cancels calls on a connection that other calls share.
//!
//! Servers take many RST_STREAMs for an attack (rapid reset, CVE-2023-44487) and close the connection, with all other
//! calls on it: h2 and hyper after 20 streams that are reset before they are accepted, Node after a burst of
//! 1 000 and 33 a second, Envoy by the share of early resets. grpc-go and grpcio do not count them. The clients of the
//! gateway may disconnect as often as they like, so the gateway resets streams of external upstreams at a bounded rate.
//! A cancelled call beyond the rate keeps its stream, and its response is discarded, until its end or its turn.
//! Calls whose requests are unfinished wait for their turn, too.
//!
//! A waiting call may hold a worker of its server, so that no response begins: turns also come with time. While many
//! calls wait, new calls use another connection, and a connection with only cancelled calls is closed, which
//! cancels them all ([`super::pool`]).
//!
//! A service of the mesh does not limit the gateway, which proves its identity: its calls are cancelled at once.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use h2::client::ResponseFuture;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::pool::{CancelledPermit, StreamPermit};
use crate::io::ReceiveBuffer;

/// How many streams may be reset at once, and the time until one more may be: below Node's limit.
const BURST: u32 = 100;
const PAUSE: Duration = Duration::from_millis(40);
/// How many streams may be reset that the server may not have accepted yet: half of h2's limit.
const UNPROVEN: usize = 10;
/// The time after which a running server has accepted a stream, even without a response. With [`UNPROVEN`], h2's limit
/// allows the server to stall for twice this time.
const ACCEPTED: Duration = Duration::from_millis(500);

/// Whether the server limits resets by its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tolerance {
    /// A service of the mesh: the gateway has proved its identity.
    Mesh,
    /// Anything else.
    External,
}

/// The cancellations of one connection.
pub(super) struct Cancellations {
    tolerance: Tolerance,
    /// Locked by the call that waits for the next turn: turns follow the order of the cancellations.
    queue: tokio::sync::Mutex<()>,
    turns: Mutex<Turns>,
    /// The highest stream whose response has begun. The server has accepted it and every stream before it.
    accepted: AtomicU32,
    /// Notified when `accepted` has risen.
    accepting: Notify,
}

struct Turns {
    /// The time at which the burst is available again.
    forgotten: Option<Instant>,
    /// Streams that were reset and may not have been accepted, and when. The oldest is first.
    unproven: Vec<(u32, Instant)>,
}

/// A call that its caller has given up.
pub(super) enum Cancelled {
    /// Its response has not begun.
    Waiting(ResponseFuture),
    /// Its response has begun.
    Reading(Arc<ReceiveBuffer>),
}

impl Cancellations {
    pub(super) fn new(tolerance: Tolerance) -> Self {
        Self {
            tolerance,
            queue: tokio::sync::Mutex::default(),
            turns: Mutex::new(Turns { forgotten: None, unproven: Vec::new() }),
            accepted: AtomicU32::new(0),
            accepting: Notify::new(),
        }
    }

    /// The response to a call on stream `id` has begun.
    pub(super) fn accepted(&self, id: u32) {
        if self.accepted.fetch_max(id, Ordering::Relaxed) < id {
            self.accepting.notify_waiters();
        }
    }

    /// Waits until stream `id` may be reset.
    pub(super) async fn turn(&self, id: u32) {
        if self.tolerance == Tolerance::Mesh {
            return;
        }
        loop {
            let accepting = self.accepting.notified();
            let Err(at) = self.may_reset(id, Instant::now()) else { break };
            tokio::select! {
                () = accepting => {}
                () = sleep_until(at) => {}
            }
        }
        let _first = self.queue.lock().await;
        while let Err(at) = self.take_turn(Instant::now()) {
            sleep_until(at).await;
        }
    }

    /// Like `turn`, without waiting. False: the turn has not come.
    fn try_turn(&self, id: u32) -> bool {
        let now = Instant::now();
        self.tolerance == Tolerance::Mesh
            || self.queue.try_lock().is_ok_and(|_first| self.may_reset(id, now).is_ok() && self.take_turn(now).is_ok())
    }

    /// Whether the stream may be reset without exceeding the limit on streams that the server has not accepted. An Err
    /// holds the time of the next check.
    fn may_reset(&self, id: u32, now: Instant) -> Result<(), Instant> {
        let accepted = self.accepted.load(Ordering::Relaxed);
        if id <= accepted {
            return Ok(());
        }
        let mut turns = self.turns.lock();
        turns.unproven.retain(|(reset, at)| *reset > accepted && now < *at + ACCEPTED);
        if turns.unproven.iter().any(|(reset, _)| *reset == id) {
            return Ok(());
        }
        if let Some((_, oldest)) = turns.unproven.first().filter(|_| turns.unproven.len() >= UNPROVEN) {
            return Err(*oldest + ACCEPTED);
        }
        turns.unproven.push((id, now));
        Ok(())
    }

    /// Takes a token; an Err holds the time of the next one.
    fn take_turn(&self, now: Instant) -> Result<(), Instant> {
        let mut turns = self.turns.lock();
        let forgotten = turns.forgotten.map_or(now, |at| at.max(now)) + PAUSE;
        match forgotten.checked_sub(PAUSE * BURST) {
            Some(at) if at > now => Err(at),
            _ => {
                turns.forgotten = Some(forgotten);
                Ok(())
            }
        }
    }
}

/// Cancels a call: resets its stream, at once if the rate allows it.
pub(super) fn cancel(call: Cancelled, permit: &StreamPermit) {
    if permit.cancellations().try_turn(call.id()) {
        return;
    }
    // Without a runtime the process is stopping, and the connection ends.
    if let Ok(runtime) = Handle::try_current() {
        let permit = permit.cancelled();
        runtime.spawn(async move {
            let mut call = call;
            let id = call.id();
            tokio::select! {
                () = poll_fn(|cx| call.poll_discard(&permit, cx)) => {}
                () = permit.cancellations().turn(id) => {}
            }
            // This sends the reset, and then releases the permit.
            drop(call);
            drop(permit);
        });
    }
}

impl Cancelled {
    fn id(&self) -> u32 {
        match self {
            Self::Waiting(response) => response.stream_id().as_u32(),
            Self::Reading(receive_buffer) => receive_buffer.stream_id(),
        }
    }

    /// Discards the response. Ends with the stream.
    fn poll_discard(&mut self, permit: &CancelledPermit, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self {
                Self::Waiting(response) => {
                    let id = response.stream_id().as_u32();
                    let Ok(response) = ready!(Pin::new(response).poll(cx)) else { return Poll::Ready(()) };
                    permit.cancellations().accepted(id);
                    *self = Self::Reading(Arc::new(ReceiveBuffer::new(response.into_body())));
                }
                Self::Reading(receive_buffer) => return receive_buffer.poll_discard(cx),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn resets_of_accepted_streams_keep_to_a_rate() {
        let cancellations = Cancellations::new(Tolerance::External);
        cancellations.accepted(10_001);
        let began = Instant::now();
        for id in 0..BURST {
            cancellations.turn(id).await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        for id in 0..25 {
            cancellations.turn(id).await;
        }
        assert!(began.elapsed() >= Duration::from_millis(990), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn few_streams_are_reset_before_the_server_accepts_them() {
        let cancellations = Cancellations::new(Tolerance::External);
        assert_eq!((1..100).filter(|id| cancellations.try_turn(*id)).count(), UNPROVEN);
        let began = Instant::now();
        let waiting = cancellations.turn(99);
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(ACCEPTED / 2, &mut waiting).await.is_err());
        cancellations.accepted(5);
        waiting.await;
        assert!(cancellations.try_turn(3), "the stream was accepted");
        assert!(began.elapsed() < ACCEPTED);
    }

    /// All workers of a server may be held by calls that wait for their reset, so that no response begins.
    #[tokio::test(start_paused = true)]
    async fn turns_come_without_any_response() {
        let cancellations = Cancellations::new(Tolerance::External);
        let began = Instant::now();
        for id in 0..100 {
            cancellations.turn(id + 1).await;
        }
        let most = ACCEPTED * (100 / u32::try_from(UNPROVEN).unwrap());
        assert!((most - ACCEPTED..=most).contains(&began.elapsed()), "{:?}", began.elapsed());
    }

    /// After the burst, each of the first ten streams waits only for a token.
    #[tokio::test(start_paused = true)]
    async fn stream_that_was_not_reset_keeps_its_own_turn() {
        let cancellations = Cancellations::new(Tolerance::External);
        cancellations.accepted(1_000);
        assert_eq!((0..2 * BURST).filter(|id| cancellations.try_turn(*id)).count(), BURST as usize);
        let unaccepted = 1_001..1_001 + u32::try_from(UNPROVEN).unwrap();
        assert!(!unaccepted.clone().any(|id| cancellations.try_turn(id)));
        for id in unaccepted {
            cancellations.turn(id).await;
        }
    }

    #[test]
    fn services_of_the_mesh_take_any_number_of_resets() {
        let cancellations = Cancellations::new(Tolerance::Mesh);
        assert!((0..10_000).all(|id| cancellations.try_turn(id)));
    }
}
