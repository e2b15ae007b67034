//! The calls of one connection, and how long their responses have waited for the caller.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    task::Context,
};

use futures_util::task::AtomicWaker;

use super::{Stalls, Watchdog, has_lasted};
use crate::{io::ReceiveBuffer, upstream};

/// How many bytes may wait for one caller in h2 (`max_send_buffer_size`) and before it, a frame of the upstream.
/// hyper's buffer over HTTP/1.1 is smaller.
pub(super) const SEND_BUFFER_BYTES: usize = (64 + 32) * 1024;
/// A frame below this size is small. Behind larger frames reading ahead can wait: doing it at once would cost wake-ups.
const SMALL: usize = 4 * 1024;

#[derive(Default)]
pub(super) struct Calls {
    slots: Vec<Slot>,
    /// The indexes of unused slots.
    free: Vec<usize>,
    idle_ticks: u32,
    /// How many calls have begun.
    begun: u64,
}

/// The state of one call. A later call uses the slot again.
#[derive(Default)]
pub(super) struct Slot {
    wait: Arc<Wait>,
    /// The source of its response, once there is one.
    receive_buffer: Option<Arc<ReceiveBuffer>>,
}

/// Whether a response waits for its caller.
#[derive(Default)]
pub(crate) struct Wait {
    /// The tick at which the response returned a frame that is not sent yet; 0: it does not wait.
    since: AtomicU32,
    /// Read ahead of the response: behind a small frame, and when the caller keeps it waiting.
    reads_ahead: AtomicBool,
    /// The number of the wait among all ([`Stalls::number_wait`]); 0: it has none yet.
    number: AtomicU64,
    /// How many bytes the response keeps behind the frame that it has returned.
    kept: AtomicUsize,
    /// The response must end at once.
    is_evicted: AtomicBool,
    /// Of the task that sends the response.
    sender: AtomicWaker,
}

impl Wait {
    /// Whether the response must end at once; the task is woken when it must.
    pub(crate) fn is_evicted(&self, cx: &mut Context<'_>) -> bool {
        self.sender.register(cx.waker());
        self.is_evicted.load(Ordering::Relaxed)
    }

    pub(super) fn wake_sender(&self) {
        self.sender.wake();
    }
}

impl Calls {
    /// Begins a call: its slot, and its wait.
    pub(super) fn begin(&mut self) -> (usize, Arc<Wait>) {
        self.idle_ticks = 0;
        self.begun += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        (slot, Arc::clone(&self.slots[slot].wait))
    }

    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// Counts a tick. Returns how many without calls there were in a row.
    pub(super) fn count_tick(&mut self) -> u32 {
        self.idle_ticks = if self.free.len() == self.slots.len() { self.idle_ticks + 1 } else { 0 };
        self.idle_ticks
    }

    /// How many ticks without calls there were in a row.
    pub(super) fn idle_ticks(&self) -> u32 {
        self.idle_ticks
    }

