//! The combined results of all clients of one window. Cells suffice, because the clients share a thread.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use super::{Histogram, Received, Request, Sample, frames::Stamp};
use crate::clock;

#[derive(Default)]
pub(super) struct Tally {
    is_open: Cell<bool>,
    is_over: Cell<bool>,
    done: Cell<u64>,
    failed: Cell<u64>,
    reconnects: Cell<u64>,
    latency: RefCell<Histogram>,
    /// The first failure, inside the window or before it.
    failure: RefCell<Option<String>>,
}

impl Tally {
    pub(super) fn open(&self) {
        self.is_open.set(true);
    }

    pub(super) fn close(&self) {
        self.is_open.set(false);
        self.is_over.set(true);
    }

    /// Whether clients must not make new calls.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// Records the response of a call that was scheduled at `due`.
    pub(super) fn completed(&self, due: Instant, response: &Received, request: &Request) {
        if !request.accepts(response) {
            self.failed(format!("unexpected {response:?}"));
        } else if self.is_open.get() {
            count(&self.done);
            self.latency.borrow_mut().record(u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// Records a message of a stream, and its latency if it has a stamp.
    pub(super) fn message(&self, stamp: Option<Stamp>) {
        if !self.is_open.get() {
            return;
        }
        count(&self.done);
        let sent = stamp.map_or(0, u64::from_be_bytes);
        if sent > 0 {
            self.latency.borrow_mut().record(clock::now().saturating_sub(sent));
        }
    }

    pub(super) fn failed(&self, why: String) {
        if self.is_open.get() {
            count(&self.failed);
        }
        self.failure.borrow_mut().get_or_insert(why);
    }

    pub(super) fn reconnected(&self) {
        if self.is_open.get() {
            count(&self.reconnects);
        }
    }

    pub(super) fn done(&self) -> u64 {
        self.done.get()
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    /// The results. Returns an error if no call completed, because figures of a broken contender mislead.
    pub(super) fn sample(&self, elapsed: Duration, cpu: Duration, memory: u64) -> Result<Sample, String> {
        let (done, failed) = (self.done.get(), self.failed.get());
        if done == 0 {
            let why = self.failure().unwrap_or_else(|| "no response in time".to_owned());
            return Err(format!("no call succeeded, {failed} failed: {why}"));
        }
        let (latency, reconnects) = (self.latency.take(), self.reconnects.get());
        Ok(Sample { elapsed, done, failed, reconnects, cpu, memory, latency })
    }
}

fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}
