//! The jobs of a service: enqueueing them, and waking its worker.

use std::{fmt, sync::Arc};

use kit::Timestamp;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    Job,
    store::{Database, NewRow, Statements},
};
use crate::store::{Error, Pool, Transaction};

/// The largest stored job. A job names what it works on; large data belongs into a table of the service.
const PAYLOAD_BYTES: usize = 64 * 1024;

/// The jobs of a service. Clones share it.
#[derive(Clone)]
pub struct Queue {
    /// The name of the service, for metrics and logs.
    pub(super) name: &'static str,
    pub(super) statements: Arc<dyn Statements>,
    /// Wakes the worker of this process.
    pub(super) wake: Arc<Notify>,
}

/// A job to enqueue.
#[derive(Debug, Clone, Copy)]
pub struct NewJob<'a, J> {
    /// The id, from [`kit::ClockAndRng::new_id`].
    pub id: Uuid,
    /// The arguments.
    pub job: &'a J,
    /// The current time.
    pub now: Timestamp,
    /// When the first attempt may start: `now`, or later.
    pub due: Timestamp,
}

impl<'a, J> NewJob<'a, J> {
    /// A job that is due at once.
    pub fn now(id: Uuid, job: &'a J, now: Timestamp) -> Self {
        Self { id, job, now, due: now }
    }
}

impl Queue {
    /// The jobs of the service `name`, in the table `jobs` of its database.
    pub fn new<D: Database>(name: &'static str, read: Pool<D>, write: Pool<D>) -> Self {
        Self { name, statements: D::statements(read, write), wake: Arc::default() }
    }

    /// Enqueues a job in the transaction that causes it. The commit wakes the worker of this process.
    pub async fn enqueue<J: Job, D: Database>(
        &self,
        tx: &mut Transaction<'_, D>,
        new: NewJob<'_, J>,
    ) -> Result<(), Error> {
        let payload = serde_json::to_string(new.job)
            .map_err(|error| Error::Corrupt(format!("a job of kind {} cannot be stored: {error}", J::KIND)))?;
        if payload.len() > PAYLOAD_BYTES {
            let size = payload.len();
            return Err(Error::Corrupt(format!(
                "a job of kind {} has {size} bytes, more than {PAYLOAD_BYTES}",
                J::KIND
            )));
        }
        let row = NewRow {
            id: new.id,
            kind: J::KIND,
            version: J::VERSION,
            payload,
            schedule: None,
            now: new.now,
            due: new.due,
        };
        D::insert(&mut **tx, &row).await?;
        tx.wake_after_commit(&self.wake);
        Ok(())
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("name", &self.name).finish_non_exhaustive()
    }
}