    /// The calls whose responses wait for the caller.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.wait.since.load(Ordering::Relaxed) != 0)
    }

    /// Reads ahead of the responses that have waited for a tick.
    pub(super) fn read_ahead_of_waiting(&self, now: u32) {
        for slot in self.slots.iter().filter(|slot| has_lasted(&slot.wait.since, now, 1)) {
            slot.wait.reads_ahead.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a response has waited that many ticks.
    pub(super) fn is_stalled(&self, now: u32, ticks: u32) -> bool {
        self.slots.iter().any(|slot| has_lasted(&slot.wait.since, now, ticks))
    }

    pub(super) fn unread_bytes(&self) -> usize {
        self.slots.iter().map(Slot::unread_bytes).sum()
    }

    /// The call whose response has waited longest.
    pub(super) fn oldest(&self) -> Option<&Slot> {
        // A response without a number has only begun to wait: its connection is in the middle of a turn.
        let waiting = self.slots.iter().filter(|slot| slot.wait_number() != 0 && slot.unread_bytes() > 0);
        waiting.min_by_key(|slot| slot.wait_number())
    }
}

impl Slot {
    pub(super) fn wait_number(&self) -> u64 {
        self.wait.number.load(Ordering::Relaxed)
    }

    /// The bytes of the response that its caller has not read.
    fn unread_bytes(&self) -> usize {
        let wait = &self.wait;
        if wait.since.load(Ordering::Relaxed) == 0 || wait.is_evicted.load(Ordering::Relaxed) {
            return 0;
        }
        let from_upstream = match &self.receive_buffer {
            None => 0,
            Some(receive_buffer) if wait.reads_ahead.load(Ordering::Relaxed) => receive_buffer.held(),
            Some(_) => upstream::STREAM_WINDOW as usize,
        };
        SEND_BUFFER_BYTES + from_upstream + wait.kept.load(Ordering::Relaxed)
    }

    /// Numbers the wait, and reads ahead of the response if that is due.
    pub(super) fn end_turn(&self, stalls: &Stalls, is_under_pressure: bool, cx: &mut Context<'_>) {
        let (reads_ahead, number) = (&self.wait.reads_ahead, &self.wait.number);
        if number.load(Ordering::Relaxed) == 0 {
            number.store(stalls.number_wait(), Ordering::Relaxed);
        }
        if is_under_pressure {
            reads_ahead.store(true, Ordering::Relaxed);
        }
        if let Some(receive_buffer) = self.receive_buffer.as_ref().filter(|_| reads_ahead.load(Ordering::Relaxed)) {
            receive_buffer.read_ahead(cx);
        }
    }

    /// Marks the response as ended. Returns the bytes that this frees.
    pub(super) fn mark_evicted(&self) -> (usize, Arc<Wait>) {
        let freed = self.unread_bytes();
        self.wait.is_evicted.store(true, Ordering::Relaxed);
        (freed, Arc::clone(&self.wait))
    }
}

/// A call on a monitored connection; dropping it ends the call.
pub(crate) struct Watched {
    watchdog: Arc<Watchdog>,
    slot: usize,
    wait: Arc<Wait>,
}

impl Watched {
    pub(super) fn new(watchdog: Arc<Watchdog>, slot: usize, wait: Arc<Wait>) -> Self {
        Self { watchdog, slot, wait }
    }

    /// The state through which the watchdog ends the response.
    pub(crate) fn wait(&self) -> Arc<Wait> {
        Arc::clone(&self.wait)
    }

    /// Sets the source of the response.
    pub(crate) fn set_source(&self, receive_buffer: Arc<ReceiveBuffer>) {
        self.watchdog.lock().slots[self.slot].receive_buffer = Some(receive_buffer);
    }

    /// The response has returned a frame with that many bytes of messages: from now on it waits for the caller.
    pub(crate) fn returned(&self, bytes: usize) {
        self.wait.reads_ahead.store(bytes < SMALL, Ordering::Relaxed);
        self.wait.since.store(self.watchdog.tick.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Behind the returned frame the response keeps that many bytes of its own.
    pub(crate) fn kept(&self, bytes: usize) {
        self.wait.kept.store(bytes, Ordering::Relaxed);
    }

    /// The connection polls for the next frame: the response no longer waits.
    pub(crate) fn polled(&self) {
        self.wait.since.store(0, Ordering::Relaxed);
        self.wait.number.store(0, Ordering::Relaxed);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.polled();
        self.kept(0);
        self.watchdog.active.fetch_sub(1, Ordering::Relaxed);
        let mut calls = self.watchdog.lock();
        let slot = &mut calls.slots[self.slot];
        // The next call gets a wait of its own, even if another task still holds this one.
        if slot.wait.is_evicted.load(Ordering::Relaxed) {
            slot.wait = Arc::default();
        }
        let receive_buffer = slot.receive_buffer.take();
        calls.free.push(self.slot);
        drop(calls);
        // This may cancel the call at its upstream, so the lock is released first.
        drop(receive_buffer);
    }
}
